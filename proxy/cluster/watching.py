"""MULTI, EXEC and WATCH of a virtual connection.

    MULTI ─▶ Multi: queued here ─▶ EXEC ─▶ one write by the shared lane
    WATCH ─▶ Watch: a real lane at the slot's primary ─▶ EXEC ─▶ one write there
               │ lost, moved
               └─▶ EXEC answers nil: whatever was watched may have changed

While a slot is on its way, keys that its node has no more, or never had, are watched at the next
one. That takes ASKING's word for any key, so nothing but these keys is asked for there: one that is
at the old node still would be made a second time, and overwritten when the old one comes.

The keys of one transaction, and what it watches, are of one hash slot. Acts of acts.py."""

from __future__ import annotations

from typing import Final

from ..errors import ProxyError
from ..resp.kernel import hash_slot
from ..resp.replies import OK
from ..upstream.ask import AskSlot, Reply, drop
from .connection import Answer, Connection
from .errand import Errand
from .loan import Loan
from .redirects import redirect
from .router import ASKING
from .transaction import CROSSSLOT, EXECABORT, Transaction, last_of

NESTED: Final = b"-ERR MULTI calls can not be nested\r\n"
NO_MULTI: Final = b"-ERR %b without MULTI\r\n"
WATCH_IN_MULTI: Final = b"-ERR WATCH inside MULTI is not allowed\r\n"
EXEC_ARITY: Final = (
    b"-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n"
)
UNWATCH: Final = b"*1\r\n$7\r\nUNWATCH\r\n"
ARITY: Final = b"-ERR wrong number of arguments for '%b' command\r\n"


class Multi:
    """MULTI was said, and nothing yet that ends it."""

    def __init__(self, queued: Transaction) -> None:
        self.queued = queued

    def end(self) -> None:
        """It was only here."""


class Watch:
    """What is watched, on a lane of its own."""

    def __init__(self, connection: Connection, slot: int) -> None:
        self.slot = slot
        self.broken = False  # nobody knows whether a key has changed
        self._connection = connection
        self._errand: Errand | None = None
        self._loan: Loan | None = None
        self._ahead: frozenset[bytes] | None = None  # watched where the slot is to come

    def add(self, words: list[bytes], request: bytes, answer: Answer) -> None:
        """Watch these keys too."""
        if self._ahead is not None and not self._ahead.issuperset(words[1:]):
            self.broken = True  # they may be at the old node
        if self.broken:
            answer(OK)
            return

        def told(reply: bytes, loan: Loan | None) -> None:
            self._loan = loan
            if self._errand is not None and self._errand.asking:
                self._ahead = frozenset(words[1:])
            if not reply.startswith(b"+"):
                self._connection.states.pop(Watch, None)
                self.end()
            answer(reply)

        def more(reply: Reply) -> None:
            line = reply.line if isinstance(reply, ProxyError) else reply
            lost = isinstance(reply, ProxyError) or redirect(line) is not None
            self.broken |= lost
            answer(OK if lost else line)

        if self._loan is not None and self._loan.lane is not None:
            self._say(request, AskSlot(more))
            return
        key = self._connection.key
        cluster = self._connection.cluster
        self._errand = Errand(
            cluster, key, self.slot, lambda: request, told, self._lost, twice=True
        )
        self._errand.begin()

    def _say(self, data: bytes, slot: AskSlot) -> None:
        assert self._loan is not None
        assert self._loan.lane is not None
        if self._errand is not None and self._errand.asking:
            self._loan.lane.send(ASKING, AskSlot(drop))
        self._loan.lane.send(data, slot)

    def _lost(self, why: ProxyError) -> None:
        self.broken = True

    def execute(self, queued: Transaction, answer: Answer) -> None:
        """EXEC, and with it this is over."""
        nil = self._connection.null(array=True)
        if self._ahead is not None and not queued.only_of(self._ahead):
            self.broken = True  # it is asked for again, perhaps when all is there
        if self.broken or self._loan is None or self._loan.lane is None:
            self.end()
            answer(nil)
            return
        count, loan, lane = queued.count + 2, self._loan, self._loan.lane

        def told(reply: Reply) -> None:
            if isinstance(reply, ProxyError):
                answer(reply.line if reply.outcome_unknown else nil)
                return
            last = last_of(reply, count)
            # Refused, EXEC leaves the transaction open.
            loan.give_back(clean=last.startswith((b"*", b"_", b"-EXECABORT")))
            answer(nil if _refused(reply, count) else last)

        requests = queued.whole()
        for load in self._connection.cluster.scripts.loads(requests):
            lane.send(load, AskSlot(drop))
        self._say(requests, AskSlot(told, count))

    def release(self) -> None:
        """UNWATCH, or DISCARD."""
        loan, self._loan = self._loan, None
        if loan is not None and loan.lane is not None:
            loan.lane.send(UNWATCH, AskSlot(lambda _: loan.give_back(clean=True)))

    def end(self) -> None:
        if self._errand is not None:
            self._errand.end()
        if self._loan is not None:
            self._loan.give_back(clean=False)


