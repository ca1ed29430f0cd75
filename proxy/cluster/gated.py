"""The gates of a router: which slots are on the move, what waits for them, and how much that is.

A gate stands from the first redirection of a slot, or from the change of its owner, until what was
in flight at the old node is answered (gates.py). What is of all nodes, or of none, waits until
nothing of its client is in a gate, and all that the client sends behind it waits too:

    SET k, in a gate ◀── FLUSHALL ◀── SET other ... held_up[client], sent in order as gates open

Where what opens a gate goes is router.py's."""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

from ..errors import ProxyError, UpstreamDown
from ..hot.answers import Slot
from ..hot.lane import LaneCore, LaneState
from ..hot.parts import Part, Weave
from ..hot.router import RouterCore
from ..resp.kernel import RouteMap, split
from ..resp.requests import encode
from ..table.table import Command
from ..upstream.ask import AskSlot, Reply, drop
from ..upstream.lane import Lane
from .canary import Canaries
from .gates import DRAIN_LEAST, DRAIN_MAX, LATER_S, Gate
from .pieces import client_of, give, requests_of
from .plans import Plan, Spread
from .redirects import LATER, Kind, Redirect
from .scripts import Scripts

# Hops of one request: under atomic migration source and target disagree for a moment.
HOPS_MAX: Final = 8
# Seconds after which who can do without is told that nobody answers: a failover that somebody has
# commanded is over sooner.
FORGO_S: Final = 1.0
# How often a script is loaded for one request: somebody may flush them meanwhile, or forbid it.
LOADS_MAX: Final = 3
# Where the nodes do not agree for as long as anybody waits.
UNSETTLED: Final = b"-TRYAGAIN the nodes of the cluster do not agree on who has which slot\r\n"
# What SCRIPT EXISTS says of one that the node does not have.
_ABSENT: Final = b"*1\r\n:0\r\n"


class Front(Protocol):
    """The virtual lane that the requests come from."""

    canaries: Canaries

    def lane_writable(self, lane: Lane | None) -> None: ...
    def freshen(self) -> None: ...
    def silent_s(self, lane: Lane) -> float: ...
    def does_without(self, slot: Slot, keys: Sequence[bytes]) -> bool: ...


class Nodes(Protocol):
    """The cluster, as the router of one LaneKey knows it (cluster.py)."""

    patience: float  # seconds that a request may wait until a node can answer it
    scripts: Scripts  # that clients have loaded
    tracked: bool  # whether nodes remember keys that are read after CLIENT CACHING YES

    def plan(self, words: Sequence[bytes]) -> Plan:
        """What is to be done with a request."""
        ...

    def by_key(self, words: Sequence[bytes]) -> Spread | None:
        """A request for each key of it; None: it cannot be cut so."""
        ...

    def commands(self) -> Mapping[bytes, Command]:
        """What the servers know."""
        ...

    def reads(self, name: bytes) -> bool:
        """Whether a command changes nothing, so that it may be asked twice."""
        ...

    def refresh(self, why: str) -> None:
        """The map may be old."""

    def follow(self, slot: int, host: str, port: int) -> bool:
        """Take what MOVED says for true; False: its target is no primary that is known."""
        ...

    def moved_lately(self, slot: int) -> bool:
        """Whether the slot had another owner some seconds ago."""
        ...

    def refused(self, slot: int) -> None:
        """Nobody answers for the slot, though it was asked for again and again."""

    def is_refused(self, slot: int) -> bool:
        """Whether it is known that no node answers for the slot."""
        ...

    def lane_at(self, host: str, port: int) -> Lane | None:
        """The lane of the router's key to a known node; None: it is not known."""
        ...

    def replica_lanes(self) -> Sequence[Lane]:
        """The lanes of the router's key to all known replicas."""
        ...


