"""Requests for a cluster, each to the node that has its keys, and what to do with redirections.

    special ─ one key, slot on the move ─▶ Gate          look ─ MOVED ─▶ Gate, then the new owner
              keys of one slot ─────────▶ its node              ASK ───▶ ASKING and the request, there
              keys of several ──────────▶ Gathering             TRYAGAIN, CLUSTERDOWN ... ─▶ later
              none ─────────────────────▶ where the table says
                                                        lost ─ not sent, or a read ─▶ again
                                                               else ─▶ the one clear error

A request is sent again only where the server has refused it before running it, or where running
it twice is the same as once. Hosts that a redirection names are dialled only where the map knows
them: any client can forge one with EVAL."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

from ..errors import ProxyError, UpstreamDown
from ..hot.answers import RunSlot, Slot
from ..hot.lane import LaneCore, LaneState
from ..hot.parts import Part, RouterCore, Weave
from ..resp.kernel import Cutter, RouteMap, split
from ..table.table import Command
from ..upstream.ask import AskSlot, Reply, drop
from ..upstream.lane import Lane
from .gates import Gate
from .plans import Anywhere, At, Everywhere, Merge, One, Plan, Said, Spread
from .redirects import LATER, Kind, Redirect, redirect
from .topology import UNCOVERED
from .transaction import MULTI, Block, block

# Seconds between two looks whether a cluster that cannot answer can.
LATER_S: Final = 0.05
# Hops of one request: under atomic migration source and target disagree for a moment.
HOPS_MAX: Final = 8
HOP_S: Final = 0.002  # doubled for each hop
ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"
# What a client gets where a slot is on its way for longer than anybody waits.
TRYAGAIN: Final = b"-TRYAGAIN the slot moves between nodes\r\n"
_NOT_SERVED: Final = b"-CLUSTERDOWN Hash slot not served\r\n"
_SCRIPTS: Final = (b"EVAL", b"FCALL")  # and what begins so
_CACHING: Final = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n"


class Nodes(Protocol):
    """The cluster, as the router of one LaneKey knows it (cluster.py)."""

    patience: float  # seconds that a request may wait until a node can answer it

    def plan(self, words: Sequence[bytes]) -> Plan:
        """What is to be done with a request."""
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

    def lane_at(self, host: str, port: int) -> Lane | None:
        """The lane of the router's key to a known node; None: it is not known."""
        ...

    def replica_lanes(self) -> Sequence[Lane]:
        """The lanes of the router's key to all known replicas."""
        ...


class Front(Protocol):
    """The virtual lane that the requests come from."""

    choked: bool

    def lane_writable(self, lane: Lane) -> None: ...
    def freshen(self) -> None: ...


