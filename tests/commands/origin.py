"""A web server that url loaders ask: each page has a text and a version, which is its ETag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.web import QuietHandler, serving


@dataclass
class Asked:
    path: str
    status: int
    headers: Mapping[str, str]


@dataclass
class Origin:
    """``texts`` by path; a path without one does not exist."""

    port: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def statuses(self) -> list[int]:
        """How it has answered since it was last asked for this."""
        found = [one.status for one in self.asked]
        self.asked.clear()
        return found


class _Handler(QuietHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self) -> None:
        origin: Origin = self.server.origin  # type: ignore[attr-defined]
        text = origin.texts.get(self.path)
        etag = f'"{text}"'
        status = 404 if text is None else 200
        if text is not None and self.headers.get("If-None-Match") == etag:
            status = 304
        if text == "denied":
            status = 403
        origin.asked.append(Asked(self.path, status, dict(self.headers)))
        self.send_response(status)
        if status in (200, 304):
            self.send_header("ETag", etag)
        body = (text or "").encode() if status == 200 else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def origin() -> Iterator[Origin]:
    with serving(_Handler) as server:
        server.origin = found = Origin(server.server_address[1])  # type: ignore[attr-defined]
        yield found
