"""Tags on a cluster: a tag and its keys are in slots of their own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from tests.clusters import Cluster, slot_of
from tests.servers import nearhit, wait_for
from tests.wire.link import Link

from ..commands.people import settings

KEYS = [f"tagged:{n}" for n in range(40)]


@dataclass
class Two:
    cluster: Cluster
    version: Path  # what the loaders read
    ports: list[int]
    links: list[Link]

    def publish(self, version: int) -> None:
        fresh = self.version.with_suffix(".fresh")
        fresh.write_text(str(version))
        fresh.replace(self.version)

    def stored(self) -> set[bytes]:
        return {key for node in self.cluster.nodes[:3] for key in node.ask("KEYS", "*")}  # type: ignore[union-attr,misc]


@pytest.fixture(scope="module")
def kept(engine: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("tags")
    flags, env = settings(folder, 1)
    with ExitStack() as stack:
        proxies = [stack.enter_context(nearhit(engine.url, *flags, env=env)) for _ in range(2)]
        yield Two(engine, folder / "loads.version", [proxy.port for proxy in proxies], [])
    engine.reset()


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def two(kept: Two, request: pytest.FixtureRequest) -> Iterator[Two]:
    """Links that speak this protocol; nothing is stored."""
    with ExitStack() as stack:
        kept.links = [stack.enter_context(closing(Link(port))) for port in kept.ports]
        for link in kept.links:
            link.ask("HELLO", request.param)
            link.ask("FLUSHALL")
        yield kept


def owners(cluster: Cluster, keys: list[str]) -> int:
    return len({cluster.owner(slot_of(key.encode())).port for key in keys})


def test_a_tag_takes_keys_of_all_nodes_along(two: Two) -> None:
    one, other = two.links
    assert owners(two.cluster, KEYS) == 3
    for key in KEYS:
        assert one.ask("GETORSET", key) == b"$%d\r\nuser %b\r\n" % (len(key) - 2, key[7:].encode())
    assert one.ask("GETORSET", "a", "1", "TAG", "x", "TAG", "mine") == b"$1\r\n1\r\n"
    warmed = other.ask("WARM", "TAG", "mine", "VALUES", *(f"w{n // 2}" for n in range(20)))
    assert b"$6\r\nloaded\r\n:10\r\n" in warmed

    assert other.ask("INVALIDATE", "TAG", "all") == b":40\r\n"
    assert one.ask("INVALIDATE", "TAG", "mine", "x") == b":11\r\n"

    assert {key.partition(b":")[0] for key in two.stored()} == {b"tagepoch", b"tag"}
    assert one.ask("INVALIDATE", "TAG", *(f"one:{n}" for n in range(40))) == b":0\r\n"
    assert {key.partition(b":")[0] for key in two.stored()} == {b"tagepoch"}


def test_keys_of_all_nodes_become_stale(two: Two) -> None:
    keys = [f"soft:{n}" for n in range(20)]
    assert owners(two.cluster, keys) == 3
    for key in keys:
        two.links[0].ask("GETORSET", key)

    assert two.links[1].ask("INVALIDATE", "SOFT", "TAG", "soft") == b":20\r\n"
    assert two.links[1].ask("INVALIDATE", "SOFT", "PATTERN", "soft:*") == b":0\r\n"

    for key in keys:
        assert 0 < int(two.links[0].ask("PTTL", key)[1:]) <= 50_000
    assert two.links[0].ask("INVALIDATE", "TAG", "soft") == b":20\r\n"


def test_of_two_proxies_one_refreshes_what_is_stale(two: Two) -> None:
    loads, go = two.version.with_suffix(""), two.version.with_suffix(".go")
    loads.write_text("")
    go.unlink(missing_ok=True)
    two.links[0].ask("SET", "soft:held", "old", "PX", 30_000)

    seen = [link.ask("GETORSET", "soft:held") for link in two.links * 3]
    go.touch()
    wait_for(lambda: two.links[0].ask("GET", "soft:held") == b"$9\r\nuser held\r\n", 5, "a load")

    assert {*seen} == {b"$3\r\nold\r\n"}
    assert loads.read_text().splitlines() == ["held"]


@pytest.mark.parametrize("rounds", [30, pytest.param(1000, marks=pytest.mark.soak)])
def test_whatever_comes_between_nothing_old_is_served(two: Two, rounds: int) -> None:
    """As with one server (commands/test_tags.py), a tag and its keys being on different nodes."""
    two.publish(0)
    dice, over = random.Random(7), Event()

    def busy(port: int, seed: int) -> None:
        mine = random.Random(seed)
        with closing(Link(port)) as link:
            while not over.is_set():
                key = f"version:{mine.randrange(4)}"
                words = [("DEL", key), ("SET", key, "set"), *[("GETORSET", key)] * 8]
                link.ask(*mine.choice(words))

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(busy, port, n) for n, port in enumerate(two.ports * 2)]
        try:
            for version in range(1, rounds + 1):
                key = dice.randrange(4)
                two.publish(version)
                dice.choice(two.links).ask("INVALIDATE", "TAG", f"version{key}")
                for link in two.links:
                    for words in (("GET", f"version:{key}"), ("GETORSET", f"version:{key}")):
                        seen = link.ask(*words).split(b"\r\n")
                        assert (
                            seen[0] in (b"$-1", b"_")
                            or seen[1] == b"set"
                            or int(seen[1]) >= version
                        )
        finally:
            over.set()
        for one in working:
            one.result()