class Router(RouterCore):
    """The requests of one LaneKey. ``lanes`` are cluster.py's to set, in the order of the map."""

    def __init__(self, nodes: Nodes, routes: RouteMap, owners: array[int], front: Front) -> None:
        super().__init__(routes, owners)
        self._front = front
        self.nodes = nodes
        self._whose = owners
        self._loop = asyncio.get_running_loop()
        self._turn = 0  # whose turn it is to answer what anybody can
        self._caching = False  # what is asked next is to be remembered by its node

    def __repr__(self) -> str:
        return f"<Router lanes={len(self.lanes)} owing={self.owing} gates={len(self.gates)}>"

    # --- Requests of no single key whose lane is known --------------------------------------------

    def special(self, data: bytes, pos: int, found: int, place: Slot, weave: Weave) -> int:
        if found >= 0:
            end = self.routes.end
            self._to_slot(found, self._child(data[pos:end], place, weave))
            return end
        words, end = split(data, pos)
        if words is None:  # sessions send whole canonical requests only
            end, words = len(data), [b""]
        request = data[pos:end]
        if request == _CACHING:
            self._caching = True
            self._say(b"+OK\r\n", place, weave)
            return end
        whole = block(self, place, data, pos) if request.upper() == MULTI else None
        if whole is not None:
            weave.add(whole)
            whole.begin(self.nodes, self._to_slot, self._anywhere)
            return pos + len(whole.data)
        self._carry_out(self.nodes.plan(words), request, place, weave)
        return end

    def _carry_out(self, plan: Plan, request: bytes, place: Slot, weave: Weave) -> None:
        match plan:
            case One(slot):
                self._to_slot(slot, self._child(request, place, weave))
            case Anywhere():
                self._anywhere(self._child(request, place, weave))
            case Said(reply):
                self._say(reply, place, weave)
            case Spread(pieces, merge):
                gathering = Gathering(self, self._child(request, place, weave), len(pieces), merge)
                for at, (slot, piece) in enumerate(pieces):
                    self._to_slot(slot, gathering.part(at, piece))
            case Everywhere(replicas, merge):
                lanes = [*self.lanes, *(self.nodes.replica_lanes() if replicas else ())]
                self._to_all(lanes, request, merge, self._child(request, place, weave))
            case At(shard, other, merge):
                self._to_all(
                    self.lanes[shard : shard + 1], other, merge, self._child(request, place, weave)
                )

    def _to_all(self, lanes: Sequence[LaneCore], request: bytes, merge: Merge, part: Part) -> None:
        if not lanes:
            self._give(part, _NOT_SERVED)
            return
        gathering = Gathering(self, part, len(lanes), merge)
        for at, lane in enumerate(lanes):
            self._send(gathering.part(at, request), lane)

    def _child(self, request: bytes, place: Slot, weave: Weave) -> Part:
        part = Part(self, place, request, 1)
        if type(place) is RunSlot:
            part.session = place.session
            part.flat = place.flat
            part.reads = int(bool(place.reads))
        weave.add(part)
        return part

    def _say(self, reply: bytes, place: Slot, weave: Weave) -> None:
        self._child(b"", place, weave).finish(reply)

    def _give(self, part: Part, reply: bytes) -> None:
        """The answer that a part gets, where no lane has fed it."""
        if part.flat or part.reads:
            cutter = Cutter()
            cutter.places = []
            cutter.cut(reply, 0, 1)
            if part.reads:
                part.session.turn.hits += cutter.bulks
                part.session.turn.misses += cutter.nulls
            if part.flat and cutter.places:
                reply = cutter.flat(reply, 0, len(reply))
        part.errors = 0
        part.finish(reply)

    def gathered(self, whole: Part, reply: bytes) -> None:
        """All pieces of a request are answered."""
        self._give(whole, reply)

    # --- Sending ------------------------------------------------------------------------------------

    def _send(self, part: Part, lane: LaneCore) -> None:
        part.want, part.errors, part.parts, part.size = part.count, 0, None, 0
        part.lane = lane
        if self._caching:
            self._caching = False
            lane.send(_CACHING, AskSlot(drop))
        lane.send(part.data, part)

    def _to_slot(self, slot: int, part: Part) -> None:
        part.hash_slot = slot
        gate = self.gates.get(slot)
        if gate is not None:
            self._caching = False  # what is sent later is not to be kept
            gate.wait(part)
            return
        owner = self._whose[slot]
        if owner == UNCOVERED:
            self.nodes.refresh("a slot is not covered")
            self._later(part, LATER, _NOT_SERVED)
        else:
            self._send(part, self.lanes[owner])

    def _anywhere(self, part: Part) -> None:
        lanes = [lane for lane in self.lanes if lane.state is LaneState.READY] or self.lanes
        if not lanes:
            self._give(part, _NOT_SERVED)
            return
        self._turn = (self._turn + 1) % len(lanes)
        self._send(part, lanes[self._turn])

    def choke(self, lane: LaneCore) -> None:
        self._front.choked = True
        cast(Lane, lane).waiting_for_room.append(cast(Any, self._front))

    def freshen(self) -> None:
        self._front.freshen()

    # --- Redirections -------------------------------------------------------------------------------

    def look(self, part: Part) -> None:
        assert part.parts is not None
        replies = _cut(b"".join(part.parts), part.count)
        if isinstance(part, Block):
            part.looked_at(replies, self._later)
            return
        self._sort_out(part, [(reply, redirect(reply)) for reply in replies])

    def lost(self, part: Part, why: ProxyError) -> None:
        text = b"".join(part.parts or ())
        replies = [(reply, redirect(reply)) for reply in _cut(text, part.count - part.want)]
        self.nodes.refresh("a connection was lost")
        part.want = 0
        if isinstance(why, UpstreamDown) and part.until and self._loop.time() > part.until:
            self._fail(part, why)  # it has waited for long enough
            return
        if isinstance(part, Block):
            part.lost(why, self._later, self._fail)
            return
        requests = _requests(part)[len(replies) :]
        again = [not why.outcome_unknown or self._asks_again(part, one) for one in requests]
        if not all(again) and (part.count == 1 or not isinstance(part.place, RunSlot)):
            self._fail(part, why)
            return
        replies += [(why.line, LATER if once_more else None) for once_more in again]
        self._sort_out(part, replies)

    def _asks_again(self, part: Part, request: bytes) -> bool:
        """Whether a request whose outcome is unknown changes nothing; once."""
        words, _ = split(request, 0)
        return part.tries == 0 and words is not None and self.nodes.reads(words[0].upper())

    def _fail(self, part: Part, why: ProxyError) -> None:
        weave, place = part.weave, part.place
        if weave is None:
            self.owing -= part.count
            place.fail(why, False)
        elif isinstance(place, RunSlot):
            part.finish(why.line)
        else:
            if not weave.failed:
                weave.failed = True
                place.fail(why, False)
            part.finish(why.line)

    def _sort_out(self, part: Part, replies: Sequence[tuple[bytes, Redirect | None]]) -> None:
        """Hand on what is final, and ask again for the rest, each in its place."""
        part.errors = 0
        if not any(redirected for _, redirected in replies):
            part.finish(b"".join(reply for reply, _ in replies))
            return
        if part.count == 1:
            [(reply, redirected)] = replies
            assert redirected is not None
            self._later(part, redirected, reply)
            return
        weave = part.weave
        if weave is None:
            weave = Weave(self, part.place)
            weave.add(part)
        pieces: list[Part] = []
        later: list[tuple[Part, Redirect, bytes]] = []
        for at, (request, (reply, redirected)) in enumerate(
            zip(_requests(part), replies, strict=True)
        ):
            piece = Part(self, part.place, request, 1)
            piece.session, piece.flat = part.session, part.flat
            piece.reads = part.reads and (part.marks is None or part.marks[at])
            piece.lane, piece.tries, piece.until = part.lane, part.tries, part.until
            pieces.append(piece)
            if redirected is None:
                piece.want, piece.parts, piece.whole = 0, [reply], True
            else:
                later.append((piece, redirected, reply))
        weave.replace(part, pieces)
        for piece, redirected, reply in later:
            self._later(piece, redirected, reply)

    def _later(self, part: Part, redirected: Redirect, reply: bytes) -> None:
        """Ask again for a single request, where and when the server's word says."""
        now = self._loop.time()
        part.tries += 1
        part.until = part.until or now + self.nodes.patience
        slot = self._slot_of(part)
        hops = redirected.kind is not Kind.LATER
        if now > part.until or (hops and part.tries > HOPS_MAX):
            self._give(part, TRYAGAIN if hops else reply)
            return
        was = part.lane
        if redirected.kind is Kind.ASK:
            lane = self.nodes.lane_at(self._host(redirected, was), redirected.port)
            if lane is not None:
                lane.send(ASKING, AskSlot(drop))
                self._send(part, lane)
                return
            self.nodes.refresh("ASK to an unknown node")
        elif redirected.kind is Kind.MOVED:
            if not self._believed(part, redirected, slot):
                self.nodes.refresh("MOVED to an unknown node")
                redirected = LATER
        elif redirected.kind is Kind.LATER:
            self.nodes.refresh(reply[:20].decode("latin-1").strip())
        pause = _pause(redirected.kind, part.tries)
        if slot < 0:
            self._loop.call_later(pause, self._anywhere, part)
            return
        stands = slot in self.gates
        gate = self._gate(slot)
        gate.redirected(part)
        if not stands and was is not None:
            gate.behind(cast(Lane, was))
        gate.pause(pause)

    def _host(self, redirected: Redirect, was: LaneCore | None) -> str:
        return redirected.host or (cast(Lane, was).host if was is not None else "")

    def _believed(self, part: Part, redirected: Redirect, slot: int) -> bool:
        """Whether a MOVED is followed: never one that a script may have made up."""
        words, _ = split(part.data, 0)
        if redirected.slot != slot or words is None or words[0].upper().startswith(_SCRIPTS):
            return False
        return self.nodes.follow(slot, self._host(redirected, part.lane), redirected.port)

    def _slot_of(self, part: Part) -> int:
        if part.hash_slot < 0:
            part.hash_slot = self.routes.hash_slot(part.data, 0)
        return part.hash_slot

    # --- Gates --------------------------------------------------------------------------------------

    def _gate(self, slot: int) -> Gate:
        gate: Gate | None = self.gates.get(slot)
        if gate is None:
            gate = self.gates[slot] = Gate([slot], self._opened, self._gave_up)
        return gate

    def move(self, slots: set[int], was: LaneCore) -> None:
        """These slots have another owner; what is in flight at the old one is answered first."""
        lane = cast(Lane, was)
        slots = slots - self.gates.keys()
        if slots and lane.owes:
            gate = Gate(slots, self._opened, self._gave_up)
            self.gates.update(dict.fromkeys(slots, gate))
            gate.behind(lane)

    def _opened(self, gate: Gate) -> None:
        for slot in gate.slots:
            del self.gates[slot]
        for part in gate.taken():
            self._to_slot(part.hash_slot, part)

    def _gave_up(self, lane: Lane) -> None:
        """What is in flight there is not answered: late replies are nobody's."""
        lane.lose("the slot has moved, and its old node does not answer")

    def close(self, why: ProxyError) -> None:
        """Nothing is sent any more: what waits is failed."""
        gates = {id(gate): gate for gate in self.gates.values()}
        self.gates.clear()
        for gate in gates.values():
            for part in gate.close():
                self._fail(part, why)


