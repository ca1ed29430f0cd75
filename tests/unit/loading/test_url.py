"""Loading by HTTP, against a server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import MappingProxyType

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from nearhit.proxy.keys.captures import UrlTemplate
from nearhit.proxy.loading import url as load_url
from nearhit.proxy.loading.http import Http
from nearhit.proxy.loading.source import NO_SUCH_THING, Loaded, SourceError
from nearhit.proxy.loading.url import UrlSource, kept_ms
from nearhit.proxy.loading.validators import digest_of

from tests.servers import free_port

TRACE = "traceparent"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Origin:
    """A server that answers as the test says, and the source that asks it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.answer: Handler = self.found
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        app.router.add_post("/{path:.*}", self._handle)
        self.server = TestServer(app)
        self.http = Http()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        self.headers.append(request.headers)
        return await self.answer(request)

    async def found(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"value")

    def answers(self, **kwargs: object) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(**kwargs)  # type: ignore[arg-type]  # the test's own

        self.answer = answer

    def source(
        self,
        path: str = "/users/{id}",
        *,
        user: str = "",
        honour_cache_control: bool = False,
        conditional: bool = True,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> UrlSource:
        return UrlSource(
            UrlTemplate.parse(f"http://{user}127.0.0.1:{self.server.port}{path}"),
            self.http,
            ttl_ms=60_000,
            honour_cache_control=honour_cache_control,
            conditional=conditional,
            headers=headers,
        )


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    origin = Origin()
    await origin.server.start_server()
    yield origin
    await origin.http.close()
    await origin.server.close()


async def test_the_body_is_the_value(origin: Origin) -> None:
    origin.answers(body=b"\0\xff" * 100_000)

    assert await origin.source().load(b"user:1", {"id": b"1"}) == Loaded(b"\0\xff" * 100_000)
    assert origin.asked == ["/users/1"]


async def test_an_empty_body_is_an_empty_value(origin: Origin) -> None:
    origin.answers(body=b"")

    assert await origin.source().load(b"user:1", {"id": b"1"}) == Loaded(b"")


async def test_captures_arrive_as_one_part_of_the_path(origin: Origin) -> None:
    await origin.source("/u/{id}/x?q={id}").load(b"", {"id": b"a/b ?&%41\xff"})

    assert origin.asked == ["/u/a%2Fb%20%3F%26%2541%FF/x?q=a%2Fb%20%3F%26%2541%FF"]


async def test_404_says_that_there_is_no_such_thing(origin: Origin) -> None:
    origin.answers(status=404, body=b"page not found")

    assert await origin.source().load(b"user:1", {"id": b"1"}) is NO_SUCH_THING


@pytest.mark.parametrize("status", [201, 204, 400, 401, 410, 500, 503])
async def test_any_other_status_is_an_error_that_names_the_host_alone(
    origin: Origin, status: int
) -> None:
    origin.answers(status=status)
    source = origin.source("/x?token=secret", user="u:secret@")

    with pytest.raises(SourceError) as caught:
        await source.load(b"user:1", {})

    assert str(caught.value) == f"HTTP {status} from 127.0.0.1:{origin.server.port}"
    assert origin.headers[0]["Authorization"].startswith("Basic ")


async def test_redirects_are_followed_so_far_and_no_farther(origin: Origin) -> None:
    async def down(request: web.Request) -> web.StreamResponse:
        left = int(request.path[1:])
        if left:
            raise web.HTTPFound(f"/{left - 1}?token=secret")
        return web.Response(body=b"there")

    origin.answer = down
    source = origin.source("/{n}")

    assert await source.load(b"", {"n": b"4"}) == Loaded(b"there")
    with pytest.raises(SourceError) as caught:
        await source.load(b"", {"n": b"9"})
    assert str(caught.value) == f"more than 5 redirects from 127.0.0.1:{origin.server.port}"


async def test_a_redirect_to_something_else_is_an_error(origin: Origin) -> None:
    origin.answers(status=302, headers={"Location": "file:///etc/passwd?secret"})

    with pytest.raises(SourceError) as caught:
        await origin.source().load(b"", {"id": b"1"})
    assert "secret" not in str(caught.value)


async def test_a_body_without_end_is_an_error_and_no_memory(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65536)

    origin.answer = endless
    monkeypatch.setattr(load_url, "BODY_MAX", 1 << 20)

    with pytest.raises(SourceError, match=r"the body from 127\.0\.0\.1:\d+ is larger than 1 MiB"):
        await origin.source().load(b"", {"id": b"1"})


async def test_a_body_that_breaks_off_is_an_error(origin: Origin) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return answer

    origin.answer = half

    with pytest.raises(SourceError, match=r"^the answer broke off \("):
        await origin.source().load(b"", {"id": b"1"})


async def test_a_server_that_is_not_there_is_an_error() -> None:
    http = Http()
    source = UrlSource(
        UrlTemplate.parse(f"http://u:secret@127.0.0.1:{free_port()}/?secret"),
        http,
        ttl_ms=1,
        honour_cache_control=False,
    )

    with pytest.raises(SourceError, match="onnect") as caught:
        await source.load(b"", {})

    assert "secret" not in str(caught.value)
    await http.close()


async def test_a_load_can_be_cancelled_and_the_next_one_works(origin: Origin) -> None:
    arrived = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    origin.answer = slow
    task = asyncio.create_task(origin.source().load(b"", {"id": b"1"}))
    await arrived.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    origin.answer = origin.found

    assert await origin.source().load(b"", {"id": b"1"}) == Loaded(b"value")


async def test_cache_control_shortens_the_ttl_where_it_is_honoured(origin: Origin) -> None:
    origin.answers(body=b"v", headers={"Cache-Control": "public, max-age=10"})

    assert await origin.source().load(b"", {"id": b"1"}) == Loaded(b"v")
    honouring = origin.source(honour_cache_control=True)
    assert await honouring.load(b"", {"id": b"1"}) == Loaded(b"v", 10_000, exact=True)

    origin.answers(body=b"v", headers={"Cache-Control": "max-age=3600"})
    assert await honouring.load(b"", {"id": b"1"}) == Loaded(b"v")


@pytest.mark.parametrize(
    ("header", "age", "ms"),
    [
        ("", "", None),
        ("public", "", None),
        ("max-age=10", "", 10_000),
        ("Max-Age=10 , public", "4", 6_000),
        ("max-age=10", "11", 0),
        ("max-age=10", "x", 10_000),
        ('max-age="10"', "", 10_000),
        ("max-age=10, s-maxage=3", "", 3_000),
        ("max-age=x", "", None),
        ("max-age=-1", "", None),
        ("max-age=10, no-store", "", 0),
        ("no-cache", "", 0),
        ("max-age=0", "", 0),
    ],
)
def test_how_long_an_answer_may_be_kept(header: str, age: str, ms: int | None) -> None:
    assert kept_ms(header, age) == ms


# --- Many keys --------------------------------------------------------------------------------


def many(origin: Origin, path: str = "/many?token=secret") -> UrlSource:
    here = f"http://127.0.0.1:{origin.server.port}"
    return UrlSource(
        UrlTemplate.parse(here + "/{id}"),
        origin.http,
        ttl_ms=60_000,
        honour_cache_control=False,
        batch_url=UrlTemplate.parse(here + path),
    )


async def test_keys_are_posted_as_a_list_and_their_values_come_as_an_object(
    origin: Origin,
) -> None:
    bodies: list[object] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append((request.method, await request.json()))
        return web.json_response({"a": "text", "b": {"n": 1}, "c": None})

    origin.answer = answer
    keys = [b"a", b"b", b"c", b"d", b"\xff"]
    *found, no_text = await many(origin).load_many(keys, [{}] * 5)

    assert found == [Loaded(b"text"), Loaded(b'{"n":1}'), NO_SUCH_THING, NO_SUCH_THING]
    assert isinstance(no_text, SourceError)
    assert bodies == [("POST", ["a", "b", "c", "d"])]


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, "{}", "HTTP 500 from 127.0.0.1"),
        (404, "{}", "HTTP 404 from 127.0.0.1"),
        (200, "<html>", "the answer from 127.0.0.1:[0-9]+ is no JSON$"),
        (200, "[" * 100_000, "the answer from 127.0.0.1:[0-9]+ is no JSON$"),
        (200, "[]", "the answer from 127.0.0.1:[0-9]+ is no JSON object"),
    ],
)
async def test_any_other_answer_to_many_keys_is_an_error(
    origin: Origin, status: int, body: str, why: str
) -> None:
    origin.answers(status=status, text=body)

    with pytest.raises(SourceError, match=why) as caught:
        await many(origin).load_many([b"a", b"b"], [{}] * 2)

    assert "secret" not in str(caught.value)


