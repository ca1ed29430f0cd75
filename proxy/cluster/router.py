"""Requests for a cluster, each to the node that has its keys, and what to do with redirections.

    special ─ one key, slot on the move ─▶ Gate          look ─ MOVED ─▶ Gate, then new owner
              keys of one slot ─────────▶ its node            ASK ──▶ ASKING and it, there
              keys of several ──────────▶ Gathering             TRYAGAIN, CLUSTERDOWN ... ─▶ later
              none ─────────────────────▶ where the table says
                                                        lost ─ not sent, or a read ─▶ again
                                                               else ─▶ the one clear error

A request is sent again only where the server has refused it before running it, or where running
it twice is the same as once. Hosts that a redirection names are dialled only where the map knows
them: any client can forge one with EVAL."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Final, cast

from ..errors import NotServed, ProxyError, UpstreamDown, UpstreamRefused
from ..hot.answers import RunSlot, Slot
from ..hot.fills import CACHING, NOT_TRACKED, FillSlot
from ..hot.lane import LaneCore, LaneState
from ..hot.own import GetOrSetRun
from ..hot.parts import Part, Weave
from ..hot.router import REFUSED
from ..resp.kernel import RouteMap, hash_slot, split
from ..upstream.ask import AskSlot, Reply, drop
from ..upstream.lane import Lane
from .filling import FillsMany
from .gated import Front, Nodes
from .gates import LATER_S, pause_of
from .pieces import Gathering, client_of, cut, end_of, give, probe_of, requests_of, singles
from .plans import Anywhere, At, Everywhere, Merge, One, Said, Spread, Unplaced
from .reads import NO_REPLICA
from .redirects import AGAIN, LATER, Kind, Redirect, in_its_words, redirect
from .topology import SLOTS, UNCOVERED
from .transaction import MULTI, Block, block

# Of a request's hops, how many with all keys at once; then one by one.
WHOLE_MAX: Final = 6
ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"
# Part.hash_slot of what asks one node, which nobody else can answer for.
THIS_NODE: Final = -2
_TRYAGAIN: Final = b"-TRYAGAIN"
_HIDDEN: Final = (b"-MOVED", b"-ASK", _TRYAGAIN)
# What a client gets where a slot is on its way for longer than anybody waits.
TRYAGAIN: Final = b"-TRYAGAIN the slot moves between nodes\r\n"
_NOT_SERVED: Final = b"-CLUSTERDOWN Hash slot not served\r\n"


class Router(FillsMany):
    """The requests of one LaneKey. ``lanes`` are cluster.py's to set, in the order of the map."""

    def __init__(
        self,
        nodes: Nodes,
        routes: RouteMap,
        owners: array[int],
        front: Front,
        held_max: int = 1 << 24,
    ) -> None:
        super().__init__(nodes, routes, owners, front, held_max)
        self._turn = random.randrange(SLOTS)  # who answers what anybody can
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
        if request == CACHING and self.nodes.tracked:
            self._caching = True
            self._say(b"+OK\r\n", place, weave)
            return end
        part, end = self._next(data, pos, end, place, weave)
        if not self._dispatch(part):
            self._hold(part)
            while end < len(data):  # nothing of its client comes before it
                part, end = self._next(data, end, end_of(data, end), place, weave)
                self._hold(part)
        return end

    def hold_up(self, data: bytes, place: Slot) -> bool:
        if client_of(place) not in self.held_up:
            return False
        weave, pos = Weave(self, place), 0
        while pos < len(data):
            part, pos = self._next(data, pos, end_of(data, pos), place, weave)
            self._hold(part)
        return True

    def _next(self, data: bytes, pos: int, end: int, place: Slot, weave: Weave) -> tuple[Part, int]:
        """The request from ``pos`` to ``end``, of a transaction all of it; the offset behind it."""
        request = data[pos:end]
        whole = block(self, place, data, pos) if request.upper() == MULTI else None
        if whole is None:
            return self._child(request, place, weave), end
        weave.add(whole)
        return whole, pos + len(whole.data)

    def _dispatch(self, part: Part) -> bool:
        if isinstance(part, Block):
            part.begin(self.nodes, self._to_slot, self._anywhere)
            return True
        if self._slot_of(part) >= 0:
            self._to_slot(part.hash_slot, part)
            return True
        words, _ = split(part.data, 0)
        match self.nodes.plan(words if words is not None else [b""]):
            case One(slot):
                self._to_slot(slot, part, self.chosen)
            case Said(reply):
                give(part, reply)
            case Spread(pieces, merge):
                gathering = Gathering(self, self, part, len(pieces), merge)
                chosen = self.chosen
                for at, (slot, piece) in enumerate(pieces):
                    self._to_slot(slot, gathering.part(at, piece), chosen)
            case _ if self.gates and self._must_wait(client_of(part.place)):
                return False
            case Everywhere(replicas, merge, other):
                self.nodes.scripts.saw(words or ())
                lanes = [*self.lanes, *(self.nodes.replica_lanes() if replicas else ())]
                self._to_all(lanes, other or part.data, merge, part)
            case At(shard, other, merge):
                self._to_all(self.lanes[shard : shard + 1], other, merge, part)
            case Anywhere() | Unplaced():
                self._anywhere(part)
        return True

    def _to_all(self, lanes: Sequence[LaneCore], request: bytes, merge: Merge, part: Part) -> None:
        if not lanes:
            give(part, _NOT_SERVED)
            return
        gathering = Gathering(self, self, part, len(lanes), merge)
        for at, lane in enumerate(lanes):
            piece = gathering.part(at, request)
            piece.hash_slot = self._slot_at(lane)
            self._send(piece, lane)

    def _slot_at(self, lane: LaneCore) -> int:
        """A slot that its node has: whoever has that later answers for what the node had."""
        try:
            return self._whose.index(self.lanes.index(lane))
        except ValueError:
            return THIS_NODE

    def _child(self, request: bytes, place: Slot, weave: Weave) -> Part:
        part = Part(self, place, request, 1)
        part.fill, self.filling = self.filling, None
        if type(place) is RunSlot:
            part.session = place.session
            part.flat = place.flat
            part.reads = int(bool(place.reads))
        weave.add(part)
        return part

    def _say(self, reply: bytes, place: Slot, weave: Weave) -> None:
        self._child(b"", place, weave).finish(reply)

    # --- Sending ----------------------------------------------------------------------------------

    def _send(self, part: Part, lane: LaneCore, *, asking: bool = False) -> None:
        part.want, part.errors, part.parts, part.size = part.count, 0, None, 0
        part.lane = lane
        if self._caching:
            self._caching = False
            part.caching = True
        if part.caching and not asking:
            lane.send(CACHING, AskSlot(drop))
        if type(part) is Block:
            for load in self.nodes.scripts.loads(part.data):
                lane.send(load, AskSlot(drop))
        if asking:
            lane.send(ASKING, AskSlot(drop))
        lane.send(part.data, part)
        if lane.choked:
            self.choke(lane)

    def _to_slot(self, slot: int, part: Part, chosen: Sequence[LaneCore] | None = None) -> None:
        part.hash_slot = slot
        if slot in self.gates:
            part.caching = part.caching or self._caching
            self._caching = False
            if self.is_away(slot) and self.forgoes(part):
                self._fail(part, NotServed(_NOT_SERVED))
            else:
                self._wait(part)
            return
        if self._closed is not None:
            self._fail(part, self._closed)
            return
        owner = self._whose[slot]
        if owner == UNCOVERED:
            self.nodes.refresh("a slot is not covered")
            self._later(part, LATER, _NOT_SERVED)
        else:
            self._send(part, (chosen or self.lanes)[owner])

    def _anywhere(self, part: Part) -> None:
        if self._closed is not None:
            self._fail(part, self._closed)
            return
        lanes = [lane for lane in self.lanes if lane.state is LaneState.READY] or self.lanes
        if not lanes:
            give(part, _NOT_SERVED)
            return
        # By its first word: of two PUBLISH to one channel at two nodes, either may come first.
        words, _ = split(part.data, 0)
        turn = hash_slot(words[1]) if words is not None and len(words) > 1 else self._turn
        self._send(part, lanes[turn % len(lanes)])

    # --- Redirections -----------------------------------------------------------------------------

    def look(self, part: Part) -> None:
        assert part.parts is not None
        cuttings = cut(b"".join(part.parts), part.count)
        if isinstance(part, Block):
            part.looked_at(cuttings, self._later)
            return
        if cuttings[0].startswith(b"-NOSCRIPT") and self._load_script(part, cuttings[0]):
            return
        replies = [(reply, redirect(reply)) for reply in cuttings]
        if part.count == 1 and replies[0][1] is not None:
            probe = probe_of(part.data)
            if probe is not None:
                self._doubt(part, probe, replies[0][0])
                return
        self._sort_out(part, replies)

    def _doubt(self, part: Part, probe: bytes, reply: bytes) -> None:
        """A script has answered as a node does that does not have its keys. Where it is the script
        that says so it has run, and is not run again. Nor does a client hear of it: some take a
        redirection for a cluster, and go around the proxy. TRYAGAIN is what there is to say, unless
        the slot moves: then it has come to the node just behind the script, which was refused."""
        slot, lane = part.hash_slot, cast(Lane, part.lane)
        moves = in_its_words(reply, slot) and (part.tries > 0 or self.nodes.moved_lately(slot))
        reply = TRYAGAIN if reply.startswith(_HIDDEN) else reply
        if not probe or slot < 0:
            give(part, reply)
            return

        def told(answer: Reply) -> None:
            found = redirect(answer) if isinstance(answer, bytes) else None
            if part.whole:  # the gate was closed
                return
            if found is not None and found.kind is not Kind.ASK:
                self._retry(part, found, reply)
                return
            if found is None and moves and isinstance(answer, bytes):
                self._retry(part, AGAIN, reply)
                return
            self._leave(part)
            if found is not None:
                self._later(part, found, reply)
            elif isinstance(answer, bytes):
                give(part, reply)
            else:
                self._fail(part, answer)

        self._go_back(part)
        lane.send(probe, AskSlot(told))
        self._gate(slot).behind(lane)

    def lost(self, part: Part, why: ProxyError) -> None:
        text = b"".join(part.parts or ())
        replies = [(reply, redirect(reply)) for reply in cut(text, part.count - part.want)]
        self.nodes.refresh("a connection was lost")
        part.want = 0
        if why is NO_REPLICA:
            self._fail(part, why)
            return
        if isinstance(why, UpstreamDown) and part.until and self._loop.time() > part.until:
            self._fail(part, why)  # it has waited for long enough
            return
        if isinstance(part, Block):
            part.lost(why, self._later, self._fail)
            return
        requests = requests_of(part)[len(replies) :]
        # Nor would it be let in the next time.
        refused = isinstance(why, UpstreamRefused) and not self._at_replica(part)
        again = [
            not refused and (not why.outcome_unknown or self._asks_again(part, one))
            for one in requests
        ]
        if not all(again) and (part.count == 1 or not isinstance(part.place, RunSlot)):
            self._fail(part, why)
            return
        replies += [(why.line, LATER if once_more else None) for once_more in again]
        self._sort_out(part, replies)

    def _at_replica(self, part: Part) -> bool:
        return self.reads is not None and self.reads.is_replica(part.lane)

    def _asks_again(self, part: Part, request: bytes) -> bool:
        """Whether a request whose outcome is unknown changes nothing."""
        words, _ = split(request, 0)
        return words is not None and self.nodes.reads(words[0].upper())

    def _fail(self, part: Part, why: ProxyError) -> None:
        weave, place = part.weave, part.place
        if weave is None:
            part.whole = True
            self.owing -= part.count
            place.fail(why, False)
        elif weave.first is part and part.next is None and place.want == part.count:
            # All that the place waits for: it may have words of its own for that.
            weave.failed = True
            place.fail(why, False)
            part.finish(why.line)
        elif isinstance(place, (RunSlot, GetOrSetRun)):
            part.finish(why.line)
        else:
            if not weave.failed:
                weave.failed = True
                place.fail(why, False)
            part.finish(why.line)

    def _sort_out(self, part: Part, replies: Sequence[tuple[bytes, Redirect | None]]) -> None:
        """Hand on what is final, and ask again for the rest, each in its place."""
        part.errors = 0
        if part.fill is not None and any(redirected for _, redirected in replies):
            # What another node says is not told of by this one: it is not to be kept.
            part.fill.ticket.valid = False
            if part.count == 3:
                replies = [(REFUSED, None), (REFUSED, None), replies[2]]
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
        later: list[tuple[Part, Redirect, bytes]] = []
        pieces = singles(self, part)
        for piece, (reply, redirected) in zip(pieces, replies, strict=True):
            if redirected is None:
                piece.want, piece.parts, piece.whole = 0, [reply], True
            else:
                later.append((piece, redirected, reply))
        weave.replace(part, pieces)
        for piece, redirected, reply in later:
            self._later(piece, redirected, reply)

    def _later(self, part: Part, redirected: Redirect, reply: bytes) -> None:
        """Ask again for a single request, where and when the server's word says."""
        if self._closed is not None:
            self._fail(part, self._closed)
            return
        if type(part.place) is FillSlot:
            # What comes by way of another node, or later, is not what the server tracks.
            part.place.fill.ttl_ms = NOT_TRACKED
        slot, was = self._slot_of(part), part.lane
        if slot == -1 and redirected.slot >= 0:
            slot = part.hash_slot = redirected.slot  # it is the server that has found its keys
        if self.reads is not None and self.reads.is_replica(was):
            # It changes nothing: its primary is asked, or another replica.
            other, part.lane = None, None
            self.nodes.refresh("a replica has not answered a read")
            if not self._counts(part, redirected):
                give(part, TRYAGAIN if reply.startswith(_HIDDEN) else reply)
                return
            if redirected.kind is Kind.MOVED:  # nothing is wrong with the replica
                self.nodes.follow(slot, self._host(redirected, was), redirected.port)
            elif redirected.kind is not Kind.ASK:
                other = self.reads.refused(slot, was)
            self._to_slot(slot, part, None if other is None else [other] * len(self.lanes))
            return
        if (
            redirected.kind is Kind.ASK
            and slot not in self.gates
            and self._counts(part, redirected)
        ):
            lane = self.nodes.lane_at(self._host(redirected, was), redirected.port)
            if lane is not None:
                self._send(part, lane, asking=True)
                return
        if slot < 0:
            if not self._counts(part, redirected):
                give(part, reply)
            elif slot == THIS_NODE and was is not None:
                self._loop.call_later(LATER_S, self._send, part, was)
            else:
                self._loop.call_later(LATER_S, self._anywhere, part)
            return
        stands = slot in self.gates
        self._go_back(part)
        if not stands and was is not None:
            self._gate(slot).behind(cast(Lane, was))
        self._retry(part, redirected, reply)

    def _retry(self, part: Part, redirected: Redirect, reply: bytes) -> None:
        """It is in its slot's gate, which opens soon, or it is given up."""
        slot, kind = part.hash_slot, redirected.kind
        gate = self._gate(slot)
        if kind is Kind.MOVED:
            if redirected.slot != slot or not self.nodes.follow(
                slot, self._host(redirected, part.lane), redirected.port
            ):
                self.nodes.refresh("MOVED to an unknown node")
                kind, redirected = Kind.LATER, LATER
        elif kind is Kind.ASK:
            kind = Kind.AGAIN  # others wait before it, or nobody knows that node
        else:
            self.nodes.refresh(reply[:20].decode("latin-1").strip())
        if not self._counts(part, redirected):
            self._leave(part)
            if kind is Kind.LATER and self.forgoes(part):
                self._fail(part, NotServed(reply))
            else:
                give(part, TRYAGAIN if reply.startswith(_HIDDEN) else reply)
        elif part.hops > WHOLE_MAX and reply.startswith(_TRYAGAIN):
            self._cut_by_key(part)
        gate.pause(pause_of(kind, part.hops))

    def _cut_by_key(self, part: Part) -> None:
        """Its keys stay at two nodes: each for itself is at one of them. In their order, and before
        what waits behind it. What cannot be cut is asked for as a whole once more."""
        words, _ = split(part.data, 0)
        plan = self.nodes.by_key(words) if words is not None and part.count == 1 else None
        if plan is None:
            return
        gathering = Gathering(self, self, part, len(plan.pieces), plan.merge)
        pieces = [gathering.part(at, piece) for at, (_, piece) in enumerate(plan.pieces)]
        for piece in pieces:
            piece.hash_slot, piece.until = part.hash_slot, part.until
        self._replace(part, pieces)

    def _host(self, redirected: Redirect, was: LaneCore | None) -> str:
        return redirected.host or (cast(Lane, was).host if was is not None else "")