def _refused(text: bytes, count: int) -> bool:
    """Whether none of it has run, as the slot is not there any more."""
    last = last_of(text, count)
    if not last.startswith(b"-EXECABORT"):
        return redirect(last) is not None
    return any(redirect(line + b"\r\n") is not None for line in text.split(b"\r\n"))


def multi(connection: Connection, words: list[bytes], request: bytes) -> None:
    if len(words) != 1:
        connection.say(ARITY % b"multi")
    elif connection.state(Multi) is not None:
        _not_inside(connection, b"multi", NESTED)
    else:
        watch: Watch | None = connection.state(Watch)
        slot = watch.slot if watch is not None else None
        queued = Transaction(connection.commands, connection.virtual.plan, slot)
        connection.states[Multi] = Multi(queued)
        connection.say(OK)


def _not_inside(connection: Connection, name: bytes, redis: bytes) -> None:
    """Refused as each server does: with Valkey the transaction is lost by it."""
    if connection.valkey:
        open_: Multi = connection.state(Multi)
        open_.queued.dirty = True
        redis = b"-ERR Command '%b' not allowed inside a transaction\r\n" % name
    connection.say(redis)


def queue(connection: Connection, words: list[bytes], request: bytes) -> None:
    """Anything else inside MULTI."""
    open_: Multi = connection.state(Multi)
    connection.say(open_.queued.queue(request))


def execute(connection: Connection, words: list[bytes], request: bytes) -> None:
    open_: Multi | None = connection.states.pop(Multi, None)
    if open_ is None:
        connection.say(ARITY % b"exec" if len(words) != 1 else NO_MULTI % b"EXEC")
        return
    queued = open_.queued
    watch: Watch | None = connection.states.pop(Watch, None)
    if queued.dirty or len(words) != 1:
        if watch is not None:
            watch.release()
        connection.say(EXECABORT if len(words) == 1 else EXEC_ARITY)
    elif watch is not None:
        watch.execute(queued, connection.alone())
    elif not queued.count:
        connection.say(b"*0\r\n")
    else:
        place, count = connection.replies.place(), queued.count + 2

        def told(reply: Reply) -> None:
            line = reply.line if isinstance(reply, ProxyError) else last_of(reply, count)
            place.fill(line)

        connection.lane().send(queued.whole(), AskSlot(told, count))


def discard(connection: Connection, words: list[bytes], request: bytes) -> None:
    if len(words) != 1:
        connection.say(ARITY % b"discard")
    elif connection.states.pop(Multi, None) is None:
        connection.say(NO_MULTI % b"DISCARD")
    else:
        _unwatched(connection)
        connection.say(OK)


def watch(connection: Connection, words: list[bytes], request: bytes) -> None:
    if len(words) < 2:
        connection.say(ARITY % b"watch")
        return
    if connection.state(Multi) is not None:
        _not_inside(connection, b"watch", WATCH_IN_MULTI)
        return
    slots = set(map(hash_slot, words[1:]))
    held: Watch | None = connection.state(Watch)
    if held is not None:
        slots.add(held.slot)
    if len(slots) > 1:
        connection.say(CROSSSLOT)
        return
    if held is None:
        held = connection.states[Watch] = Watch(connection, slots.pop())
    held.add(words, request, connection.alone())


def unwatch(connection: Connection, words: list[bytes], request: bytes) -> None:
    if len(words) != 1:
        connection.say(ARITY % b"unwatch")
        return
    _unwatched(connection)
    connection.say(OK)


def _unwatched(connection: Connection) -> None:
    held: Watch | None = connection.states.pop(Watch, None)
    if held is not None:
        held.release()
