"""A virtual lane: what sessions share as if the cluster were one server.

It is a Lane without a connection: what is sent goes to its Router, and from there to real lanes.

    ClusterLane ── router ──▶ lanes of node A, B, C, of the same key
         ▲                        │ TRACKED: pushes, ends of connections
         └── listener ◀── Ear ◀───┘

READY as soon as there is a map. Its near cache is in use only while every primary's lane stands and
tells of changes: ``tracking``. Owns no socket, and no request either: router.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ..errors import ProxyError, UpstreamDown
from ..hot.answers import Slot
from ..hot.lane import LaneCore, LaneState
from ..hot.parts import Part
from ..resp.kernel import RouteMap, hash_slot
from ..upstream.ask import Done, Reply
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey, Use
from ..upstream.tracked import STANDS
from .canary import Canaries
from .cluster import Cluster, NodesOfKey
from .plans import Planning
from .reads import Reads
from .router import Router
from .silences import Silences

# Seconds behind a tick at which it is looked at once more who says nothing.
QUARTERS = (0.25, 0.5, 0.75)
# A node that has said nothing for so long may be frozen; a timer may come a little early.
SILENT_S = 0.9


class Ear:
    """Listens to one real lane for the virtual one (ports.Listener)."""

    def __init__(self, front: ClusterLane, lane: Lane) -> None:
        self._front = front
        self.lane = lane
        self.asked = False  # whether it stands, and has not answered

    def pushed(self, frame: bytes) -> None:
        if self._front.canaries.heard(self.lane, frame):
            return
        if self._front.listener is not None:
            self._front.listener.pushed(frame)

    def opened(self) -> None:
        self._front.ears_changed()

    def failing(self, why: ProxyError) -> None:
        """The other nodes go on, and who waits for this one waits, but for who can do without."""
        for slot in self.lane.offline.let_go(self._front.forgoes):
            slot.fail(why, False)

    def does_without(self, slot: Slot, keys: Sequence[bytes]) -> bool:
        listener = self._front.listener
        return listener is not None and listener.does_without(slot, keys)

    def dropped(self) -> None:
        self._front.canaries.forget()
        self._front.ears_changed()
        if self._front.listener is not None:
            self._front.listener.dropped()


class ClusterLane(Lane):
    def __init__(
        self,
        cluster: Cluster,
        planner: Planning,
        routes: RouteMap,
        number: int,
        key: LaneKey,
        *args: Any,
        **more: Any,
    ) -> None:
        super().__init__(number, key, *args, **more)
        self._cluster = cluster
        self.canaries = Canaries(self._slot_left)
        nodes = NodesOfKey(cluster, key, planner)
        self._ours = Router(nodes, routes, cluster.owners, self, more["offline_max"])
        self.router = self._ours
        self._reads = Reads(cluster, key, routes) if cluster.readers.active else None
        self._ours.reads = self._reads
        self._before: list[LaneCore] = []  # of the map before this one
        self._leaving: list[Lane] = []  # primaries of an older map that owed replies as it went
        self._ears: list[Ear] = []
        self._silences = Silences()
        self._asked = False  # whether all nodes still answer for what was sent
        cluster.mapped.add(self)

    def __repr__(self) -> str:
        return f"<ClusterLane {self.number} {self.state.name} db={self.key.db} {self._ours!r}>"

    @property
    def owes(self) -> bool:
        return self._ours.owing > 0

    def is_away(self, key: bytes) -> bool:
        if self.state is not LaneState.READY:  # there is no map to go by
            return super().is_away(key)
        return self._ours.is_away(hash_slot(key))

    def forgoes(self, slot: Slot) -> bool:
        """Whether who asked for a part of ours can do without any of its requests."""
        return isinstance(slot, Part) and self._ours.forgoes(slot)

    def does_without(self, slot: Slot, keys: Sequence[bytes]) -> bool:
        return self.listener is not None and self.listener.does_without(slot, keys)

    @property
    def can_track(self) -> bool:
        return all(ear.lane.can_track for ear in self._ears)

    # --- Life ---------------------------------------------------------------------------------

    def open(self) -> None:
        if self.state is LaneState.IDLE:
            self._become(LaneState.CONNECTING)
            self._cluster.open()
            if self._cluster.topology is not None:
                self.map_known()

    def send_later(self, data: bytes, slot: Slot) -> None:
        trouble = self._cluster.watch.trouble
        if self.state is LaneState.CONNECTING and trouble:
            slot.fail(_down(trouble), False)  # no node that was named answers
        else:
            super().send_later(data, slot)

    def tick(self) -> None:
        super().tick()
        trouble = self._cluster.watch.trouble
        if self.state is LaneState.CONNECTING and trouble:
            self._fail_offline(_down(trouble))
        self._look()
        for pause in QUARTERS:
            self._loop.call_later(pause, self._look)

    def _look(self) -> None:
        """Who says nothing."""
        lanes = self._real()
        self._silences.look(lanes, self._loop.time())
        if any(self.silent_s(lane) >= SILENT_S for lane in lanes):
            # It may be frozen: whether it is still who it was is known sooner by asking.
            self._cluster.refresh("a node is silent")

    def silent_s(self, lane: Lane) -> float:
        """For how long it has owed a reply and said nothing."""
        return self._silences.of(lane, self._loop.time())

    def map_known(self) -> None:
        if self.state is not LaneState.CONNECTING:
            return
        self._become(LaneState.READY)
        self._take_lanes()
        for data, slot in self.offline.take():
            self.send(data, slot)
        self._unchoke()
        self._home.lane_ready(self)

    def take_lanes(self) -> None:
        self._before = self._ours.lanes
        if self.state is LaneState.READY:
            self._take_lanes()

    def map_changed(self, moved: set[int]) -> None:
        if self.state is not LaneState.READY:
            return
        before, owners = self._before, self._cluster.owners_before
        gone = {at for at, lane in enumerate(before) if lane not in self._ours.lanes}
        lost: dict[int, set[int]] = {at: set() for at in gone}  # slots, by the old owner
        for slot in moved:
            if owners[slot] >= 0:
                lost.setdefault(owners[slot], set()).add(slot)
        for at in gone:
            lost[at].update(slot for slot, owner in enumerate(owners) if owner == at)
        for at, slots in lost.items():
            self._ours.move(slots, before[at], gone=at in gone)
        self.canaries.forget(set[int]().union(*lost.values()))
        if lost and self.key.use is Use.TRACKED and self.listener is not None:
            # What stands of these slots was told of by nodes that have them no more.
            self.listener.dropped()

    def _take_lanes(self) -> None:
        lanes = self._cluster.primaries(self.key)
        for lane in lanes:
            lane.users += 1
            lane.open()
        before = [old for old in self._ours.lanes if isinstance(old, Lane)]
        for old in before:
            old.users -= 1
        self._leaving = [
            lane for lane in (*self._leaving, *before) if lane.owes and lane not in lanes
        ]
        self._ours.lanes = list[LaneCore](lanes)
        if self._reads is not None:
            self._reads.mapped(self._ours.lanes)
        if self.key.use is Use.TRACKED:
            known = {id(ear.lane): ear for ear in self._ears}
            self._ears = [
                known.pop(id(lane)) if id(lane) in known else Ear(self, lane) for lane in lanes
            ]
            for old_ear in known.values():
                old_ear.lane.listener = None
            for ear in self._ears:
                ear.lane.listener = ear
            self.ears_changed()

    def _slot_left(self, slot: int) -> None:
        """A node has lost a slot, of which something may stand in the near cache."""
        self._cluster.refresh("a slot has left its node")
        if self.listener is not None:
            self.listener.dropped()

    def ears_changed(self) -> None:
        lanes = [ear.lane for ear in self._ears]
        self.tracking = bool(lanes) and all(
            lane.state is LaneState.READY and lane.tracking for lane in lanes
        )

    def close(self) -> None:
        if self.state is LaneState.CLOSED:
            return
        self._cluster.mapped.discard(self)
        super().close()
        for lane in self._ours.lanes:
            if isinstance(lane, Lane):
                lane.users -= 1
                if lane.listener is not None and self._ears:
                    lane.listener = None
        self._ours.lanes = []
        if self._reads is not None:
            self._reads.close()
        self._ours.close(self._why)

    def lose(self, why: str) -> None:
        """There is no connection to give up; those of the nodes end by themselves."""

    def ask(self, done: Done, *args: bytes) -> None:
        if args != STANDS or not self._ears:
            super().ask(done, *args)
            return
        # Whether the lane stands is for each of its nodes to say: all of them are heard, or none.
        left = len(self._ears)

        def stands(ear: Ear, reply: Reply) -> None:
            nonlocal left
            ear.asked = False
            left -= 1
            if not left:
                self.heard += 1
                done(reply)

        for ear in list(self._ears):
            ear.asked = True
            ear.lane.ask(partial(stands, ear), *args)

    def suspect_silent(self, why: str) -> None:
        """Some node has said nothing, though it was asked."""
        for ear in self._ears:
            if ear.asked:
                self._cluster.pool_of_lane(ear.lane).suspected(ear.lane, why, hasty=True)

    # --- Freshness ----------------------------------------------------------------------------

    def freshen(self) -> None:
        """Ask every primary something: when all have answered, what stands in the near cache is as
        new as anything that was told before the asking."""
        if not self._asked and self.tracking and self._ours.lanes:
            self._asked = True
            self.call_soon(self._ask_all)

    def _ask_all(self) -> None:
        if not self._ours.lanes:
            self._asked = False
            return
        self.sent += 1
        number, left, failed = self.sent, len(self._ours.lanes), False

        def answered(reply: Reply) -> None:
            nonlocal left, failed
            left -= 1
            failed |= isinstance(reply, ProxyError)
            if not left:
                self._asked = False
                if not failed:
                    self.done = number

        for lane in list(self._ours.lanes):
            assert isinstance(lane, Lane)
            lane.ask(answered, *STANDS)

    # --- Flow control -------------------------------------------------------------------------

    def lane_writable(self, lane: Lane | None) -> None:
        """Some node takes more, or a gate has opened; who waits for another one waits again after
        its next request."""
        self._unchoke()

    def _real(self) -> list[Lane]:
        lanes = [lane for lane in self._ours.lanes if isinstance(lane, Lane)]
        lanes += self._leaving
        return lanes if self._reads is None else [*lanes, *self._reads.held]

    def pause_reading(self, reader: object) -> None:
        for lane in self._real():
            lane.pause_reading(reader)
        self.paused = any(lane.paused for lane in self._real())

    def waits_for(self, reader: object) -> bool:
        return any(lane.waits_for(reader) for lane in self._real())

    def others_wait(self, lags: Any) -> bool:
        return any(lane.others_wait(lags) for lane in self._real())

    def hold_reading(self, reader: object) -> None:
        for lane in self._real():
            if lane.waits_for(reader):
                lane.hold_reading(reader)
        self.paused = any(lane.paused for lane in self._real())

    def resume_reading(self, reader: object = None) -> None:
        for lane in self._real():
            lane.resume_reading(reader)
        self.paused = any(lane.paused for lane in self._real())

    def carry_heavy(self) -> None:
        """Which of the nodes it is that brings them is not known here."""


def _down(trouble: str) -> UpstreamDown:
    """What is wrong with the last node asked, which may say so in these words already."""
    where, _, why = trouble.partition(str(UpstreamDown("")))
    return UpstreamDown(why or where)
