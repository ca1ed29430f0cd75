"""Which handler a request is for: by its path, then by its method.

    /api/cache/stats       the path itself
    /api/cache/jobs/{id}   one part of a path, not empty, in captures["id"]
    /api/cache/{key}       all the rest, not empty; what it is the handler reads of raw_path

Several may fit a path: the first that has the method gets it, and 405 names the methods of all. Who
answers GET answers HEAD too, and the connection leaves out the body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

from .messages import Request, Response

Handler = Callable[[Request], Awaitable[Response]]

_PART: Final = "{id}"
_REST: Final = "{key}"


class NotFound(Exception):
    """No route has this path."""


class NotAllowed(Exception):
    """Some routes have this path, and none of them the method. ``allowed``: the methods."""

    def __init__(self, allowed: set[str]) -> None:
        super().__init__(",".join(sorted(allowed)))


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler

    @property
    def methods(self) -> tuple[str, ...]:
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)

    def fits(self, path: str) -> dict[str, str] | None:
        """What the path captures; None: it is another's."""
        if self.path == path:
            return {}
        head, found, _ = self.path.partition("{")
        rest = path[len(head) :]
        if not found or not rest or not path.startswith(head):
            return None
        if self.path.endswith(_REST):
            return {}
        assert self.path.endswith(_PART), self.path
        if any(sign in rest for sign in "/{}"):
            return None
        return {"id": unquote(rest, errors="surrogateescape")}


class Routes:
    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._exact = {
            (method, route.path): route.handler
            for route in routes
            if "{" not in route.path
            for method in route.methods
        }

    def __repr__(self) -> str:
        return f"<Routes {len(self.routes)}>"

    async def answer(self, request: Request) -> Response:
        """NotFound, NotAllowed, and what the handler raises."""
        path = request.path
        exact = self._exact.get((request.method, path))
        if exact is not None:
            return await exact(request)
        allowed = set[str]()
        for route in self.routes:
            captures = route.fits(path)
            if captures is None:
                continue
            if request.method in route.methods:
                if captures:
                    request = replace(request, captures=captures)
                return await route.handler(request)
            allowed.update(route.methods)
        if not allowed:
            raise NotFound
        raise NotAllowed(allowed)
