"""Reads go to replicas where they may (``read_from``), and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import pytest

from tests.clusters import Cluster, Member, key_in
from tests.servers import Process, nearhit, wait_for
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits
KEY = key_in(100)
KEYS = [key_in(slot) for slot in (100, 6000, 12000)]
PATIENCE = 10.0


@contextmanager
def reading(cluster: Cluster, read_from: str, *flags: str) -> Generator[tuple[Process, Link]]:
    """A proxy whose reads have come to replicas, and a client of it that has written nothing."""
    url = f"redis-cluster://127.0.0.1:{cluster.nodes[0].port}"
    for primary in cluster.nodes[:3]:
        cluster.replica_of(primary)
    with nearhit(url, "--read-from", read_from, *flags) as proxy:
        wait_for(lambda: spread(proxy) == len(KEYS), PATIENCE, "all replicas are read")
        with closing(Link(proxy.port)) as link:
            yield proxy, link


def spread(proxy: Process) -> int:
    """How many of a new client's reads are the replicas'."""
    with closing(Link(proxy.port)) as one, closing(Link(proxy.port)) as other:
        before = told(other, b"replica_reads")
        ask_all(one, b"STRLEN")
        return told(other, b"replica_reads") - before


@pytest.fixture(scope="module")
def proxy(engine: Cluster) -> Iterator[Process]:
    with nearhit(engine.url, "--read-from", "prefer_replica", "--near-cache", "off") as made:
        yield made


@pytest.fixture
def preferred(cluster: Cluster, proxy: Process) -> Iterator[tuple[Process, Link]]:
    for primary in cluster.nodes[:3]:
        cluster.replica_of(primary)
    wait_for(lambda: spread(proxy) == len(KEYS), PATIENCE, "all replicas are read")
    with closing(Link(proxy.port)) as link:
        yield proxy, link


def told(link: Link, name: bytes) -> int:
    info = link.ask("INFO", "nearhit")
    (found,) = [line for line in info.split(b"\r\n") if line.startswith(name + b":")]
    return int(found.partition(b":")[2])


def ask_all(link: Link, name: bytes) -> list[bytes]:
    return [link.ask(name, key) for key in KEYS]


def calls(member: Member, name: str) -> int:
    """How often the node was asked for a command, from wherever but its primary."""
    found = re.search(rf"cmdstat_{name}:calls=(\d+)", text(member.ask("INFO", "commandstats")))
    return int(found[1]) if found else 0


def text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()


def reset(cluster: Cluster) -> None:
    for member in cluster.nodes:
        member.ask("CONFIG", "RESETSTAT")


def test_reads_are_the_replicas_and_all_else_is_the_primaries(
    cluster: Cluster, preferred: tuple[Process, Link]
) -> None:
    _, link = preferred
    with closing(Link(preferred[0].port)) as writer:
        for key in KEYS:
            writer.ask("SET", key, "v")
    wait_for(
        lambda: all(cluster.replica_of(each).ask("DBSIZE") == 1 for each in cluster.nodes[:3]),
        PATIENCE,
        "replicas have it",
    )
    reset(cluster)

    assert ask_all(link, b"GET") == [b"$1\r\nv\r\n"] * 3
    assert link.ask("MGET", *KEYS) == b"*3\r\n" + b"$1\r\nv\r\n" * 3
    link.ask("SCAN", "0")
    for words in (("HSCAN", KEYS[0] + b"h", "0"), ("EVAL", "return 1", "1", KEY)):
        link.ask(*words)

    primaries, replicas = cluster.nodes[:3], cluster.nodes[3:]
    assert [calls(each, "get") for each in cluster.nodes] == [0, 0, 0, 1, 1, 1]
    assert [calls(each, "mget") for each in cluster.nodes] == [0, 0, 0, 1, 1, 1]
    for name in ("scan", "hscan", "eval", "set"):
        assert sum(calls(each, name) for each in replicas) == 0, name
    assert sum(calls(each, "scan") for each in primaries) == 1


def test_a_client_reads_what_it_wrote_from_the_primary(
    cluster: Cluster, preferred: tuple[Process, Link]
) -> None:
    _, link = preferred
    reset(cluster)

    for number in range(20):
        link.send(command("SET", KEY, str(number)) + command("GET", KEY))
        assert link.read(2) == [b"+OK\r\n", b"$%d\r\n%d\r\n" % (len(str(number)), number)]
        assert link.ask("GET", KEY) == b"$%d\r\n%d\r\n" % (len(str(number)), number)
        link.ask("INCR", KEY)
        assert link.ask("MGET", KEY, KEY).count(b"%d\r\n" % (number + 1)) >= 2

    assert all(calls(each, "get") == calls(each, "mget") == 0 for each in cluster.nodes[3:])
    link.ask("GET", KEYS[1])
    assert calls(cluster.nodes[4], "get") == 1, "another slot is read there"


def test_transactions_read_at_the_primary(
    cluster: Cluster, preferred: tuple[Process, Link]
) -> None:
    _, link = preferred
    reset(cluster)

    link.ask("WATCH", KEY)
    link.ask("GET", KEY)
    link.send(command("MULTI") + command("GET", KEY) + command("EXEC"))
    link.read(3)

    assert calls(cluster.nodes[3], "get") == 0
    assert calls(cluster.nodes[0], "get") == 2


def test_a_killed_replica_costs_no_error(cluster: Cluster, preferred: tuple[Process, Link]) -> None:
    _, link = preferred
    replica = cluster.nodes[3]
    replica.kill()

    for _ in range(200):
        link.send(command("GET", KEY) * 5)
        assert link.read(5) == [b"$-1\r\n"] * 5
    assert calls(cluster.nodes[0], "get") > 0


@pytest.mark.soak
def test_a_replica_that_hangs_is_left_and_what_it_was_asked_is_asked_elsewhere(
    cluster: Cluster, preferred: tuple[Process, Link]
) -> None:
    proxy, link = preferred
    cluster.nodes[3].freeze()
    try:
        link.send(command("GET", KEY))
        assert link.read(1, PATIENCE) == [b"$-1\r\n"]
        with closing(Link(proxy.port)) as other:
            assert other.ask("GET", KEY) == b"$-1\r\n"
    finally:
        cluster.nodes[3].thaw()


@pytest.mark.soak
def test_a_replica_that_has_lost_its_primary_is_left(
    cluster: Cluster, preferred: tuple[Process, Link]
) -> None:
    _, link = preferred
    primary, replica = cluster.nodes[0], cluster.nodes[3]
    replica.ask("CONFIG", "SET", "masterauth", "refused")
    try:
        replica.ask("CLIENT", "KILL", "TYPE", "master")
        primary.ask("SET", KEY, "new")

        def at_the_primary() -> bool:
            before = calls(primary, "get")
            return link.ask("GET", KEY) == b"$3\r\nnew\r\n" and calls(primary, "get") > before

        wait_for(at_the_primary, PATIENCE, "it is left")
    finally:
        replica.ask("CONFIG", "SET", "masterauth", "")


@pytest.mark.soak
def test_without_any_replica_the_error_says_so(cluster: Cluster) -> None:
    with reading(cluster, "replica", "--near-cache", "off") as (_, link):
        cluster.nodes[3].kill()

        def refused() -> bool:
            return link.ask("GET", KEY).startswith(b"-UPSTREAM no connection to the server: no rep")

        wait_for(refused, PATIENCE, "there is none")
        assert link.ask("GET", KEYS[1]) == b"$-1\r\n", "other shards have theirs"
        assert link.ask("SET", KEY, "v") == b"+OK\r\n"


def test_nothing_that_a_replica_says_is_kept(cluster: Cluster) -> None:
    with reading(cluster, "prefer_replica", "--near-cache", "8mb") as (proxy, link):
        reset(cluster)

        def filled() -> bool:
            with closing(Link(proxy.port)) as other:
                for _ in range(20):
                    ask_all(other, b"GET")
                return told(other, b"near_fills") >= len(KEYS)

        wait_for(filled, PATIENCE, "they stand near")
        ask_all(link, b"STRLEN")

        assert [calls(each, "pttl") for each in cluster.nodes[3:]] == [0, 0, 0]
        assert sum(calls(each, "pttl") for each in cluster.nodes[:3]) >= len(KEYS)
        assert [calls(each, "strlen") for each in cluster.nodes[3:]] == [1, 1, 1]


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_the_nearest_is_the_one_of_the_same_zone(cluster: Cluster) -> None:
    """Redis does not tell its zone."""
    for member in cluster.nodes[3:]:
        member.ask("CONFIG", "SET", "availability-zone", "here")
    try:
        flags = ("--availability-zone", "here", "--near-cache", "off")
        with reading(cluster, "nearest", *flags) as (_, link):
            reset(cluster)
            ask_all(link, b"GET")
            assert [calls(each, "get") for each in cluster.nodes] == [0, 0, 0, 1, 1, 1]
    finally:
        for member in cluster.nodes[3:]:
            member.ask("CONFIG", "SET", "availability-zone", "")
