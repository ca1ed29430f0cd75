"""The status page: its files, and the JSON that it shows.

    GET /  /status.css  /status.js    files.py
    GET /api/status                   all but a key
    GET /api/status/key?key=K         a key

Decides nothing: who may ask is gate.py's, what is shown is process/status.py's."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from ..resp.replies import Value
from .answers import answer, plain
from .body import Refusal
from .files import FILES, text_of
from .messages import Request, Response
from .routes import Route

# Nothing from elsewhere, nothing inline, in nobody's frame.
HEADERS: Final = {
    "Server": "nearhit",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Shown(Protocol):
    """What there is to show."""

    def show(self) -> Awaitable[Mapping[str, Value]]: ...

    def key(self, key: bytes) -> Awaitable[Mapping[str, Value]]: ...


class Page:
    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._texts = {path: text_of(name).encode() for path, (name, _) in FILES.items()}

    def __repr__(self) -> str:
        return f"<Page of {self._shown!r}>"

    def routes(self) -> list[Route]:
        files = [Route("GET", path, partial(self._file, path)) for path in FILES]
        return [
            *files,
            Route("GET", "/api/status", self._status),
            Route("GET", "/api/status/key", self._key),
        ]

    async def _file(self, path: str, request: Request) -> Response:
        kind = FILES[path][1]
        return Response(200, self._texts[path], f"{kind}; charset=utf-8", dict(HEADERS))

    async def _status(self, request: Request) -> Response:
        found = await self._shown.show()
        return answer(200, {name: plain(value) for name, value in found.items()})

    async def _key(self, request: Request) -> Response:
        name, _, word = request.query.partition("=")
        if name != "key" or not word or "&" in word:
            raise Refusal(400, "give one key: /api/status/key?key=NAME, percent-encoded")
        found = await self._shown.key(unquote_to_bytes(word.replace("+", " ")))
        return answer(200, {name: plain(value) for name, value in found.items()})
