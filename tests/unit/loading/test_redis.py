"""Loading from another Redis or Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from nearhit.proxy.loading.redis import PAGE, RedisSource
from nearhit.proxy.loading.source import NO_SUCH_THING, Loaded, SourceError
from redis.asyncio import Redis

from tests.servers import HOST, Process, free_port, upstream


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    with upstream(request.param, "--requirepass", "secret") as process:
        yield process


@pytest.fixture
async def there(server: Process) -> AsyncIterator[Redis]:
    client = Redis(host=HOST, port=server.port, password="secret")
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def source(server: Process) -> AsyncIterator[RedisSource]:
    # What the query says is for other programs, and would give text for bytes.
    url = f"redis://:secret@{HOST}:{server.port}/0?decode_responses=true&protocol=3"
    source = RedisSource(url, 2)
    yield source
    await source.close()


async def test_a_value_comes_with_the_ttl_that_it_has_there(
    source: RedisSource, there: Redis
) -> None:
    await there.set("k\xff", b"\0\xff", px=60_000)

    loaded = await source.load("k\xff".encode(), None)

    assert (loaded.value, loaded.exact) == (b"\0\xff", True)
    assert loaded.ttl_ms is not None
    assert 50_000 < loaded.ttl_ms <= 60_000


async def test_a_value_without_expiry_has_none_here_either(
    source: RedisSource, there: Redis
) -> None:
    await there.set("k", b"v")

    assert await source.load(b"k", None) == Loaded(b"v", None, exact=True)


async def test_nil_says_that_there_is_no_such_thing(source: RedisSource, there: Redis) -> None:
    assert await source.load(b"k", None) is NO_SUCH_THING


async def test_something_else_at_the_key_is_an_error(source: RedisSource, there: Redis) -> None:
    await there.rpush("k", "x")

    with pytest.raises(SourceError, match=r"^WRONGTYPE Operation against a key"):
        await source.load(b"k", None)


async def test_a_load_that_is_cancelled_disturbs_no_other(
    source: RedisSource, there: Redis
) -> None:
    await there.mset({f"k{n}": f"v{n}" for n in range(20)})
    await there.client_pause(100)
    tasks = [asyncio.create_task(source.load(b"k0", None)) for _ in range(2)]
    for _ in range(50):
        await asyncio.sleep(0)

    for task in tasks:
        task.cancel()
    assert all(
        isinstance(ended, asyncio.CancelledError)
        for ended in await asyncio.gather(*tasks, return_exceptions=True)
    )

    for n in range(20):
        assert (await source.load(b"k%d" % n, None)).value == b"v%d" % n


async def test_a_connection_that_the_server_closed_is_opened_again(
    source: RedisSource, there: Redis
) -> None:
    await there.set("k", b"v")
    await source.load(b"k", None)
    await there.client_kill_filter(_type="normal", skipme=True)

    assert (await source.load(b"k", None)).value == b"v"


@pytest.mark.parametrize("what", ["password", "port"])
async def test_a_server_that_does_not_let_us_in_is_an_error(server: Process, what: str) -> None:
    password = "wrong-secret" if what == "password" else "secret"
    port = free_port() if what == "port" else server.port
    source = RedisSource(f"redis://:{password}@{HOST}:{port}", 2)

    with pytest.raises(SourceError, match=f"^{HOST}:{port}: ") as caught:
        await source.load(b"k", None)

    assert "secret" not in str(caught.value)
    assert "secret" not in repr(source)
    await source.close()


async def test_many_values_come_with_their_ttls(source: RedisSource, there: Redis) -> None:
    await there.set("a", b"1", px=60_000)
    await there.set("c", b"3")
    await there.rpush("list", "x")

    keys = [b"a", b"absent", b"c", b"list"]
    first, *rest = await source.load_many(keys, [{}] * 4)

    assert isinstance(first, Loaded)
    assert first.value == b"1"
    assert first.exact
    assert 0 < (first.ttl_ms or 0) <= 60_000
    assert rest == [NO_SUCH_THING, Loaded(b"3", None, exact=True), NO_SUCH_THING]


async def test_many_values_of_a_server_that_does_not_let_us_in_are_an_error(
    server: Process,
) -> None:
    source = RedisSource(f"redis://:wrong@{HOST}:{server.port}", 2)

    with pytest.raises(SourceError):
        await source.load_many([b"a", b"b"], [{}] * 2)
    await source.close()


async def test_its_keys_are_found_page_by_page(source: RedisSource, there: Redis) -> None:
    await there.mset({f"a{n}": "v" for n in range(PAGE + 100)})
    await there.set("b", "v")

    found: set[bytes] = set()
    cursor, page = await source.page(b"a*", 0)
    assert cursor
    found.update(page)
    while cursor:
        cursor, page = await source.page(b"a*", cursor)
        found.update(page)

    assert found == {b"a%d" % n for n in range(PAGE + 100)}


async def test_keys_of_a_server_that_does_not_let_us_in_are_an_error(server: Process) -> None:
    source = RedisSource(f"redis://:wrong@{HOST}:{server.port}", 2)

    with pytest.raises(SourceError, match=f"^{HOST}:{server.port}: "):
        await source.page(b"*", 0)
    await source.close()
