"""Keeps the topology right: whom to ask, when, and which answer to believe.

    poll, 1 s +- 10 % ──┐              two random nodes, at first a seed
    refresh(why) ───────┼─▶ a round ─▶ CLUSTER SLOTS, CLUSTER INFO ─▶ a View of each
    patch(slot, owner) ─┘                                                │
      at most 5 a second,                 another map than ours: is it older? Do those who
      one at a time                       gain slots by it say so too? ─▶ changed(old, new)

Owns the task, the rounds and the choice; views are never put together, since half of one map and
half of another is a cluster that never was. Asks by what it is given, and opens nothing. What a new
map means for lanes and caches is for whoever ``changed`` tells."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ProxyError
from ..log import event
from ..resp.replies import Value
from ..settings.config import retry_delay
from .topology import Node, Topology, parse_slots

log = logging.getLogger(__name__)

POLL: Final = 1.0  # seconds between rounds that nobody asked for
DEBOUNCE: Final = 0.1  # a slot move has a hundred clients ask at once
GAP: Final = 0.2  # between the beginnings of two rounds
PATIENCE: Final = 0.5  # for a node's answer, of under a kilobyte
SEED_PATIENCE: Final = 3.0  # all there is to hear from, and it may have to be looked up first
DOUBT: Final = 5.0  # a node that did not answer, or a map that nobody confirms, is doubted so long
MOST_ASKED: Final = 6  # in a round, beyond those that do not answer

_EPOCH: Final = re.compile(rb"^cluster_current_epoch:(\d+)", re.MULTILINE)

QUESTION: Final = ((b"CLUSTER", b"SLOTS"), (b"CLUSTER", b"INFO"))

Address = tuple[str, int]
# The replies to QUESTION of the node at a host and port, asked in one piece; errors of the server
# as values. ProxyError or OSError: it could not be asked. It may be cancelled at any time.
Ask = Callable[[str, int], Awaitable[Sequence[Value]]]
Changed = Callable[[Topology | None, Topology], None]


@dataclass(frozen=True, slots=True)
class View:
    """What one node says. ``epoch``: cluster_current_epoch; of two that differ the node with the
    lower one has not heard of a failover, or is cut off from those that have."""

    address: Address
    topology: Topology
    epoch: int
    down: bool  # it answers for no slot at all


class Watch:
    """``topology`` is the map in force, None until a seed has answered. ``trouble``: why the last
    round brought nothing, in words for people; empty when it did. ``down``: all who were asked in
    it say that the cluster is down, and answer for no slot."""

    def __init__(
        self,
        seeds: Sequence[Address],
        ask: Ask,
        changed: Changed,
        *,
        delay: Callable[[int], float] = retry_delay,
        chance: random.Random | None = None,
    ) -> None:
        assert seeds
        self.topology: Topology | None = None
        self.trouble = ""
        self.down = False
        self._seeds = tuple(seeds)
        self._ask = ask
        self._changed = changed
        self._delay = delay
        self._chance = chance or random.Random()
        self._epoch = 0  # of the view in force
        self._begun = float("-inf")  # when the last round began
        self._due = float("-inf")  # when the next one may
        self._sooner = asyncio.Event()  # _due has come nearer
        self._patches = 0
        self._prefer: Address | None = None  # asked in the next round whatever chance says
        self._doubtful: dict[Address, float] = {}  # until when
        self._doubted_since: float | None = None

    def __repr__(self) -> str:
        if self.topology is None:
            return f"<Watch unknown trouble={self.trouble!r}>"
        shards, missing = len(self.topology.shards), self.topology.missing
        return f"<Watch shards={shards} missing={missing} epoch={self._epoch}>"

    async def run(self) -> None:
        """Until it is cancelled."""
        attempt = 0
        while True:
            await self._rest()
            self._begun = self._now()
            self._due = self._begun + POLL * self._chance.uniform(0.9, 1.1)
            try:
                found = await self._round()
            except Exception as error:
                # A defect, of ours or of whoever hears of changes. It costs a round, not the watch.
                log.error("round of the cluster watch failed", exc_info=error)
                found = False
            attempt = 0 if found else attempt + 1
            if attempt and self.topology is None:
                self._due = self._now() + self._delay(attempt)

    def refresh(self, why: str, avoid: Node | None = None) -> None:
        """Something says that the map may be old: ask soon. ``avoid``: a node that does not answer,
        or whose connection was lost; others are asked, and at once."""
        now = self._now()
        if avoid is not None:
            self._doubtful[avoid.host, avoid.port] = now + DOUBT
        due = max(now + (DEBOUNCE if avoid is None else 0.0), self._begun + GAP)
        if due < self._due:
            event(log, logging.DEBUG, "cluster map in doubt", why=why)
            self._due = due
            self._sooner.set()

    def patch(self, slot: int, owner: Node) -> None:
        """A redirection says that the slot is at that node, which is of this topology. Whatever a
        whole answer says comes soon, and from that node too."""
        assert self.topology is not None
        self._prefer = (owner.host, owner.port)
        patched = self.topology.with_owner(slot, owner)
        if patched is not self.topology:
            self._patches += 1
            self._become(patched)
        self.refresh("MOVED")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _rest(self) -> None:
        while (left := self._due - self._now()) > 0:
            self._sooner.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._sooner.wait()

    async def _round(self) -> bool:
        """Whether anybody answered."""
        patches = self._patches
        views = await self._views()
        if not views:
            return False
        self.down = all(view.down for view in views)
        if self.topology is None:
            # One seed is enough to begin with; it may be the one that knows least.
            self._take(views[0])
            self.refresh("one seed's word")
            return True
        better = await self._better(self.topology, views)
        if patches != self._patches:
            self.refresh("a slot moved meanwhile")  # they may have answered before it did
        elif better is not None:
            self._take(better)
        return True

    async def _views(self) -> list[View]:
        """Of two nodes, or of one where there are no more that answer, or of a seed."""
        views: list[View] = []
        before = self.trouble
        for some, wanted, patience in self._whom():
            while some and len(views) < wanted:
                asked = [some.pop() for _ in range(min(wanted - len(views), len(some)))]
                answers = await asyncio.gather(*(self._view(each, patience) for each in asked))
                views += [answer for answer in answers if answer is not None]
            if views:
                self.trouble = ""
                if before:
                    event(log, logging.INFO, "cluster answers again")
                break
        return views

    def _whom(self) -> list[tuple[list[Address], int, float]]:
        """Who is asked, from the end, until so many have answered: nodes, doubtful ones if no
        other answers, seeds if no node does. The same node twice would only agree with itself."""
        now = self._now()
        self._doubtful = {each: until for each, until in self._doubtful.items() if until > now}
        nodes = self.topology.nodes if self.topology else ()
        known = {(node.host, node.port) for node in nodes}
        good = sorted(known - self._doubtful.keys())
        doubtful = sorted(known & self._doubtful.keys())
        seeds = sorted({*self._seeds})
        for some in (good, doubtful, seeds):
            self._chance.shuffle(some)
        if self._prefer in good:
            good.append(self._prefer)
            good.remove(self._prefer)
        self._prefer = None
        return [(good, 2, PATIENCE), (doubtful, 1, PATIENCE), (seeds, 1, SEED_PATIENCE)]

    async def _view(self, address: Address, patience: float) -> View | None:
        host, port = address
        try:
            async with asyncio.timeout(patience):
                slots, info = await self._ask(host, port)
            for answer in (slots, info):
                if isinstance(answer, ProxyError):
                    raise answer
            view = View(address, parse_slots(slots, host), _epoch(info), _down(info))
        except (ProxyError, OSError, ValueError) as error:
            self._doubtful[address] = self._now() + DOUBT
            if not self.trouble and self.topology is None:
                event(log, logging.WARNING, "cluster not found", host=host, port=port, error=error)
            self.trouble = f"{host}:{port}: {error or f'no answer in {patience:g} s'}"
            return None
        self._doubtful.pop(address, None)
        return view

    async def _better(self, current: Topology, views: Sequence[View]) -> View | None:
        """The view to take in place of the current map.

        A node that has heard of nothing yet answers as confidently as the one that knows. Whoever
        gains slots by a map knows best whether it has them: a map is taken on its word."""
        heard = {view.address for view in views}
        open_ = sorted(views, key=lambda view: view.epoch)
        doubted: list[View] = []
        harmless: list[View] = []  # no slot has another owner: replicas, addresses
        agreed = False
        while open_:
            view = open_.pop()
            if view.topology == current:
                agreed = True
                continue
            if view.epoch >= self._epoch:
                gainers = _gainers(current, view.topology)
                if not gainers:
                    harmless.append(view)
                    continue
                if view.address in gainers:
                    return view
                gainer = next((each for each in sorted(gainers) if each not in heard), None)
                if gainer is not None and len(heard) < MOST_ASKED:
                    heard.add(gainer)
                    answer = await self._view(gainer, PATIENCE)
                    open_ += [] if answer is None else [answer]
            doubted.append(view)
        if agreed:
            self._doubted_since = None
            return None
        return harmless[0] if harmless else self._believed_at_last(doubted)

    def _believed_at_last(self, doubted: Sequence[View]) -> View | None:
        """What nobody confirms is believed when for some time nobody has said otherwise: the
        cluster was made anew with lower epochs, or the gainer is down."""
        now = self._now()
        if self._doubted_since is None:
            self._doubted_since = now
        if not doubted or now - self._doubted_since < DOUBT:
            return None
        return max(doubted, key=lambda view: view.epoch)

    def _take(self, view: View) -> None:
        self._epoch = view.epoch
        self._doubted_since = None
        if view.topology != self.topology:
            self._become(view.topology)

    def _become(self, new: Topology) -> None:
        old, self.topology = self.topology, new
        try:
            self._changed(old, new)
        except BaseException:
            self.topology = old  # or nobody would tell of the change again
            raise
        event(
            log, logging.INFO, "cluster map", shards=len(new.shards), missing=new.missing,
            moved=len(new.moved(old)) if old else 0,
        )  # fmt: skip


def _gainers(current: Topology, other: Topology) -> set[Address]:
    """The primaries that have slots by the other map that they have not by the current one."""
    shards = (other.shard(slot) for slot in current.moved(other))
    nodes = {shard.primary for shard in shards if shard is not None}
    return {(node.host, node.port) for node in nodes}


def _text(info: Value) -> bytes:
    text = info.encode() if isinstance(info, str) else info
    return text if isinstance(text, bytes) else b""


def _down(info: Value) -> bool:
    return b"cluster_state:fail" in _text(info)


def _epoch(info: Value) -> int:
    found = _EPOCH.search(_text(info))
    if found is None:
        raise ValueError("CLUSTER INFO has no cluster_current_epoch")
    return int(found[1])
