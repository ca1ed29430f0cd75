"""What the tests' own clusters do, as the tests of the proxy rely on it."""

from __future__ import annotations

import re
from contextlib import closing

import pytest
from nearhit.proxy.cluster.topology import SLOTS
from nearhit.proxy.errors import ServerError

from tests.clusters import Cluster, key_in, slot_of
from tests.servers import wait_for
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits
SLOT = 100


def refusal(cluster: Cluster, at: int, *words: bytes) -> str:
    with pytest.raises(ServerError) as refused:
        cluster.nodes[at].ask(*words)
    return str(refused.value)


def assert_home(cluster: Cluster) -> None:
    for member in cluster.nodes:
        found = member.topology()
        assert found.missing == 0
        assert [shard.primary.port for shard in found.shards] == [
            each.port for each in sorted(cluster.nodes[:3], key=lambda each: each.id)
        ]
        assert all(len(shard.replicas) == 1 for shard in found.shards)
    assert [cluster.owner(slot).port for slot in (0, 8000, SLOTS - 1)] == [
        member.port for member in cluster.nodes[:3]
    ]
    assert all(member.ask("DBSIZE") == 0 for member in cluster.nodes[:3])


def test_a_cluster_begins_with_a_third_of_the_slots_at_each_primary(cluster: Cluster) -> None:
    assert_home(cluster)
    assert [cluster.replica_of(each) for each in cluster.nodes[:3]] == cluster.nodes[3:]


def test_a_key_can_be_had_in_every_slot(cluster: Cluster) -> None:
    assert {slot_of(key_in(slot)) for slot in range(SLOTS)} == set(range(SLOTS))
    for slot in (0, SLOT, SLOTS - 1):
        assert cluster.nodes[0].ask("CLUSTER", "KEYSLOT", key_in(slot)) == slot
    for key in (b"k", b"{}k", b"a{}{b}", b"a{b}{c}", b"{a", b"a}b{c}"):
        assert cluster.nodes[0].ask("CLUSTER", "KEYSLOT", key) == slot_of(key)


def test_a_slot_is_moved_in_steps(cluster: Cluster) -> None:
    one, other = key_in(SLOT, b"one"), key_in(SLOT, b"other")
    source, target = cluster.nodes[:2]
    for key in (one, other):
        source.ask("SET", key, b"v")

    move = cluster.move(SLOT, target).begin()
    ask = refusal(cluster, 0, b"GET", key_in(SLOT, b"absent"))
    move.keys(one)
    again = refusal(cluster, 0, b"MGET", one, other)
    move.keys()
    move.finish()
    moved = refusal(cluster, 0, b"GET", one)

    assert re.fullmatch(rf"ASK {SLOT} .*:{target.port}", ask)
    assert again.startswith("TRYAGAIN")
    assert re.fullmatch(rf"MOVED {SLOT} .*:{target.port}", moved)
    assert target.ask("MGET", one, other) == [b"v", b"v"]
    cluster.reset()
    assert_home(cluster)


def test_what_is_written_behind_its_keys_moves_with_a_slot(cluster: Cluster) -> None:
    """Valkey 9 runs a transaction with a PUBLISH where any other would get ASK."""
    source, target = cluster.nodes[:2]
    key, lines = key_in(SLOT, b"late"), [("MULTI",), ("PUBLISH", "c", "m"), ("EXEC",)]
    move = cluster.move(SLOT, target).begin().keys()
    with closing(Link(source.port)) as link:
        link.send(b"".join(command(*words) for words in (lines[0], ("SET", key, "v"), *lines[1:])))
        ran = link.read(4)[-1].startswith(b"*2")

    assert move.let_go() is not ran
    assert move.keys().let_go()
    move.finish()

    assert target.ask("EXISTS", key) == ran
    assert source.ask("CLUSTER", "GETKEYSINSLOT", SLOT, 1) == []


def test_a_move_can_be_given_up_or_forgotten(cluster: Cluster) -> None:
    cluster.move(SLOT, cluster.nodes[1]).begin().undo()
    cluster.nodes[0].ask("SET", key_in(SLOT), b"v")
    cluster.move(SLOT + 1, cluster.nodes[1]).begin()

    cluster.reset()

    assert_home(cluster)
    assert b"->-" not in repr(cluster.nodes[0].ask("CLUSTER", "NODES")).encode()


def test_a_replica_takes_over_on_command(cluster: Cluster) -> None:
    cluster.fail_over(cluster.nodes[3])

    assert cluster.owner(0) is cluster.nodes[3]
    cluster.reset()
    assert_home(cluster)


def test_a_replica_takes_over_for_a_killed_primary(cluster: Cluster) -> None:
    cluster.nodes[1].kill()
    wait_for(lambda: cluster.nodes[4].is_primary, 10, "the replica has taken over")

    cluster.reset()

    assert_home(cluster)


def test_a_replica_takes_over_for_a_frozen_primary(cluster: Cluster) -> None:
    cluster.nodes[2].freeze()
    wait_for(lambda: cluster.nodes[5].is_primary, 10, "the replica has taken over")

    cluster.reset()

    assert_home(cluster)


@pytest.mark.parametrize("engine", ["redis"], indirect=True)
def test_what_cannot_be_mended_is_made_anew(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.clusters.PATIENCE", 3.0)
    for member in cluster.nodes:
        member.ask("FLUSHALL") if member.is_primary else None
        member.ask("CLUSTER", "RESET", "HARD")

    cluster.reset()

    assert_home(cluster)


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_valkey_moves_slots_with_all_their_keys_at_once(cluster: Cluster) -> None:
    cluster.nodes[0].ask("SET", key_in(SLOT), b"v")

    cluster.migrate(0, 999, cluster.nodes[1])

    assert cluster.nodes[1].ask("GET", key_in(SLOT)) == b"v"
    cluster.reset()
    assert_home(cluster)


def test_a_cluster_may_have_one_node(single: Cluster) -> None:
    single.nodes[0].ask("SET", b"k", b"v")

    single.reset()

    assert single.topology().missing == 0
    assert single.nodes[0].ask("DBSIZE") == 0
