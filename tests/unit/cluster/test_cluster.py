"""The nodes and the map, the virtual lanes over them, and what becomes of those that leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from nearhit.proxy.cluster.cluster import LEAVE_S, Cluster
from nearhit.proxy.cluster.lane import ClusterLane
from nearhit.proxy.cluster.lanes import ClusterLanes, NodeLanes
from nearhit.proxy.cluster.planner import Planner
from nearhit.proxy.cluster.table import one_key
from nearhit.proxy.cluster.topology import UNCOVERED, Topology, parse_slots
from nearhit.proxy.hot.answers import Slot
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.resp.kernel import RouteMap, hash_slot
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.upstream.ask import AskSlot
from nearhit.proxy.upstream.lane_key import LaneKey, Use
from nearhit.proxy.upstream.lanes import Lanes

from tests.fakes import TABLE, FakeDial, Tasks, Tray, Upstream, settle
from tests.unit.cluster.bench import A, B, get

TRACKED = LaneKey(use=Use.TRACKED)


def rows(*primaries: int) -> Topology:
    share = 16384 // len(primaries)
    found: list[Value] = [
        [
            at * share,
            16383 if at + 1 == len(primaries) else (at + 1) * share - 1,
            [b"n", port, b"%040d" % port],
        ]
        for at, port in enumerate(primaries)
    ]
    return parse_slots(found, "n")


class Listener:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def pushed(self, frame: bytes) -> None:
        self.heard.append("pushed")

    def opened(self) -> None: ...

    def dropped(self) -> None:
        self.heard.append("dropped")

    def does_without(self, slot: Slot, keys: Sequence[bytes]) -> bool:
        return isinstance(slot, AskSlot) and slot.forgoes


class Town:
    """A cluster whose map a test gives."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.dials: dict[int, FakeDial] = {}
        self.refreshed: list[object] = []
        self.cluster = Cluster(
            [("n", 1)],
            self._pool,
            lambda work: work.close(),  # nobody watches: the test says what is
            patience=5.0,
            commands=lambda: TABLE.commands,
            valkey=lambda: False,
        )
        routes = RouteMap(dict.fromkeys(one_key(TABLE.commands), int(Route.PLAIN)))
        self.lanes = ClusterLanes(
            self.cluster,
            Planner(lambda: TABLE.commands, lambda: None, lambda: False),
            routes,
            FakeDial(),
            self.tasks.start,
            timeout_s=30.0,
            offline_max=1 << 20,
            on_ready=lambda lane: None,
            on_refused=lambda lane, why: None,
        )

    def _pool(self, host: str, port: int) -> Lanes:
        dial = self.dials[port] = FakeDial()
        dial.upstream = dial.upstream.__class__(host=host, port=port)
        return NodeLanes(
            self.refreshed.append,
            dial,
            self.tasks.start,
            timeout_s=30.0,
            offline_max=1 << 20,
            on_ready=lambda lane: None,
            on_refused=lambda lane, why: None,
        )

    async def become(self, *primaries: int) -> None:
        self.cluster.watch._become(rows(*primaries))
        await settle()

    def node(self, port: int) -> Upstream:
        return self.dials[port].wires[-1]

    def lane(self, key: LaneKey | None = None) -> ClusterLane:
        lane = self.lanes.shared(key or LaneKey())
        assert isinstance(lane, ClusterLane)
        lane.open()
        return lane


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    made = Town()
    yield made
    made.lanes.close()
    await made.tasks.stop()


async def test_what_is_asked_before_there_is_a_map_is_sent_when_there_is_one(town: Town) -> None:
    lane, tray = town.lane(), Tray()
    lane.send(get(A), tray)
    assert lane.state is LaneState.CONNECTING
    await town.become(1, 2)

    assert town.node(1).written == get(A)
    assert lane.owes
    town.node(1).reply(b"$-1\r\n")
    assert (tray.got, lane.owes) == (b"$-1\r\n", False)


async def test_while_no_seed_answers_requests_fail_at_once(town: Town) -> None:
    lane = town.lane()
    town.cluster.watch.trouble = "n:1: refused"
    tray = Tray()
    lane.send(get(A), tray)

    assert tray.error.startswith(b"-UPSTREAM no connection to the server: n:1: refused")


