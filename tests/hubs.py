"""A Hub on this machine: what of the Hub's API its own client asks for. Tests import it as ``hubs``."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from servers import need_loopback

__all__ = ["TOKEN", "Hub", "Repository", "hub_at"]

TOKEN = "hf_ofsomeone"
"""Of the user ``someone``, who may write to ``someone/...`` alone."""
LICENCES = {"apache-2.0", "mit", "cc-by-nc-4.0", "cc0-1.0", "other", "unknown"}


class Repository:
    """The files of each commit, and whether others see it."""

    def __init__(self, private: bool = False, files: dict[str, bytes] | None = None) -> None:
        self.private = private
        self.commits: list[dict[str, bytes]] = [{".gitattributes": b"", **(files or {})}]

    @property
    def files(self) -> dict[str, bytes]:
        """Those of the last commit."""
        return self.commits[-1]

    def sha(self, place: int = -1) -> str:
        """The name of a commit."""
        place %= len(self.commits)
        told = [(name, hashlib.sha1(data).hexdigest()) for name, data in sorted(self.commits[place].items())]
        return hashlib.sha1(repr((place, told)).encode()).hexdigest()

    def at(self, revision: str) -> dict[str, bytes] | None:
        """The files of a revision."""
        names = {self.sha(place): files for place, files in enumerate(self.commits)}
        return self.files if revision == "main" else names.get(revision)


class Hub:
    """What it holds, by kind and id, and what it was asked: method and path, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []

    def files(self, name: str, kind: str = "model") -> dict[str, bytes]:
        """Those of a repository but the one that it is made with."""
        return {key: data for key, data in self.repositories[kind, name].files.items() if key != ".gitattributes"}


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", **body: Any) -> None:
        self.status, self.body = status, {"error": message, **body}
        self.headers = {"X-Error-Code": code, "X-Error-Message": message}


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".parquet", ".png", ".npy", ".pt", ".pkl"))


