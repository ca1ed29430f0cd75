"""What is of all nodes of a cluster at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from nearhit.proxy.resp.replies import parsed

from tests.clusters import Cluster, key_in, slot_of
from tests.servers import Process, nearhit, wait_for
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits
KEYS = [b"user:%d" % number for number in range(300)]


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(cluster.url, "--near-cache", "8mb") as process:
        yield process


@pytest.fixture
def client(proxy: Process) -> Iterator[Link]:
    link = Link(proxy.port)
    wait_for(lambda: link.ask("GET", "x") == b"$-1\r\n", 5, "the proxy knows the cluster")
    yield link
    link.close()


def ask_all(link: Link, *requests: bytes) -> list[bytes]:
    link.send(b"".join(requests))
    return link.read(len(requests), 10)


def test_a_pattern_removes_the_keys_of_all_nodes(cluster: Cluster, client: Link) -> None:
    """Values that stand near, and leases, too."""
    ask_all(client, *(command("SET", key, "v") for key in KEYS), command("SET", "order:1", "v"))
    reads = [command("GET", key) for key in KEYS]
    for _ in range(3):
        ask_all(client, *reads)
    lease = client.ask("LEASE", "GET", "user:new", "PX", "60000")
    assert lease.startswith(b"*2\r\n$-1\r\n$"), "it is ours to fill"

    assert client.ask("INVALIDATE", "PATTERN", "user:*", seconds=10) == b":300\r\n"

    assert set(ask_all(client, *reads)) == {b"$-1\r\n"}
    assert [client.ask("EXISTS", key) for key in ("order:1", "lease:{user:new}")] == [
        b":1\r\n",
        b":0\r\n",
    ]


def test_the_locks_of_all_nodes_are_listed(client: Link) -> None:
    for number in range(30):
        assert client.ask("LOCK", "ACQUIRE", f"job:{number}").startswith(b"$")

    listed = client.ask("LOCK", "LIST", "job:*", seconds=10)

    assert listed.startswith(b"*60\r\n")
    assert all(b"\r\njob:%d\r\n:" % number in listed for number in range(30))


def told(link: Link, name: bytes) -> int:
    """A number of INFO's."""
    info = link.ask("INFO", "nearhit")
    return int(info.partition(b"\n" + name + b":")[2].split(b"\r\n")[0])


def test_an_mget_over_all_nodes_fills_the_near_cache_and_is_told_of_changes(
    cluster: Cluster, client: Link
) -> None:
    keys = [*KEYS[:20], *(key_in(100, b"%d" % number) for number in range(5))]
    absent = keys[-1]
    ask_all(client, *(command("SET", key, "old") for key in keys[:-1]))
    old = b"*%d\r\n" % len(keys) + b"$3\r\nold\r\n" * (len(keys) - 1) + b"$-1\r\n"

    def stand() -> bool:
        for _ in range(6):  # the first after INFO are not kept: they might be older than it
            assert client.ask("MGET", *keys) == old
        return told(client, b"near_entries") >= len(keys)

    wait_for(stand, 5, "all of it stands near, without a GET")

    for key in (keys[0], absent):
        cluster.owner(slot_of(key)).ask("SET", key, "new")

    new = b"$3\r\nnew\r\n"
    wait_for(lambda: client.ask("MGET", keys[0], absent) == b"*2\r\n" + new * 2, 2, "told")
    target = cluster.nodes[1]
    cluster.move_whole(100, target)
    target.ask("SET", absent, "newer")
    wait_for(
        lambda: client.ask("MGET", keys[1], absent) == b"*2\r\n$3\r\nold\r\n$5\r\nnewer\r\n",
        2,
        "the slot has moved",
    )


def test_scripts_loaded_through_us_are_known_to_nodes_that_came_later(
    cluster: Cluster, client: Link
) -> None:
    body = "return redis.call('INCR', KEYS[1])"
    sha = parsed(client.ask("SCRIPT", "LOAD", body))
    assert isinstance(sha, bytes)
    keys = [key_in(slot) for slot in (100, 6000, 12000)]
    calls = [command("EVALSHA", sha, 1, key) for key in keys]
    for node in cluster.nodes:
        node.ask("SCRIPT", "FLUSH")  # as if it had been started again

    assert ask_all(client, *calls, *calls) == [b":1\r\n"] * 3 + [b":2\r\n"] * 3
    cluster.fail_over(cluster.replica_of(cluster.nodes[0]))  # which has been flushed, too
    assert ask_all(client, *calls) == [b":3\r\n"] * 3

    assert client.ask("SCRIPT", "FLUSH") == b"+OK\r\n"
    assert client.ask("EVALSHA", sha, 1, keys[0]).startswith(b"-NOSCRIPT ")