class Gathering:
    """Several requests that stand for one: when all are answered, the one has its answer."""

    def __init__(self, router: Router, whole: Part, count: int, merge: Merge) -> None:
        self._router = router
        self._whole = whole
        self._replies: list[bytes] = [b""] * count
        self._left = count
        self._merge = merge
        router.owing += count

    def part(self, at: int, request: bytes) -> Part:
        """The place of one of them."""

        def done(reply: Reply) -> None:
            self._replies[at] = reply if isinstance(reply, bytes) else reply.line
            self._left -= 1
            if not self._left:
                self._router.gathered(self._whole, self._merge(self._replies))

        return Part(self._router, AskSlot(done), request, 1)


def _pause(kind: Kind, tries: int) -> float:
    """Seconds before a request is sent again; the first hop costs none."""
    if kind is Kind.LATER:
        return LATER_S
    return HOP_S * (1 << max(0, tries - 2)) if tries > 1 or kind is Kind.AGAIN else 0.0


def _cut(text: bytes, count: int) -> list[bytes]:
    """So many whole replies."""
    cutter, pos, replies = Cutter(), 0, list[bytes]()
    for _ in range(count):
        end = cutter.cut(text, pos, 1)
        replies.append(text[pos:end])
        pos = end
    return replies


def _requests(part: Part) -> list[bytes]:
    """The requests of a part, one by one."""
    if part.count == 1:
        return [part.data]
    cutter, pos, requests = Cutter(True), 0, list[bytes]()
    for _ in range(part.count):
        end = cutter.cut(part.data, pos, 1)
        requests.append(part.data[pos:end])
        pos = end
    return requests