async def test_a_server_that_is_not_there_for_many_keys_is_an_error(origin: Origin) -> None:
    source = many(origin)
    await origin.server.close()

    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        await source.load_many([b"a", b"b"], [{}] * 2)


# --- Headers ----------------------------------------------------------------------------------


async def test_a_loaders_headers_go_with_each_request(origin: Origin) -> None:
    origin.answers(text="{}")
    url = f"http://127.0.0.1:{origin.server.port}/"
    source = UrlSource(
        UrlTemplate.parse(url),
        origin.http,
        ttl_ms=1,
        honour_cache_control=False,
        batch_url=UrlTemplate.parse(url),
        headers={"X-Key": "s3cret", "User-Agent": "mine"},
    )

    await source.load(b"a", {})
    await source.load_many([b"a", b"b"], [{}] * 2)

    assert [one["X-Key"] for one in origin.headers] == ["s3cret"] * 2
    assert [one["User-Agent"] for one in origin.headers] == ["mine"] * 2
    assert origin.headers[1]["Content-Type"] == "application/json"
    assert "s3cret" not in repr(source)


async def test_a_trace_goes_with_each_request_where_the_loader_has_none_of_its_own(
    origin: Origin,
) -> None:
    origin.http.traced = lambda: {"traceparent": "00-1-2-01"}

    await origin.source().load(b"user:1", {"id": b"1"})
    await origin.source(headers={"Traceparent": "mine"}).load(b"user:1", {"id": b"1"})

    asked = [
        value for one in origin.headers for name, value in one.items() if name.lower() == TRACE
    ]
    assert asked == ["00-1-2-01", "mine"]


