"""redis-py's own client-side cache (CLIENT TRACKING on RESP3) stays right behind the proxy.

redis-py asks for a server called redis of 7.4 or later; the servers here are older or named
valkey and track just as well, so the tests lower that bar and change nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from redis import Redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

from tests.clients.target import Target
from tests.servers import wait_for

Cached = Callable[[], Redis]


@pytest.fixture
def cached(target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cached]:
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "7.0.0")
    monkeypatch.setattr(CacheProxyConnection, "DEFAULT_SERVER_NAME", target.kind)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(target.client(protocol=3, cache_config=CacheConfig()))


@pytest.fixture
def writer(target: Target) -> Iterator[Redis]:
    with target.client() as client:
        yield client


def test_a_second_read_is_answered_by_the_clients_own_cache(cached: Cached, writer: Redis) -> None:
    writer.set("k", "v")
    reader = cached()

    assert reader.get("k") == b"v"
    assert reader.get("k") == b"v"

    assert reader.get_cache().size == 1


def test_a_write_of_another_client_reaches_the_cache(cached: Cached, writer: Redis) -> None:
    reader = cached()
    for turn in range(50):
        writer.set("k", turn)
        expected = b"%d" % turn
        wait_for(lambda want=expected: reader.get("k") == want, 5, f"write {turn} was seen")


def test_an_own_write_is_read_at_once(cached: Cached) -> None:
    """The server writes a reply and the invalidation behind it at once; so must we, or redis-py,
    which looks for invalidations before each read and does not wait, serves the old value."""
    client = cached()
    for turn in range(300):
        client.set("k", turn)
        assert client.get("k") == b"%d" % turn


@pytest.mark.parametrize("end", ["delete", "expire", "flushdb", "script", "multi"])
def test_every_way_to_change_a_key_reaches_the_cache(
    cached: Cached, writer: Redis, end: str
) -> None:
    writer.set("k", "old")
    reader = cached()
    assert reader.get("k") == b"old"

    match end:
        case "delete":
            writer.delete("k")
        case "expire":
            writer.pexpire("k", 1)
        case "flushdb":
            writer.flushdb()
        case "script":
            writer.eval("redis.call('DEL', KEYS[1])", 1, "k")
        case "multi":
            writer.pipeline(transaction=True).delete("k").execute()

    wait_for(lambda: reader.get("k") is None, 5, f"{end} was seen")


def test_many_keys_in_two_caches_converge(cached: Cached, writer: Redis) -> None:
    readers = [cached(), cached()]
    names = [f"k{n}" for n in range(100)]
    writer.mset(dict.fromkeys(names, "old"))
    for reader in readers:
        assert [reader.get(name) for name in names] == [b"old"] * 100

    writer.mset(dict.fromkeys(names, "new"))

    for reader in readers:
        wait_for(
            lambda reader=reader: all(reader.get(name) == b"new" for name in names),
            what="each copy was replaced",
        )


def test_a_cache_whose_connection_is_killed_starts_again(cached: Cached, writer: Redis) -> None:
    writer.set("k", "old")
    reader = cached()
    assert reader.get("k") == b"old"

    assert writer.client_kill_filter(_id=str(reader.client_id())) == 1
    writer.set("k", "new")

    wait_for(lambda: reader.get("k") == b"new", what="the new value was read")
