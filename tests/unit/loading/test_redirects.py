"""Redirects: how far they are followed, and what goes along."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from nearhit.proxy.loading.http import Http
from nearhit.proxy.loading.redirects import REDIRECTS_MAX, Question, answer_to
from nearhit.proxy.loading.source import SourceError

SECRET = {"X-Key": "s3cret", "Authorization": "Bearer s3cret"}


class Web:
    """Two servers that redirect as the test says, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.redirect: Callable[[str], tuple[int, str] | None] = lambda path: None
        self.here, self.there = self._server("here"), self._server("there")
        self.http = Http()

    def _server(self, name: str) -> TestServer:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.asked.append(
                (name, f"{request.method} {request.raw_path}", request.headers,
                 await request.read())
            )  # fmt: skip
            found = self.redirect(request.raw_path)
            if found is None:
                return web.Response(text=f"{name} {request.raw_path}")
            return web.Response(status=found[0], headers={"Location": found[1]} if found[1] else {})

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        return TestServer(app)

    def at(self, path: str, *, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.here.port}{path}"

    async def ask(
        self,
        path: str = "/",
        *,
        user: str = "",
        own: Mapping[str, str] = SECRET,
        first: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[int, str, bool]:
        question = Question(self.at(path, user=user), "a-host", own, first or {}, body)
        assert "s3cret" not in repr(question)
        async with answer_to(self.http, question) as answer:
            body = await answer.response.read(1000)
            return answer.response.status, body.decode(), answer.moved

    def told(self, name: str) -> list[str]:
        """Where a header went."""
        return [server for server, _, headers, _ in self.asked if name in headers]


@pytest.fixture
async def net() -> AsyncIterator[Web]:
    made = Web()
    await made.here.start_server()
    await made.there.start_server()
    yield made
    await made.http.close()
    await made.here.close()
    await made.there.close()


async def test_what_answers_by_itself_has_not_moved(net: Web) -> None:
    assert await net.ask("/a%2Fb?c=%41") == (200, "here /a%2Fb?c=%41", False)
    assert net.told("X-Key") == ["here"]


async def test_headers_go_along_on_the_same_origin(net: Web) -> None:
    net.redirect = lambda path: (302, "/b%2Fc") if path == "/" else None

    assert await net.ask() == (200, "here /b%2Fc", True)
    assert net.told("X-Key") == net.told("Authorization") == ["here", "here"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_header_of_the_loader_goes_to_another_origin(net: Web, status: int) -> None:
    net.redirect = lambda path: (status, str(net.there.make_url("/x"))) if path == "/" else None

    assert await net.ask(first={"If-None-Match": '"1"'}) == (200, "there /x", True)
    for name in ("X-Key", "Authorization", "If-None-Match"):
        assert net.told(name) == ["here"]


async def test_they_stay_behind_also_on_the_way_back(net: Web) -> None:
    way = {"/": str(net.there.make_url("/x")), "/x": net.at("/y")}
    net.redirect = lambda path: (302, way[path]) if path in way else None

    assert await net.ask() == (200, "here /y", True)
    assert net.told("X-Key") == ["here"]


async def test_a_user_in_the_url_is_of_its_origin_too(net: Web) -> None:
    way = {"/": "/x", "/x": net.at("/y"), "/y": str(net.there.make_url("/z"))}
    net.redirect = lambda path: (302, way[path]) if path in way else None

    assert await net.ask(user="u:s3cret@", own={}) == (200, "there /z", True)
    assert net.told("Authorization") == ["here"] * 3


async def test_a_redirect_names_no_user(net: Web) -> None:
    net.redirect = lambda path: (302, net.at("/x", user="u:p@")) if path == "/" else None

    assert await net.ask(own={}) == (200, "here /x", True)
    assert net.told("Authorization") == []


@pytest.mark.parametrize("status", [307, 308])
async def test_a_post_goes_along_whole(net: Web, status: int) -> None:
    net.redirect = lambda path: (status, "/x") if path == "/" else None

    assert await net.ask(body=b'["k"]') == (200, "here /x", True)
    assert [(words, body) for _, words, _, body in net.asked] == [
        ("POST /", b'["k"]'),
        ("POST /x", b'["k"]'),
    ]
    assert net.told("Content-Type") == ["here"] * 2


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_post_that_would_become_a_get_is_not_followed(net: Web, status: int) -> None:
    net.redirect = lambda path: (status, "/x")

    assert (await net.ask(body=b"[]"))[0] == status
    assert len(net.asked) == 1


async def test_so_many_and_no_more(net: Web) -> None:
    net.redirect = lambda path: (302, f"/{int(path[1:]) - 1}") if path != "/0" else None

    assert await net.ask(f"/{REDIRECTS_MAX}") == (200, "here /0", True)
    with pytest.raises(SourceError, match=f"^more than {REDIRECTS_MAX} redirects from a-host$"):
        await net.ask(f"/{REDIRECTS_MAX + 1}")


@pytest.mark.parametrize(
    "there", ["file:///etc/passwd?s3cret", "javascript:s3cret", "http://[s3cret"]
)
async def test_a_redirect_to_no_http_url_is_an_error(net: Web, there: str) -> None:
    net.redirect = lambda path: (302, there)

    with pytest.raises(SourceError) as caught:
        await net.ask()

    assert str(caught.value) == "a redirect to what is no http URL (a-host)"


async def test_a_redirect_to_nowhere_is_the_answer(net: Web) -> None:
    net.redirect = lambda path: (302, "")

    assert (await net.ask())[0] == 302
