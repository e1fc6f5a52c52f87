"""What stands between the network and the page: nothing is fetched from elsewhere, neither by it nor for it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

__all__ = ["POLICY", "Guard"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

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
_ELSEWHERE = re.compile(rb"/(?:file=|proxy=|stream/)[^/?]*:")
"""Paths that ask for an address elsewhere."""
_FOREIGN = re.compile(
    rb"\s*<meta\b[^>]*(?:og:|twitter:)[^>]*>|https://(?:raw\.githubusercontent|github)\.com/gradio-app/[\w./-]*/"
)
"""Addresses in a page that are gradio's: of its pictures, and of its examples of what an endpoint takes."""


class Guard:
    """An application, guarded."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope.get("raw_path") or scope["path"].encode()
        if _ELSEWHERE.search(path) or _ELSEWHERE.search(scope["path"].encode()):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Nothing is fetched from elsewhere."})
            return
        if scope["path"] in ("", "/"):  # Which is read below.
            scope["headers"] = [one for one in scope["headers"] if one[0] != b"accept-encoding"]
        await self.app(scope, receive, _Answer(send))


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
