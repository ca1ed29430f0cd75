"""Which nodes of a shard may answer reads, by what they tell of themselves."""

from __future__ import annotations

from typing import Any, cast

from nearhit.proxy.cluster.replicas import LOST_S, SILENT_S, ReadFrom, Replicas
from nearhit.proxy.cluster.topology import Node, Shard
from nearhit.proxy.errors import UpstreamDown
from nearhit.proxy.upstream.ask import Done, Reply


def node(port: int) -> Node:
    return Node(b"%040d" % port, "n", port, frozenset({"n"}))


PRIMARY, ONE, TWO = node(1), node(2), node(3)
SHARD = Shard(PRIMARY, (ONE, TWO), ((0, 16383),))


def info(**fields: object) -> bytes:
    text = "".join(f"{name}:{value}\r\n" for name, value in fields.items()).encode()
    return b"$%d\r\n%b\r\n" % (len(text), text)


def primary(offset: int = 100, **more: object) -> bytes:
    return info(loading=0, role="master", master_repl_offset=offset, **more)


def replica(offset: int = 100, **more: object) -> bytes:
    fields: dict[str, object] = {
        "loading": 0,
        "role": "slave",
        "master_link_status": "up",
        "master_last_io_seconds_ago": 0,
        "slave_repl_offset": offset,
        "master_repl_offset": offset,
    }
    return info(**(fields | more))


class World:
    """Nodes that answer when the test says so."""

    def __init__(self, read_from: ReadFrom = ReadFrom.PREFER_REPLICA, zone: str = "") -> None:
        self.now = 100.0
        self.asked: dict[int, Done] = {}
        self.replicas = Replicas(
            read_from, cast(Any, self._pool), lambda: self.now, max_lag=2.0, zone=zone
        )

    def _pool(self, _host: str, port: int) -> Any:
        asked = self.asked

        class Pool:
            def shared(self, _key: object) -> Pool:
                return self

            def ask(self, done: Done, *_words: bytes) -> None:
                asked[port] = done

        return Pool()

    def tick(self, *replies: Reply | None, seconds: float = 1.0) -> None:
        """Replies of the primary and the two replicas, None: nothing comes."""
        self.now += seconds
        self.replicas.tick([SHARD])
        for port, reply in enumerate(replies, 1):
            if reply is not None and port in self.asked:
                self.asked.pop(port)(reply)

    @property
    def readers(self) -> list[Node]:
        return self.replicas.readers(SHARD)


def test_nobody_is_read_who_has_not_said_how_it_is() -> None:
    assert World().readers == []


def test_replicas_are_read_that_are_well() -> None:
    world = World()

    world.tick(primary(), replica(), replica(loading=1))
    assert world.readers == [ONE]
    world.tick(primary(), replica(master_link_status="down"), replica())
    assert world.readers == [TWO]
    world.tick(primary(), primary(), UpstreamDown("away"))
    assert world.readers == []


def test_a_replica_that_is_behind_by_more_than_the_bound_is_left() -> None:
    world = World()
    for offset in (100, 200, 300, 400):
        world.tick(primary(offset), replica(offset), replica(100))

    assert world.readers == [ONE], "two seconds ago it was 200"

    world.tick(primary(400), replica(300), replica(400))
    assert world.readers == [ONE, TWO]


def test_where_the_primary_is_silent_its_link_tells_how_late_a_replica_is() -> None:
    world = World()
    world.tick(None, replica(master_last_io_seconds_ago=3), replica(master_last_io_seconds_ago=2))

    assert world.readers == [TWO]


def test_a_replica_that_does_not_answer_is_left_and_then_given_up() -> None:
    world = World()
    world.tick(primary(), replica(), replica())
    version = world.replicas.version

    world.tick(primary(), None, replica())
    world.tick(primary(), None, replica(), seconds=SILENT_S + 0.01)

    assert world.readers == [TWO]
    assert world.replicas.version > version
    assert not world.replicas.silent(ONE)
    world.now += LOST_S
    assert world.replicas.silent(ONE)


def test_one_that_is_doubted_has_to_answer_what_is_asked_later() -> None:
    world = World()
    world.tick(primary(), replica(), replica())

    world.tick(primary(), None, replica())
    world.replicas.doubt(ONE)
    world.asked.pop(ONE.port)(replica())
    assert world.readers == [TWO]

    world.tick(primary(), replica(), replica())
    assert world.readers == [ONE, TWO]


def test_the_nearest_is_in_the_same_zone_whatever_its_role() -> None:
    world = World(ReadFrom.NEAREST, zone="a")

    world.tick(
        primary(availability_zone="a"),
        replica(availability_zone="a"),
        replica(availability_zone="b"),
    )

    assert world.readers == [PRIMARY, ONE]


def test_without_zones_the_nearest_answers_soonest_by_far() -> None:
    world = World(ReadFrom.NEAREST)
    world.tick()
    for pause, port, reply in ((0.010, 1, primary()), (0.001, 2, replica()), (0.1, 3, replica())):
        world.now += pause
        world.asked.pop(port)(reply)
    assert world.readers == [PRIMARY], "a tenth of a round trip is not by far"

    world.now += 1.0
    world.tick(None, replica(), None)

    assert world.readers == [ONE]


def test_nobody_is_asked_where_reads_are_the_primaries() -> None:
    world = World(ReadFrom.PRIMARY)

    world.tick(primary(), replica(), replica())

    assert not world.replicas.active
    assert world.readers == []


def test_nodes_that_have_left_are_forgotten() -> None:
    world = World()
    world.tick(primary(), replica(), replica())

    world.replicas.tick([])

    assert "nodes=0" in repr(world.replicas)
