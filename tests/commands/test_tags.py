"""Tags with real servers: what goes with a tag, and that nothing which began before it stands."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final

import pytest
from redis import Redis

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


def test_a_load_that_began_before_is_not_stored(cache: Cache) -> None:
    with client_of(cache.proxy) as client, client_of(cache.proxy) as other:
        loading = Thread(target=other.execute_command, args=("GETORSET", "tagged:slow"))
        loading.start()
        wait_for(lambda: cache.loads("slow") == 1)

        assert client.execute_command("INVALIDATE", "TAG", "all") == 0
        loading.join()
    assert cache.server.get("tagged:slow") is None


def test_more_keys_than_are_taken_at_once_all_go(cache: Cache) -> None:
    with client_of(cache.proxy) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(600):
            pipeline.execute_command("GETORSET", f"k{number}", "v", "EX", 60, "TAG", "many")
        pipeline.execute()

        assert 0 < cache.server.pttl("tag:{many}") <= 71_000
        assert client.execute_command("INVALIDATE", "TAG", "many") == 600
    assert cache.server.keys() == [b"tagepoch:{many}"]


def test_the_keys_of_tags_are_no_clients_keys(cache: Cache) -> None:
    with client_of(cache.proxy) as client:
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
        finally:
            over.set()
        for one in working:
            one.result()
    assert pair.direct.zcard("tag:{version0}") <= 1