class _Call:
    """One request."""

    def __init__(self, hub: Hub, method: str, path: str, headers: Any, body: bytes) -> None:
        self.hub, self.method, self.headers, self.body = hub, method, headers, body
        self.path = unquote(urlsplit(path).path)
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN):
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        self.known = token == TOKEN

    def answer(self) -> tuple[dict[str, str], bytes]:
        """Headers and content."""
        routes = {
            r"POST /api/repos/create": self.create,
            r"POST /api/validate-yaml": self.validate,
            r"GET /api/(model|dataset)s/([^/]+/[^/]+)(?:/revision/(.+))?": self.info,
            r"GET /api/(model|dataset)s/([^/]+/[^/]+)/tree/([^/]+)": self.tree,
            r"POST /api/(model|dataset)s/([^/]+/[^/]+)/preupload/main": self.preupload,
            r"POST /api/(model|dataset)s/([^/]+/[^/]+)/commit/main": self.commit,
            r"POST /(?:(dataset)s/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch": self.batch,
            r"PUT /large/(\w+)": self.put,
            r"(?:GET|HEAD) /(?:(dataset)s/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)": self.resolve,
        }
        for pattern, route in routes.items():
            if found := re.fullmatch(pattern, f"{self.method} {self.path}"):
                made = route(*found.groups())
                return made if isinstance(made, tuple) else ({}, json.dumps(made).encode())
        raise _Refused(404, "", f"Nothing answers {self.method} {self.path}")

    def data(self) -> Any:
        return json.loads(self.body)

    def repository(self, kind: str | None, name: str, *, write: bool = False) -> Repository:
        found = self.hub.repositories.get((kind or "model", name))
        if found is None or (found.private and not self.known):
            raise _Refused(404 if self.known else 401, "RepoNotFound", "Repository not found")
        if write and not (self.known and name.startswith("someone/")):
            raise _Refused(403 if self.known else 401, "", "You have no right to write there")
        return found

    def revision(self, kind: str | None, name: str, revision: str | None) -> dict[str, bytes]:
        found = self.repository(kind, name).at(revision or "main")
        if found is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def create(self) -> Any:
        told = self.data()
        name, kind = f"{told['organization']}/{told['name']}", told.get("type", "model")
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if not self.known:
            raise _Refused(401, "", "Invalid username or password.")
        if told["organization"] != "someone":
            raise _Refused(403, "", f"You don't have the rights to create a {kind} under the namespace")
        if (kind, name) in self.hub.repositories:
            raise _Refused(409, "", f"You already created this {kind} repo", url=url)
        private = told.get("visibility") == "private" or told.get("private", False)
        self.hub.repositories[kind, name] = Repository(private)
        return {"url": url, "name": name}

    def validate(self) -> Any:
        from huggingface_hub import DatasetCard, ModelCard

        told = self.data()
        card = (DatasetCard if told["repoType"] == "dataset" else ModelCard)(told["content"])
        licence = card.data.to_dict().get("license")
        if licence is not None and licence not in LICENCES:
            raise _Refused(400, "", "bad", errors=[{"message": f'"license" must not be {licence!r}'}], warnings=[])
        return {"errors": [], "warnings": []}

    def info(self, kind: str, name: str, revision: str | None) -> Any:
        repository, files = self.repository(kind, name), self.revision(kind, name, revision)
        sha = next(repository.sha(place) for place, one in enumerate(repository.commits) if one is files)
        siblings = [{"rfilename": path} for path in files]
        return {"id": name, "sha": sha, "private": repository.private, "siblings": siblings, "tags": []}

    def tree(self, kind: str, name: str, revision: str) -> Any:
        files = self.revision(kind, name, revision)
        return [
            {"type": "file", "path": path, "size": len(data), "oid": _git(data), **self.pointer(path, data)}
            for path, data in files.items()
        ]

    def pointer(self, path: str, data: bytes) -> dict[str, Any]:
        oid = hashlib.sha256(data).hexdigest()
        return {"lfs": {"oid": oid, "size": len(data), "pointerSize": 134}} if _is_large(path) else {}

    def preupload(self, kind: str, name: str) -> Any:
        held = self.repository(kind, name, write=True).files
        made = []
        for path in (file["path"] for file in self.data()["files"]):
            oid = None
            if path in held:
                oid = hashlib.sha256(held[path]).hexdigest() if _is_large(path) else _git(held[path])
            mode = "lfs" if _is_large(path) else "regular"
            made.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": made}

    def batch(self, kind: str | None, name: str) -> Any:
        self.repository(kind, name, write=True)
        made = []
        for one in self.data()["objects"]:
            new = {"actions": {"upload": {"href": f"{self.hub.url}/large/{one['oid']}", "header": {}}}}
            made.append({**one, **({} if one["oid"] in self.hub.large else new)})
        return {"transfer": "basic", "objects": made}

    def put(self, oid: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Refused(400, "", "The content is not what it is said to be")
        self.hub.large[oid] = self.body
        return {}

    def commit(self, kind: str, name: str) -> Any:
        repository = self.repository(kind, name, write=True)
        files = dict(repository.files)
        header, *rest = (json.loads(line) for line in self.body.splitlines())
        assert header["key"] == "header"
        assert header["value"]["summary"]
        for one in rest:
            value = one["value"]
            if one["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif one["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                assert one["key"] == "deletedFile"
                del files[value["path"]]
        repository.commits.append(files)
        return {"commitUrl": f"{self.hub.url}/{name}/commit/{repository.sha()}", "commitOid": repository.sha()}

    def resolve(self, kind: str | None, name: str, revision: str, path: str) -> tuple[dict[str, str], bytes]:
        files = self.revision(kind, name, revision)
        if path not in files:
            raise _Refused(404, "EntryNotFound", "Entry not found")
        data, sha = files[path], self.info(kind or "model", name, revision)["sha"]
        linked = self.pointer(path, data).get("lfs")
        tag = {"ETag": f'"{_git(data)}"'}
        tag |= {"X-Linked-Etag": f'"{linked["oid"]}"', "X-Linked-Size": str(len(data))} if linked else {}
        return {**tag, "X-Repo-Commit": sha}, data


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.asked.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, (headers, content) = 200, _Call(hub, self.command, self.path, self.headers, body).answer()
            except _Refused as error:
                status, headers, content = error.status, error.headers, json.dumps(error.body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def hub_at(monkeypatch: pytest.MonkeyPatch, home: Path, token: str | None = TOKEN) -> Iterator[Hub]:
    """The Hub to which all of the client goes until the block ends; its cache and token lie in ``home``."""
    from huggingface_hub import constants

    hub = Hub("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True, raising=False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        need_loopback(server.server_port)
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
