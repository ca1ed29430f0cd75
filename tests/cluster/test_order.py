"""What clients write stays in order, and is neither lost nor done twice, whatever moves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.cluster.load import load
from tests.clusters import Cluster, _tags
from tests.servers import Process, nearhit, wait_for

# On demand: under load and moves for long.
pytestmark = [pytest.mark.waits, pytest.mark.soak]
SLOTS = range(100, 112)
ROUNDS = int(os.environ.get("NEARHIT_CLUSTER_ROUNDS", "2"))


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(f"redis-cluster://127.0.0.1:{cluster.nodes[0].port}") as process:
        yield process


def tags(*more: int) -> list[bytes]:
    return [_tags()[slot] for slot in (*SLOTS, *more)]


def test_slots_that_move_to_and_fro_key_by_key(cluster: Cluster, proxy: Process) -> None:
    with load(proxy.port, tags(7000, 15000)) as clients:
        for _ in range(ROUNDS):
            for target in cluster.nodes[1::-1]:
                for slot in SLOTS:
                    cluster.move(slot, target).begin().keys().finish(known=False)
                cluster.wait_for_owner(target, *SLOTS)

    print(
        clients.requests, "requests", f"p99 {clients.longest(0.99):.3f} s, {clients.longest():.3f}"
    )
    assert clients.errors == []
    clients.check(proxy.port)


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_slots_that_move_at_once(cluster: Cluster, proxy: Process) -> None:
    with load(proxy.port, tags(7000, 15000)) as clients:
        for _ in range(ROUNDS * 2):
            for target in cluster.nodes[1::-1]:
                cluster.migrate(SLOTS[0], SLOTS[-1], target)

    print(
        clients.requests, "requests", f"p99 {clients.longest(0.99):.3f} s, {clients.longest():.3f}"
    )
    assert clients.errors == []
    clients.check(proxy.port)


def test_failovers_on_command_cost_nothing(cluster: Cluster, proxy: Process) -> None:
    with load(proxy.port, tags(7000, 15000)) as clients:
        time.sleep(0.3)
        cluster.fail_over(cluster.nodes[3])
        time.sleep(0.5)
        cluster.fail_over(cluster.nodes[4])
        time.sleep(0.3)

    print(
        clients.requests, "requests", f"p99 {clients.longest(0.99):.3f} s, {clients.longest():.3f}"
    )
    assert clients.errors == []
    clients.check(proxy.port)


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
