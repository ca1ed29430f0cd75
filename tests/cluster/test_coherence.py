"""What is read near is what the cluster has, wherever its slots go."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Cluster, Member, key_in
from tests.servers import HOST, Process, free_port, nearhit, wait_for
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits
SLOTS = range(200, 216)
# Nothing is pushed for a nil whose slot moves: one slot has those alone, the next values alone.
KEYS = [key_in(slot, b"%s%d" % (b"vn"[slot % 2 :][:1], at)) for slot in SLOTS for at in range(4)]
CANARY_S, POLL_S = 0.05, 1.2


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    url = f"redis-cluster://127.0.0.1:{cluster.nodes[0].port}"
    with nearhit(url, "--near-cache", "8mb") as process:
        yield process


# The same proxy without what is tested: slots are neither watched nor polled.
DEAF = """
import sys, time
import nearhit.proxy.cluster.canary as canary, nearhit.proxy.cluster.watch as watch
canary.Canaries.send = lambda self, slot, lane: None
watch.POLL = 60.0
refresh, deaf = watch.Watch.refresh, time.monotonic() + 3.0
watch.Watch.refresh = lambda *args: refresh(*args) if time.monotonic() < deaf else None
from nearhit.proxy.cli.main import main
sys.exit(main())
"""


def told(link: Link, name: bytes) -> int:
    """A number of INFO's."""
    info = link.ask("INFO", "nearhit")
    (found,) = [line for line in info.split(b"\r\n") if line.startswith(name + b":")]
    return int(found.partition(b":")[2])


def fill(link: Link, primary: Member) -> None:
    """Half of the keys stand near with a value, half as nil."""
    for key in KEYS:
        if key.startswith(b"v"):
            primary.ask("SET", key, "old")

    def all_stand() -> bool:
        for _ in range(4):  # the first after INFO are not kept: they might be older than it
            link.send(b"".join(command("GET", key) for key in KEYS))
            assert len(link.read(len(KEYS))) == len(KEYS)
        return told(link, b"near_entries") >= len(KEYS)

    try:
        wait_for(all_stand, 5, "all stand in the near cache")
    except AssertionError:
        print(link.ask("INFO", "nearhit").decode())
        raise


def stale_for(link: Link, target: Member) -> float:
    """Seconds from the new owner's OK until no read gives what was before."""
    direct = Link(target.port)
    direct.send(b"".join(command("SET", key, "new") for key in KEYS))
    assert direct.read(len(KEYS)) == [b"+OK\r\n"] * len(KEYS)
    direct.close()
    began = time.monotonic()
    last = 0.0
    while time.monotonic() - began < 2.0:
        link.send(b"".join(command("GET", key) for key in KEYS))
        replies = link.read(len(KEYS))
        if any(reply != b"$3\r\nnew\r\n" for reply in replies):
            assert all(reply[:1] in b"$_" for reply in replies), replies
            last = time.monotonic() - began
    return last


def test_slots_that_move_key_by_key_leave_nothing_old(cluster: Cluster, proxy: Process) -> None:
    link = Link(proxy.port)
    fill(link, cluster.nodes[0])
    target = cluster.nodes[1]
    for slot in SLOTS:
        cluster.move(slot, target).begin().keys().finish(known=False)

    took = stale_for(link, target)

    print(f"stale for {took * 1000:.0f} ms", told(link, b"near_slots"))
    assert took < CANARY_S + 0.05
    link.close()


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_slots_that_move_at_once_leave_nothing_old(cluster: Cluster, proxy: Process) -> None:
    link = Link(proxy.port)
    fill(link, cluster.nodes[0])
    target = cluster.nodes[1]
    cluster.migrate(SLOTS[0], SLOTS[-1], target, known=False)

    took = stale_for(link, target)

    print(f"stale for {took * 1000:.0f} ms", told(link, b"near_slots"))
    assert took < CANARY_S + 0.05
    link.close()


def test_a_failover_leaves_nothing_old(cluster: Cluster, proxy: Process) -> None:
    link = Link(proxy.port)
    fill(link, cluster.nodes[0])
    cluster.fail_over(cluster.nodes[3], known=False)

    took = stale_for(link, cluster.nodes[3])

    print(f"stale for {took * 1000:.0f} ms", told(link, b"near_slots"))
    assert took < 0.3
    link.close()


def test_without_the_permission_it_polls_and_says_so(cluster: Cluster, proxy: Process) -> None:
    for member in cluster.nodes:
        member.ask("ACL", "SETUSER", "default", "-ssubscribe")
    link = Link(proxy.port)
    try:
        fill(link, cluster.nodes[0])
        assert b"near_slots:-1" in link.ask("INFO", "nearhit")
        target = cluster.nodes[1]
        for slot in SLOTS[:4]:
            cluster.move(slot, target).begin().keys().finish(known=False)
        for slot in SLOTS[4:]:
            cluster.move(slot, target).begin().keys().finish(known=False)

        took = stale_for(link, target)

        print(f"stale for {took * 1000:.0f} ms", told(link, b"near_slots"))
        assert took < POLL_S
    finally:
        for member in cluster.nodes:
            member.ask("ACL", "SETUSER", "default", "+ssubscribe")
        link.close()


def test_what_was_asked_for_elsewhere_is_not_kept(cluster: Cluster, proxy: Process) -> None:
    """By ASK, that is: the node that answers does not track it."""
    link = Link(proxy.port)
    key = key_in(SLOTS[0], b"asked")
    source, target = cluster.nodes[:2]
    source.ask("SET", key, "1")
    move = cluster.move(SLOTS[0], target).begin().keys()
    for number in range(1, 20):
        wait_for(
            lambda n=number: link.ask("GET", key) == b"$%d\r\n%d\r\n" % (len(str(n)), n), 2, "new"
        )  # type: ignore[misc]
        asking = Link(target.port)
        asking.send(command("ASKING") + command("SET", key, number + 1))
        assert asking.read(2) == [b"+OK\r\n"] * 2
        asking.close()
        assert link.ask("GET", key) == b"$%d\r\n%d\r\n" % (len(str(number + 1)), number + 1)
    move.finish()
    link.close()


@pytest.mark.soak
def test_without_canary_and_poll_a_nil_would_stay(cluster: Cluster) -> None:
    """Which shows that the tests above test something. On demand: on a busy machine a node says
    nothing for a second, and what stands is dropped for that."""
    port, url = free_port(), f"redis-cluster://127.0.0.1:{cluster.nodes[0].port}"
    with tempfile.TemporaryDirectory(prefix="nearhit-test-") as folder:
        flags = ["--listen", f"{HOST}:{port}", "--upstream", url, "--near-cache", "8mb"]
        argv = [sys.executable, "-c", DEAF, "serve", *flags]
        process = Process(port, argv, Path(folder), {"NEARHIT_ENV": "development"})
        process.start()
        try:
            link = Link(port)
            nil = key_in(SLOTS[1], b"n0")
            time.sleep(3.5)
            fill(link, cluster.nodes[0])
            cluster.move(SLOTS[1], cluster.nodes[1]).begin().keys().finish()
            cluster.nodes[1].ask("SET", nil, "new")
            time.sleep(0.5)
            for _ in range(50):  # the first ones go by, behind INFO
                assert link.ask("GET", key_in(SLOTS[3], b"n0")) == b"$-1\r\n"
            assert link.ask("GET", nil) == b"$-1\r\n"
            link.close()
        finally:
            process.stop()