def test_scripts_loaded_through_us_are_known_inside_of_a_transaction(
    cluster: Cluster, client: Link
) -> None:
    sha = parsed(client.ask("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])"))
    assert isinstance(sha, bytes)
    key = key_in(100)
    call = [command("MULTI"), command("EVALSHA", sha, 1, key), command("EXEC")]
    queued = [b"+OK\r\n", b"+QUEUED\r\n"]
    for watch in ([], [command("WATCH", key)]):
        for node in cluster.nodes:
            node.ask("SCRIPT", "FLUSH")  # as if it had been started again
        answers = ask_all(client, *watch, *call)
        assert answers[-3:-1] == queued
        assert answers[-1] in (b"*1\r\n:1\r\n", b"*1\r\n:2\r\n")
    assert client.ask("GET", key) == b"$1\r\n2\r\n"


def scan(links: list[Link], between: dict[int, Callable[[], None]]) -> tuple[set[bytes], int]:
    """All that a walk finds whose pages are asked of the proxies in turn, and how often it began
    anew; ``between``: what happens before the page of that number."""
    found, cursor, restarts, last = set[bytes](), b"0", 0, 0
    for number in range(10_000):
        between.get(number, lambda: None)()
        page: Any = parsed(links[number % 2].ask("SCAN", cursor, "COUNT", 50))
        cursor = page[0]
        found |= set(page[1])
        place = int(cursor)
        assert place < 1 << 63
        restarts += place >> 53 != last >> 53
        last = place
        if not place:
            return found, restarts
    raise AssertionError("it does not end")


def test_a_scan_through_two_proxies_misses_nothing_while_slots_move_and_primaries_change(
    cluster: Cluster, client: Link
) -> None:
    keys = {b"key:%d" % number for number in range(2000)}
    ask_all(client, *(command("SET", key, "v") for key in keys))
    slot = slot_of(min(keys))
    target = next(node for node in cluster.nodes[:3] if node is not cluster.owner(slot))
    with nearhit(cluster.url, "--near-cache", "off") as second:
        other = Link(second.port)
        links = [client, other]
        quiet, _ = scan(links, {})
        assert quiet == keys

        def move() -> None:
            cluster.move_whole(slot, target)
            for link in links:  # the map tells each of them before the walk is at its end
                assert link.ask("GET", min(keys)) == b"$1\r\nv\r\n"

        moving, restarts = scan(
            links,
            {
                5: move,
                20: lambda: cluster.fail_over(cluster.replica_of(cluster.nodes[1])),
            },
        )
        other.close()

    assert moving == keys
    assert restarts >= 2, "its pages were of three maps"


@pytest.mark.parametrize("whole", [True, False], ids=["moved", "half-moved"])
def test_a_scan_finds_keys_that_have_gone_to_a_node_that_was_walked_already(
    cluster: Cluster, client: Link, whole: bool
) -> None:
    """And that the map does not tell of before the walk is at its end, or not at all."""
    first, *_, last = sorted(cluster.nodes[:3], key=lambda node: node.id)
    slot = next(each for each in (100, 6000, 12000) if cluster.owner(each) is last)
    gone = {key_in(slot, b"%d" % number) for number in range(20)}
    keys = gone | set(KEYS)
    ask_all(client, *(command("SET", key, "v") for key in keys))
    move = cluster.move(slot, first)
    found, cursor, moved = set[bytes](), b"0", False
    for _ in range(1000):
        page: Any = parsed(client.ask("SCAN", cursor, "COUNT", 50))
        cursor = page[0]
        found |= set(page[1])
        if cursor == b"0":
            break
        if int(cursor) >> 44 & 511 and not moved:  # the first shard is walked
            moved = True
            move.begin().keys()
            if whole:
                move.finish(known=False)
    if not whole:
        move.finish()

    assert moved
    assert cursor == b"0"
    assert found == keys