async def test_a_failure_says_nothing_of_the_headers(origin: Origin) -> None:
    origin.answers(status=401, text="s3cret")
    source = origin.source(headers={"Authorization": "Bearer s3cret"})

    with pytest.raises(SourceError) as caught:
        await source.load(b"user:1", {"id": b"1"})

    assert str(caught.value) == f"HTTP 401 from 127.0.0.1:{origin.server.port}"


# --- Asking again whether a value holds -------------------------------------------------------

ONE = {"id": b"1"}


async def cached(origin: Origin, source: UrlSource, **headers: str) -> None:
    """A first load of the value v, whose answer has these headers."""
    origin.answers(body=b"v", headers={name.replace("_", "-"): v for name, v in headers.items()})
    assert (await source.load(b"user:1", ONE)).value == b"v"
    origin.headers.clear()


async def test_a_value_that_still_holds_is_confirmed_and_not_sent_again(origin: Origin) -> None:
    source = origin.source()
    await cached(origin, source, ETag='"1"')
    origin.answers(status=304)

    loaded = await source.refresh(b"user:1", ONE, b"v")

    assert loaded == Loaded(b"v", not_modified=True)
    assert origin.headers[0]["If-None-Match"] == '"1"'
    assert "If-Modified-Since" not in origin.headers[0]


async def test_without_an_etag_it_is_asked_by_time(origin: Origin) -> None:
    modified = "Sun, 01 Nov 2026 00:00:00 GMT"
    source = origin.source()
    await cached(origin, source, Last_Modified=modified)
    origin.answers(status=304)

    assert (await source.refresh(b"user:1", ONE, b"v")).not_modified
    assert origin.headers[0]["If-Modified-Since"] == modified


async def test_a_value_that_has_changed_comes_whole_and_is_asked_for_by_its_own_tag(
    origin: Origin,
) -> None:
    source = origin.source()
    await cached(origin, source, ETag='"1"')
    origin.answers(body=b"new", headers={"ETag": '"2"'})

    assert await source.refresh(b"user:1", ONE, b"v") == Loaded(b"new")
    assert source.confirms(b"user:1", digest_of(b"new"))
    assert not source.confirms(b"user:1", digest_of(b"v"))