async def test_the_map_changes_owners_and_lanes_together(town: Town) -> None:
    lane = town.lane()
    await town.become(1, 2)
    await town.become(1, 3)
    lane.send(get(A), Tray())
    lane.send(get(b"foo"), Tray())  # in the second half
    await settle()

    assert (town.node(1).written, town.node(3).written) == (get(A), get(b"foo"))
    assert town.node(2).written == b""


async def test_nodes_that_left_are_closed_when_they_have_had_their_time(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.lane()
    await town.become(1, 2)
    await town.become(1, 3)
    town.cluster.tick()
    assert not town.node(2).end
    loop = asyncio.get_running_loop()
    ends = loop.time() + LEAVE_S + 1
    monkeypatch.setattr(loop, "time", lambda: ends)
    town.cluster.tick()

    assert town.node(2).end
    assert len(town.cluster.pools) == 2


async def test_moved_is_followed_to_known_primaries_alone(town: Town) -> None:
    await town.become(1, 2)
    slot = hash_slot(A)

    assert not town.cluster.follow(slot, "elsewhere", 2)
    assert town.cluster.follow(slot, "n", 2)
    assert town.cluster.owners[slot] == town.cluster.owners[16383]


async def test_it_tracks_while_all_of_its_nodes_do(town: Town) -> None:
    lane = town.lane(TRACKED)
    lane.listener = Listener()
    await town.become(1, 2)
    assert lane.tracking
    town.dials[2].refuse = 100
    town.node(2).lose()

    assert not lane.tracking
    assert lane.listener.heard == ["dropped"]


async def test_a_slot_that_moves_drops_what_stands(town: Town) -> None:
    lane = town.lane(TRACKED)
    listener = lane.listener = Listener()
    await town.become(1, 2)
    lane.canaries.sent[hash_slot(A)] = 1
    town.cluster.follow(hash_slot(A), "n", 2)

    assert listener.heard == ["dropped"]
    assert not lane.canaries.sent[hash_slot(A)]


async def test_it_stands_when_every_node_says_so(town: Town) -> None:
    lane = town.lane(TRACKED)
    await town.become(1, 2)
    heard, told = lane.heard, list[object]()
    lane.ask(told.append, b"HELLO")
    await settle()
    town.node(1).reply(b"*0\r\n")
    assert (lane.heard, told) == (heard, [])
    town.node(2).reply(b"*0\r\n")

    assert lane.heard == heard + 1
    assert len(told) == 1


async def test_what_stands_near_is_fresh_when_every_node_has_answered(town: Town) -> None:
    lane = town.lane(TRACKED)
    await town.become(1, 2)
    before = lane.done
    lane.freshen()
    lane.freshen()
    await settle()
    assert town.node(1).written.count(b"HELLO") == 1
    town.node(1).reply(b"*0\r\n")
    assert lane.done == before
    town.node(2).reply(b"*0\r\n")

    assert lane.done == lane.sent == before + 1


async def test_a_lost_lane_has_the_map_looked_at(town: Town) -> None:
    town.lane()
    await town.become(1, 2)
    town.node(1).lose()

    assert town.refreshed == [town.cluster.pool("n", 1)]


async def test_closing_fails_what_waits_and_nothing_twice(town: Town) -> None:
    lane, tray = town.lane(), Tray()
    await town.become(1, 2)
    lane.send(get(B), tray)
    await settle()
    lane.close()
    town.lanes.close()

    assert tray.filled == 1
    assert not lane.owes


async def test_a_slot_that_was_refused_counts_as_that_for_a_while(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    await town.become(1, 2)
    cluster = town.cluster
    assert not cluster.is_refused(7)
    cluster.refused(7)
    cluster.tick()
    assert cluster.is_refused(7)
    assert not cluster.is_refused(8)
    monkeypatch.setattr("nearhit.proxy.cluster.cluster.REFUSED_S", 0.0)
    cluster.refused(7)
    cluster.tick()
    assert not cluster.is_refused(7)
    cluster.watch.down = True
    assert cluster.is_refused(8)
    cluster.watch.down = False
    cluster.owners[8] = UNCOVERED
    assert cluster.is_refused(8)