class Gated(RouterCore):
    """``held_max``: bytes in gates beyond which who sends one thing more there waits."""

    def __init__(
        self, nodes: Nodes, routes: RouteMap, owners: array[int], front: Front, held_max: int
    ) -> None:
        super().__init__(routes, owners, front.canaries.sent)
        self.nodes = nodes
        self._whose = owners
        self._front = front
        self._loop = asyncio.get_running_loop()
        self._held = 0  # bytes in gates
        self._held_max = held_max
        self._closed: ProxyError | None = None

    def _gate(self, slot: int) -> Gate:
        gate: Gate | None = self.gates.get(slot)
        if gate is None:
            gate = self.gates[slot] = Gate([slot], self._opened, self._gave_up)
        return gate

    def _wait(self, part: Part) -> None:
        """Its slot is on the move: behind all that is there."""
        self._gate(part.hash_slot).wait(part)
        self._held += len(part.data)
        if self._held > self._held_max:
            self.choked = True

    def _go_back(self, part: Part) -> None:
        """It was sent before its slot's gate stood: before what came since."""
        self._gate(part.hash_slot).redirected(part)
        self._held += len(part.data)

    def _replace(self, part: Part, pieces: Sequence[Part]) -> None:
        """These wait in its place."""
        self._gate(part.hash_slot).replace(part, pieces)
        self._held += sum(len(piece.data) for piece in pieces) - len(part.data)

    def _leave(self, part: Part) -> None:
        """It waits no more."""
        self._gate(part.hash_slot).forget(part)
        self._held -= len(part.data)

    def move(self, slots: set[int], was: LaneCore, *, gone: bool = False) -> None:
        """These slots, which were this lane's, have another owner; what is in flight at the old one
        is answered first, and what waits for its connection waits for the new one instead.
        ``gone``: the old one has no slots any more."""
        lane = cast(Lane, was)
        unsent = lane.offline.take()
        lane.offline.put_back([one for one in unsent if not self._is_ours(one[1])])
        for _, slot in unsent:
            if self._is_ours(slot):
                slot.fail(UpstreamDown("its slots have moved"), False)
        slots = slots - self.gates.keys()
        if slots and lane.owes:
            gate = Gate(slots, self._opened, self._gave_up)
            self.gates.update(dict.fromkeys(slots, gate))
            silent = self._front.silent_s(lane) if gone else 0.0
            gate.behind(lane, max(DRAIN_LEAST, DRAIN_MAX - silent))

    def _is_ours(self, slot: Slot) -> bool:
        return isinstance(slot, Part) and slot.router is self

    def _opened(self, gate: Gate) -> None:
        for slot in gate.slots:
            del self.gates[slot]
        parts = gate.taken()
        self._held -= sum(len(part.data) for part in parts)
        for part in parts:
            self._to_slot(part.hash_slot, part)
        self._go_on()
        if self._held <= self._held_max:
            self._front.lane_writable(None)

    def _gave_up(self, lane: Lane) -> None:
        """What is in flight there is not answered: late replies are nobody's."""
        lane.lose("the slot has moved, and its old node does not answer")

    def close(self, why: ProxyError) -> None:
        """Nothing is sent any more: what waits is failed."""
        self._closed = why
        self._held = 0
        gates = {id(gate): gate for gate in self.gates.values()}
        self.gates.clear()
        for gate in gates.values():
            for part in gate.close():
                self._fail(part, why)
        held_up = [part for parts in self.held_up.values() for part in parts]
        self.held_up.clear()
        for part in held_up:
            self._fail(part, why)

    def _slot_of(self, part: Part) -> int:
        if part.hash_slot == -1:
            part.hash_slot = self.routes.hash_slot(part.data, 0)
        return part.hash_slot

    # --- Requests that nobody answers -------------------------------------------------------------

    def _counts(self, part: Part, redirected: Redirect) -> bool:
        """Count a further try; whether there may be one."""
        now, later = self._loop.time(), redirected.kind is Kind.LATER
        part.tries += 1
        part.until = part.until or now + self.nodes.patience
        part.hops = 0 if later else part.hops + 1
        if later and part.hash_slot >= 0:
            if now - (part.until - self.nodes.patience) >= min(FORGO_S, self.nodes.patience):
                self.nodes.refused(part.hash_slot)
            if self.is_away(part.hash_slot) and self.forgoes(part):
                return False
        return now <= part.until and part.hops <= HOPS_MAX

    def is_away(self, slot: int) -> bool:
        """Whether it is known that nobody answers for a slot now."""
        if self.nodes.is_refused(slot):
            return True
        lane = cast(Lane, self.lanes[self._whose[slot]])
        return lane.failing and lane.state is not LaneState.READY

    def forgoes(self, part: Part) -> bool:
        """Whether who asked can do without it, or without a request of it."""
        words = (split(request, 0)[0] or () for request in requests_of(part))
        return any(self._front.does_without(part.place, one[1:2]) for one in words)

    # --- Requests that are several ----------------------------------------------------------------

    def gathered(self, whole: Part, reply: bytes) -> None:
        """All pieces of a request are answered; by nothing: it has to wait for another map."""
        if reply:
            give(whole, reply)
        elif self._counts(whole, LATER):
            self._loop.call_later(LATER_S, self._once_more, whole)
        else:
            give(whole, UNSETTLED)

    def _once_more(self, part: Part) -> None:
        if self._closed is not None:
            self._fail(part, self._closed)
        elif not self._dispatch(part):
            self._hold(part)

    # --- Scripts that a node does not know --------------------------------------------------------

    def _load_script(self, part: Part, reply: bytes) -> bool:
        """A node has said NOSCRIPT, or a script has in its name: where the node does not have it,
        load it there, and ask again behind that, before what comes for the slot from now on. False:
        it is not known here either, or does not help."""
        load = self.nodes.scripts.load_for(part.data) if part.count == 1 else None
        lane = cast(Lane, part.lane)
        if load is None or part.hops >= LOADS_MAX or lane.state is not LaneState.READY:
            return False
        part.hops += 1
        gated = part.hash_slot >= 0

        def told(answer: Reply) -> None:
            if answer == _ABSENT:
                lane.send(load, AskSlot(drop))
                if not gated:
                    self._send(part, lane)
                return
            if gated:
                self._leave(part)
            if isinstance(answer, bytes):
                give(part, reply)
            else:
                self._fail(part, answer)

        if gated:
            self._go_back(part)
        sha = (split(part.data, 0)[0] or [b"", b""])[1]
        lane.send(encode([b"SCRIPT", b"EXISTS", sha]), AskSlot(told))
        if gated:
            gate = self._gate(part.hash_slot)
            gate.behind(lane)
            gate.pause(0)
        return True

    # --- What hot/router.py calls -----------------------------------------------------------------

    def choke(self, lane: LaneCore) -> None:
        self.choked = True
        waiting: list[Any] = cast(Lane, lane).waiting_for_room
        if self._front not in waiting:
            waiting.append(self._front)

    def freshen(self) -> None:
        self._front.freshen()

    def canary(self, slot: int, lane: LaneCore) -> None:
        self._front.canaries.send(slot, cast(Lane, lane))

    # --- Requests that wait for gates of other slots ----------------------------------------------

    def _must_wait(self, client: object) -> bool:
        gates = {id(gate): gate for gate in self.gates.values()}
        return client is not None and any(gate.holds(client) for gate in gates.values())

    def _hold(self, part: Part) -> None:
        """It waits until nothing of its client is in a gate."""
        self.held_up.setdefault(client_of(part.place), deque()).append(part)
        self._held += len(part.data)
        if self._held > self._held_max:
            self.choked = True

    def _go_on(self) -> None:
        """A gate has opened: send what waited for that, up to what still has to wait."""
        self.chosen = []  # what has waited is the primaries' to answer
        for client, parts in list(self.held_up.items()):
            while parts and self._dispatch(parts[0]):
                self._held -= len(parts.popleft().data)
            if not parts:
                del self.held_up[client]

    # What router.py does.

    def _child(self, request: bytes, place: Slot, weave: Weave) -> Part:
        """A request as the next part of its place."""
        raise NotImplementedError

    def _send(self, part: Part, lane: LaneCore) -> None:
        """Send it there."""
        raise NotImplementedError

    def _dispatch(self, part: Part) -> bool:
        """Send a request that stands by itself; False: it has to wait still."""
        raise NotImplementedError

    def _to_slot(self, slot: int, part: Part) -> None:
        """Send it to whoever has the slot now."""
        raise NotImplementedError

    def _fail(self, part: Part, why: ProxyError) -> None:
        raise NotImplementedError