async def test_another_value_than_the_tag_came_with_is_asked_for_whole(origin: Origin) -> None:
    source = origin.source()
    await cached(origin, source, ETag='"1"')
    origin.answers(body=b"v")

    assert await source.refresh(b"user:1", ONE, b"somebody else's") == Loaded(b"v")
    assert "If-None-Match" not in origin.headers[0]


async def test_a_first_load_is_never_conditional(origin: Origin) -> None:
    source = origin.source()
    await cached(origin, source, ETag='"1"')

    await source.load(b"user:1", ONE)

    assert "If-None-Match" not in origin.headers[0]


async def test_it_can_be_switched_off(origin: Origin) -> None:
    source = origin.source(conditional=False)
    await cached(origin, source, ETag='"1"')

    assert not source.confirms(b"user:1", digest_of(b"v"))
    await source.refresh(b"user:1", ONE, b"v")
    origin.answers(status=404)
    assert await source.refresh(b"user:1", ONE, b"v") is NO_SUCH_THING
    assert "If-None-Match" not in origin.headers[0]


async def test_a_304_that_was_not_asked_for_is_an_error(origin: Origin) -> None:
    origin.answers(status=304)

    for known in (b"", b"v"):
        with pytest.raises(SourceError, match="HTTP 304 from"):
            await origin.source().refresh(b"user:1", ONE, known)


async def test_a_304_about_another_version_has_the_value_asked_for_whole(origin: Origin) -> None:
    source = origin.source()
    await cached(origin, source, ETag='"1"')

    async def answer(request: web.Request) -> web.StreamResponse:
        if "If-None-Match" in request.headers:
            return web.Response(status=304, headers={"ETag": '"2"'})
        return web.Response(body=b"new", headers={"ETag": '"2"'})

    origin.answer = answer

    assert await source.refresh(b"user:1", ONE, b"v") == Loaded(b"new")
    assert len(origin.headers) == 2


async def test_what_does_not_exist_any_more_has_no_tag(origin: Origin) -> None:
    source = origin.source()
    await cached(origin, source, ETag='"1"')
    origin.answers(status=404)

    assert await source.refresh(b"user:1", ONE, b"v") is NO_SUCH_THING
    assert not source.confirms(b"user:1", digest_of(b"v"))


async def test_a_failure_leaves_the_tag(origin: Origin) -> None:
    source = origin.source()
    await cached(origin, source, ETag='"1"')
    origin.answers(status=503)

    with pytest.raises(SourceError, match="HTTP 503"):
        await source.refresh(b"user:1", ONE, b"v")

    assert source.confirms(b"user:1", digest_of(b"v"))


async def test_what_comes_by_a_redirect_is_not_asked_for_conditionally(origin: Origin) -> None:
    moved = False

    async def answer(request: web.Request) -> web.StreamResponse:
        if moved and request.path != "/there":
            raise web.HTTPFound("/there")
        return web.Response(body=b"v", headers={"ETag": '"1"'})

    origin.answer = answer
    source = origin.source()
    await source.load(b"user:1", ONE)
    assert source.confirms(b"user:1", digest_of(b"v"))
    moved = True

    assert await source.refresh(b"user:1", ONE, b"v") == Loaded(b"v")

    assert ["If-None-Match" in one for one in origin.headers[1:]] == [True, False]
    assert not source.confirms(b"user:1", digest_of(b"v"))


@pytest.mark.parametrize(
    ("first", "then", "ms"),
    [
        ("max-age=10", None, 10_000),
        ("max-age=10", "max-age=5", 5_000),
        ("max-age=10", "no-store", 0),
        ("max-age=10", "max-age=3600", None),
        (None, "max-age=5", 5_000),
        (None, None, None),
    ],
)
async def test_cache_control_of_a_304_counts_or_that_of_the_answer_it_confirms(
    origin: Origin, first: str | None, then: str | None, ms: int | None
) -> None:
    source = origin.source(honour_cache_control=True)
    await cached(origin, source, ETag='"1"', **({"Cache_Control": first} if first else {}))
    origin.answers(status=304, headers={"Cache-Control": then} if then else {})

    loaded = await source.refresh(b"user:1", ONE, b"v")

    assert loaded == Loaded(b"v", ms, exact=ms is not None, not_modified=True)
