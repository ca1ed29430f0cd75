"""What clients write stays in order, and is neither lost nor done twice, whatever moves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from nearhit.proxy.errors import ServerError

from tests.cluster.load import load
from tests.clusters import Cluster, Member, _tags, key_in
from tests.servers import Process, nearhit, wait_for

# On demand: under load and moves for long.
pytestmark = [pytest.mark.waits, pytest.mark.soak]
SLOTS = range(100, 112)
P99_S = 0.15  # of pipelines, while slots move
ROUNDS = int(os.environ.get("NEARHIT_CLUSTER_ROUNDS", "2"))


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(f"redis-cluster://127.0.0.1:{cluster.nodes[0].port}") as process:
        yield process


def tags(*more: int) -> list[bytes]:
    return [_tags()[slot] for slot in (*SLOTS, *more)]


def test_slots_that_move_to_and_fro_key_by_key(cluster: Cluster, proxy: Process) -> None:
    with load(proxy.port, tags(7000, 15000)) as clients:
        time.sleep(0.5)  # the first pipelines wait for the map
        begun = time.monotonic()
        for _ in range(ROUNDS):
            for target in cluster.nodes[1::-1]:
                for slot in SLOTS:
                    cluster.move(slot, target).begin().keys().finish(known=False)
                cluster.wait_for_owner(target, *SLOTS)

    took = clients.between(begun, float("inf"))
    p99 = took[int(len(took) * 0.99)]
    print(f"{clients.requests} requests, p99 {p99 * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms")
    assert clients.errors == []
    assert p99 < P99_S
    clients.check(proxy.port)


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_slots_that_move_at_once(cluster: Cluster, proxy: Process) -> None:
    with load(proxy.port, tags(7000, 15000)) as clients:
        time.sleep(0.5)  # the first pipelines wait for the map
        begun = time.monotonic()
        for _ in range(ROUNDS * 2):
            for target in cluster.nodes[1::-1]:
                cluster.migrate(SLOTS[0], SLOTS[-1], target)

    took = clients.between(begun, float("inf"))
    p99 = took[int(len(took) * 0.99)]
    print(f"{clients.requests} requests, p99 {p99 * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms")
    assert clients.errors == []
    assert p99 < P99_S
    clients.check(proxy.port)


def test_failovers_on_command_cost_nothing(cluster: Cluster, proxy: Process) -> None:
    with load(proxy.port, tags(7000, 15000)) as clients:
        time.sleep(0.3)
        cluster.fail_over(cluster.nodes[3])
        time.sleep(0.5)
        cluster.fail_over(cluster.nodes[4])
        time.sleep(0.3)

    longest = f"p99 {clients.longest(0.99) * 1000:.0f} ms, {clients.longest() * 1000:.0f} ms"
    print(clients.requests, "requests,", longest)
    assert clients.errors == []
    clients.check(proxy.port)


@pytest.mark.parametrize("how", ["kill", "freeze"])
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_only_the_shard_of_a_lost_primary_notices(
    cluster: Cluster, proxy: Process, how: str, turn: int
) -> None:
    """Killed or stopped; the stopped one goes on afterwards, and what it says then is dropped."""
    node, replica = cluster.nodes[0], cluster.nodes[3]
    others, hit = tags(7000, 15000)[-2:], tags()
    with load(proxy.port, others, 3) as far, load(proxy.port, hit, 3) as near:
        time.sleep(1.5)
        died = time.monotonic()
        getattr(node, how)()
        wait_for(lambda: _writable(replica), 15, "the replica has taken over")
        took = time.monotonic() - died
        time.sleep(1.5)
        if how == "freeze":
            node.thaw()
            time.sleep(0.7)

    before, during = far.between(0, died), far.between(died, died + took)
    p99 = [waits[int(len(waits) * 0.99)] * 1000 for waits in (before, during)]
    first = near.first_success(died) - died
    print(
        f"{how} {turn}: engine {took:.2f} s, first success {first:.2f} s, "
        f"{len(near.errors)} errors; other shards: {len(far.errors)} errors, "
        f"p99 {p99[0]:.1f} ms before, {p99[1]:.1f} ms meanwhile"
    )
    assert not far.errors
    assert p99[1] < max(2 * p99[0], 100), "the machine has other work too"
    assert all(b"lost" in reply for _, reply in near.errors)
    assert len(near.errors) <= 16 * len(near.clients)
    assert first < took + (0.3 if how == "kill" else 0.5)
    far.check(proxy.port)
    near.check(proxy.port, lost=True, kept_since=died)


def _writable(member: Member) -> bool:
    try:
        return member.ask("SET", key_in(SLOTS[0], b"engine"), "1") == b"OK"
    except ServerError:
        return False


def test_a_killed_primary_costs_what_was_in_flight(cluster: Cluster, proxy: Process) -> None:
    with load(proxy.port, tags(7000, 15000)) as clients:
        time.sleep(0.3)
        cluster.nodes[0].kill()
        died = time.monotonic()
        wait_for(lambda: cluster.nodes[3].is_primary, 15, "the replica has taken over")
        took = time.monotonic() - died
        time.sleep(1.0)

    print(
        clients.requests,
        f"requests; primary after {took:.2f} s, longest {clients.longest():.2f} s,"
        f" {len(clients.errors)} errors",
        {reply for _, reply in clients.errors},
    )
    assert all(b"lost" in reply for _, reply in clients.errors)
    assert len(clients.errors) <= 16 * len(clients.clients)
    assert clients.longest() < took + 1.5
    clients.check(proxy.port, lost=True)


def test_a_frozen_primary_is_given_up(cluster: Cluster, proxy: Process) -> None:
    with load(proxy.port, tags(7000, 15000)) as clients:
        time.sleep(0.3)
        cluster.nodes[0].freeze()
        died = time.monotonic()
        wait_for(lambda: cluster.nodes[3].is_primary, 15, "the replica has taken over")
        took = time.monotonic() - died
        time.sleep(2.2)
        cluster.nodes[0].thaw()
        time.sleep(0.5)

    print(
        clients.requests,
        f"requests; primary after {took:.2f} s, longest {clients.longest():.2f} s,"
        f" {len(clients.errors)} errors",
        {reply for _, reply in clients.errors},
    )
    assert all(b"lost" in reply for _, reply in clients.errors)
    assert len(clients.errors) <= 16 * len(clients.clients)
    assert clients.longest() < took + 2.5
    clients.check(proxy.port, lost=True)
