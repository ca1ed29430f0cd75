"""Tags with real servers: what goes with a tag, and that nothing which began before it stands."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from tests.servers import HOST, Kind, nearhit, server_binary, upstream, wait_for

from .people import Cache, settings

SET: Final = b"set"


def client_of(port: int, resp: int = 2) -> Redis:
    return Redis(host=HOST, port=port, protocol=resp)


def test_a_tag_takes_its_keys_along_and_no_others(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        client.execute_command("GETORSET", "a", "1", "EX", "60", "TAG", "team", "TAG", "red")
        client.execute_command("GETORSET", "b", "2", "TAG", "team")
        client.execute_command("GETORSET", "c", "3", "TAG", "blue", "PX", "60000")

        assert client.execute_command("INVALIDATE", "TAG", "team", "none") == 2
        assert client.mget("a", "b", "c") == [None, None, b"3"]
        client.set("a", "plain")
        assert client.execute_command("INVALIDATE", "TAG", "team") == 0
        assert client.execute_command("INVALIDATE", "TAG", "blue") == 1
        assert client.execute_command("INVALIDATE", "TAG", "blue") == 0


def test_what_is_there_is_returned_and_gets_no_tag(cache: Cache, resp: int) -> None:
    cache.server.set("a", "there")

    with client_of(cache.proxy, resp) as client:
        assert client.execute_command("GETORSET", "a", "1", "TAG", "team") == b"there"
        assert client.execute_command("INVALIDATE", "TAG", "team") == 0
    assert cache.server.get("a") == b"there"


def test_a_loaders_keys_have_its_tags(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        for number in range(3):
            assert client.execute_command("GETORSET", f"tagged:{number}") == b"user %d" % number

        assert client.execute_command("INVALIDATE", "TAG", "one:1") == 1
        assert cache.server.get("tagged:1") is None
        assert cache.server.get("tagged:2") == b"user 2"
        assert client.execute_command("INVALIDATE", "TAG", "all") == 2


def test_a_load_that_began_before_is_not_stored(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client, client_of(cache.proxy, resp) as other:
        loading = Thread(target=other.execute_command, args=("GETORSET", "tagged:held"))
        loading.start()
        wait_for(lambda: cache.loads("held") == 1)

        assert client.execute_command("INVALIDATE", "TAG", "all") == 0
        cache.release()
        loading.join()
    assert cache.server.get("tagged:held") is None


def test_more_keys_than_are_taken_at_once_all_go(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(600):
            pipeline.execute_command("GETORSET", f"k{number}", "v", "EX", 60, "TAG", "many")
        pipeline.execute()

        assert 0 < cache.server.pttl("tag:{many}") <= 71_000
        assert client.execute_command("INVALIDATE", "TAG", "many") == 600
    assert cache.server.keys() == [b"tagepoch:{many}"]


def test_values_are_warmed_with_tags(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        cache.server.set("b", "there")
        words = ("WARM", "EX", 60, "TAG", "team", "tag", "red", "VALUES")
        reply = client.execute_command(*words, "a", "1", "b", "2")
        assert outcomes(reply) == {b"requested": 2, b"loaded": 1, b"skipped": 1, b"failed": 0}
        assert 54_000 <= cache.server.pttl("a") <= 66_000

        assert client.execute_command("INVALIDATE", "TAG", "team") == 1
        assert client.mget("a", "b") == [None, b"there"]

        client.execute_command("WARM", "REFRESH", "TAG", "red", "VALUES", "b", "3", "b", "4")
        assert client.get("b") == b"4"
        assert client.execute_command("INVALIDATE", "TAG", "red") == 1
    assert {*cache.server.keys()} == {b"tagepoch:{team}", b"tagepoch:{red}"}


def test_loaders_keys_are_warmed_with_more_tags_than_theirs(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        reply = client.execute_command("WARM", "TAG", "mine", "KEYS", "tagged:1", "tagged:2")
        assert outcomes(reply)[b"loaded"] == 2

        assert client.execute_command("INVALIDATE", "TAG", "one:1") == 1
        assert client.execute_command("INVALIDATE", "TAG", "mine") == 1
        assert cache.server.exists("tagged:1", "tagged:2") == 0


@pytest.mark.parametrize("words", ["KEYS soft:1 user:1 soft:9", "PATTERN *:1", "TAG soft mine"])
def test_what_is_made_stale_stays_for_its_grace_and_no_longer(
    cache: Cache, resp: int, words: str
) -> None:
    with client_of(cache.proxy, resp) as client:
        for key in ("soft:1", "user:1"):
            client.execute_command("WARM", "TAG", "mine", "KEYS", key)

        assert client.execute_command("INVALIDATE", "SOFT", *words.split()) == 2

        assert 40_000 < cache.server.pttl("soft:1") <= 50_000
        assert cache.server.exists("user:1") == 0
        assert client.get("soft:1") == b"user 1"
        assert client.execute_command("INVALIDATE", "SOFT", "KEYS", "soft:1") == 0
        # It is under its tag still.
        assert client.execute_command("INVALIDATE", "TAG", "soft") == 1
        assert client.get("soft:1") is None


@pytest.mark.parametrize("words", ["KEYS soft:held", "PATTERN soft:*", "TAG soft"])
def test_a_load_that_began_before_is_not_stored_behind_a_soft_invalidation(
    cache: Cache, resp: int, words: str
) -> None:
    with client_of(cache.proxy, resp) as client, client_of(cache.proxy, resp) as other:
        loading = Thread(target=other.execute_command, args=("GETORSET", "soft:held"))
        loading.start()
        wait_for(lambda: cache.loads("held") == 1)

        assert client.execute_command("INVALIDATE", "SOFT", *words.split()) == 0
        cache.release()
        loading.join()
    assert cache.server.exists("soft:held") == 0


def test_who_asks_behind_an_invalidation_of_a_tag_has_a_load_of_his_own(
    cache: Cache, resp: int
) -> None:
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        early, late, client = (stack.enter_context(client_of(cache.proxy, resp)) for _ in range(3))

        def asking() -> int:
            return sum(one["cmd"] == "getorset" for one in client.client_list())

        first = pool.submit(early.execute_command, "GETORSET", "tagged:held")
        wait_for(lambda: cache.loads("held") == 1)
        client.execute_command("INVALIDATE", "TAG", "all")
        second = pool.submit(late.execute_command, "GETORSET", "tagged:held")
        wait_for(lambda: asking() == 2)
        cache.release()

        assert (first.result(), second.result()) == (b"user held", b"user held")
    assert cache.loads("held") == 2
    assert cache.server.get("tagged:held") == b"user held"


def test_a_client_that_computes_is_refused_behind_an_invalidation(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        for tag, stored in (("team", 0), ("other", 1)):
            _, token = client.execute_command("LEASE", "GET", tag)
            client.execute_command("INVALIDATE", "TAG", "team")
            words = ("LEASE", "SET", tag, token, "1", "EX", 60, "TAG", tag)
            assert client.execute_command(*words) == stored

        assert client.execute_command("INVALIDATE", "TAG", "other") == 1


def test_where_the_last_one_was_killed_the_next_one_ends_it(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        client.execute_command("GETORSET", "a", "1", "TAG", "team")
        # So far it had come.
        cache.server.rename("tag:{team}", "tagclosed:{team}:1f")
        cache.server.sadd("tagclosed:{team}", "tagclosed:{team}:1f")
        client.execute_command("GETORSET", "b", "1", "TAG", "team")

        assert client.execute_command("INVALIDATE", "TAG", "team") == 2
    assert cache.server.keys() == [b"tagepoch:{team}"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("GETORSET a 1 TAG", "syntax error"),
        ("GETORSET a TAG t", "syntax error"),
        ("WARM TAG KEYS", "syntax error"),
        ("WARM TAG } VALUES a 1", "a tag is not empty and does not begin with '}'"),
        (f"WARM {'TAG %d ' * 17 % (*range(17),)}KEYS a", "a key has at most 16 tags"),
        ("INVALIDATE TAG", "wrong number of arguments for 'invalidate|tag' command"),
        ("INVALIDATE SOFT", "wrong number of arguments for 'invalidate|soft' command"),
        ("INVALIDATE SOFT a", "syntax error"),
    ],
)
def test_what_is_wrong_is_said(cache: Cache, resp: int, words: str, error: str) -> None:
    with client_of(cache.proxy, resp) as client, pytest.raises(ResponseError) as refused:
        client.execute_command(*words.split())

    assert str(refused.value) == error


def outcomes(reply: Any) -> dict[bytes, int]:
    """What WARM counts, in both protocols."""
    if isinstance(reply, list):
        reply = dict(zip(reply[::2], reply[1::2], strict=True))
    assert reply[b"errors"] == [], reply
    return {name: reply[name] for name in (b"requested", b"loaded", b"skipped", b"failed")}


def test_the_keys_of_tags_are_no_clients_keys(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        client.execute_command("GETORSET", "a", "1", "TAG", "team")

        assert client.execute_command("INVALIDATE", "PATTERN", "*") == 1
    assert cache.server.exists("tag:{team}") == 1


@pytest.fixture(scope="module", params=["redis", "valkey"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """A server, and two proxies before it whose loaders have one source."""
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    folder = tmp_path_factory.mktemp("people")
    flags, env = settings(folder, 1)
    with ExitStack() as stack:
        server = stack.enter_context(upstream(kind))
        url = f"redis://{HOST}:{server.port}"
        ports = [stack.enter_context(nearhit(url, *flags, env=env)).port for _ in range(2)]
        direct = stack.enter_context(closing(client_of(server.port)))
        yield Pair(folder / "loads.version", direct, ports)


@dataclass
class Pair:
    version: Path  # what the loaders read
    direct: Redis
    ports: list[int]

    def publish(self, version: int) -> None:
        """At once: no loader reads half of it."""
        fresh = self.version.with_suffix(".fresh")
        fresh.write_text(str(version))
        fresh.replace(self.version)


def test_a_lease_of_one_proxy_is_set_with_tags_by_way_of_the_other(pair: Pair, resp: int) -> None:
    pair.direct.flushall()
    with client_of(pair.ports[0], resp) as one, client_of(pair.ports[1], resp) as other:
        for tag, stored in (("team", 0), ("red", 1)):
            _, token = one.execute_command("LEASE", "GET", tag)
            assert other.execute_command("INVALIDATE", "TAG", "team") == 0
            words = ("LEASE", "SET", tag, token, "1", "EX", 60, "TAG", tag, "TAG", "all")

            assert other.execute_command(*words) == stored

        assert pair.direct.keys("lease:*") == [], "neither is held any more"
        assert one.execute_command("INVALIDATE", "TAG", "all") == 1
        assert other.get("red") is None


@pytest.mark.parametrize("rounds", [60, pytest.param(1000, marks=pytest.mark.soak)])
def test_whatever_comes_between_nothing_old_is_served(pair: Pair, rounds: int) -> None:
    """While others load, evict and set, a new version is published and its tag invalidated: from
    the answer on nobody reads an older one, through either proxy or directly."""
    pair.direct.flushall()
    pair.publish(0)
    dice, over = random.Random(7), Event()

    def busy(port: int, seed: int) -> None:
        mine = random.Random(seed)
        with client_of(port) as client:
            while not over.is_set():
                key = f"version:{mine.randrange(2)}"
                match mine.randrange(10):
                    case 0:
                        pair.direct.delete(key)
                    case 1:
                        client.set(key, SET)
                    case _:
                        client.execute_command("GETORSET", key)

    with ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        clients = [stack.enter_context(client_of(port)) for port in pair.ports]
        working = [pool.submit(busy, port, n) for n, port in enumerate(pair.ports * 2)]
        try:
            for version in range(1, rounds + 1):
                key = dice.randrange(2)
                pair.publish(version)
                dice.choice(clients).execute_command("INVALIDATE", "TAG", f"version{key}")
                for reader in (*clients, pair.direct):
                    seen = reader.get(f"version:{key}")
                    assert seen in (None, SET) or int(seen) >= version, (version, reader)
                for reader in clients:
                    seen = reader.execute_command("GETORSET", f"version:{key}")
                    assert seen == SET or int(seen) >= version, (version, reader)
        finally:
            over.set()
        for one in working:
            one.result()
    assert pair.direct.zcard("tag:{version0}") <= 1
