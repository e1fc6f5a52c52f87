"""What stands between the network and the page: nothing is fetched from elsewhere, neither by it nor for it; and no
other page asks in a visitor's name."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

__all__ = ["HERE", "POLICY", "Guard"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

HERE = ("127.0.0.1", "localhost", "::1")
"""What this machine calls itself."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; media-src 'self' data: blob:; worker-src 'self' blob:; font-src 'self' data:;"
    " connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""What a browser may fetch for the page: what comes from where it came, and nothing else."""
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
_KNOWN = re.compile(
    r"/(?:|live|config/?|login/?|logout|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(?:assets|static|svelte)/.*"
    r"|gradio_api/(?:info|openapi\.json|upload|upload_progress|cancel|reset|login_check|user|app_id|startup-events"
    r"|theme\.css|(?:queue|run|api|call|heartbeat)/.+|file[=/].+)/?)"
)
"""Paths that the page and its clients ask for; others of gradio's are not for strangers."""
_ELSEWHERE = re.compile(r"/file=[^/?]*:")
"""And those of them that ask for an address elsewhere."""
_FOREIGN = re.compile(
    rb"\s*<meta\b[^>]*(?:og:|twitter:)[^>]*>|https://(?:raw\.githubusercontent|github)\.com/gradio-app/[\w./-]*/"
)
"""Addresses in a page that are gradio's: of its pictures, and of its examples of what an endpoint takes."""


class Guard:
    """An application, guarded; ``local`` if it is for this machine alone, whatever other names lead to it."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], *, local: bool = True) -> None:
        self.app, self.local = app, local

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if (refused := self._refused(scope)) is not None:
            status, said = refused
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": said.encode()})
            return
        if scope["path"] in ("", "/"):  # Which is read below.
            scope["headers"] = [one for one in scope["headers"] if one[0] != b"accept-encoding"]
        await self.app(scope, receive, _Answer(send))

    def _refused(self, scope: Message) -> tuple[int, str] | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        try:
            own = urlsplit(f"//{host}").hostname
            theirs = None if origin is None else urlsplit(origin).netloc
        except ValueError:
            return 400, "No such host."
        if self.local and own not in HERE:
            return 403, "This page is for its own machine: open it at 127.0.0.1 or localhost."
        if theirs is not None and theirs not in (host, headers.get(b"x-forwarded-host")):
            return 403, "Another page may not ask this."
        if _KNOWN.fullmatch(scope["path"]) is None:
            return 404, "There is no such page."
        if _ELSEWHERE.search(scope["path"]):
            return 403, "Nothing is fetched from elsewhere."
        return None


class _Answer:
    """Sends an answer on, with headers that keep the browser here, and pages without addresses of others."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.begun: Message | None = None
        self.page = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [one for one in message.get("headers", ()) if one[0] not in dict(HEADERS)]
            message = {**message, "headers": headers + HEADERS}
            kind = dict(headers).get(b"content-type", b"")
            if kind.startswith(b"text/html") and b"content-encoding" not in dict(headers):
                self.begun = message
                return
        elif self.begun is not None:
            self.page += message.get("body", b"")
            if message.get("more_body"):
                return
            body = _FOREIGN.sub(b"", self.page)
            kept = [one for one in self.begun["headers"] if one[0] != b"content-length"]
            length = (b"content-length", str(len(body)).encode())
            await self.send({**self.begun, "headers": [*kept, length]})
            message, self.begun = {"type": "http.response.body", "body": body}, None
        await self.send(message)
