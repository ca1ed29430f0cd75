"""Which handler gets a request."""

from __future__ import annotations

import pytest
from nearhit.proxy.headers import Headers
from nearhit.proxy.http.messages import Request, Response
from nearhit.proxy.http.routes import Handler, NotAllowed, NotFound, Route, Routes


def says(name: str) -> Handler:
    async def handler(request: Request) -> Response:
        return Response(200, f"{name} {dict(request.captures)}".encode(), "text/plain")

    return handler


ROUTES = Routes(
    [
        Route("GET", "/a/b", says("b")),
        Route("POST", "/a/b", says("post b")),
        Route("GET", "/a/jobs/{id}", says("job")),
        Route("DELETE", "/a/jobs/{id}", says("delete")),
        Route("GET", "/a/{key}", says("key")),
        Route("PUT", "/c", says("c")),
    ]
)


async def nothing(most: int) -> bytes:
    return b""


async def answer(method: str, path: str) -> str:
    request = Request(method, path, "", Headers(), nothing)
    return (await ROUTES.answer(request)).body.decode()


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/a/b", "b {}"),
        ("HEAD", "/a/b", "b {}"),
        ("GET", "/%61/b", "b {}"),
        ("POST", "/a/b", "post b {}"),
        ("GET", "/a/b/", "key {}"),
        ("GET", "/a%2Fb/a/b", ""),
        ("GET", "/a/jobs/1", "job {'id': '1'}"),
        ("DELETE", "/a/jobs/1%2F2", "delete {'id': '1/2'}"),
        ("GET", "/a/jobs/1/2", "key {}"),
        ("GET", "/a/jobs/{x}", "key {}"),
        ("GET", "/a/jobs/", "key {}"),
        ("GET", "/a/", ""),
        ("GET", "/a", ""),
        ("GET", "a/b", ""),
        ("PUT", "/c", "c {}"),
    ],
)
async def test_the_first_that_fits_gets_it(method: str, path: str, said: str) -> None:
    if said:
        assert await answer(method, path) == said
    else:
        with pytest.raises(NotFound):
            await answer(method, path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/a/b", "GET,HEAD,POST"),
        ("PUT", "/a/jobs/1", "DELETE,GET,HEAD"),
        ("DELETE", "/a/k", "GET,HEAD"),
        ("GET", "/c", "PUT"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        await answer(method, path)

    assert str(caught.value) == allowed
    assert repr(ROUTES) == "<Routes 6>"
