"""What is queued between MULTI and EXEC, for one hash slot.

    MULTI ─▶ queue(request) ─▶ +QUEUED, or the words of the server that would refuse it
                 │ the first key says which slot            │
                 ▼                                          ▼
    EXEC ─▶ one write: MULTI, all of them, EXEC      -EXECABORT, and nothing is sent

In one write nothing comes between, so that a lane which others share may carry it. Where it is
redirected none of it has run: all of it is sent again. Refuses what would change the connection
that runs it, for others share it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

from ..errors import BadInput, ProxyError, UpstreamRefused, WrongArity, one_line, shown
from ..hot.answers import Slot
from ..hot.parts import Part
from ..hot.router import RouterCore
from ..resp.kernel import Cutter, split
from ..table.table import Command
from .keys import keys_of
from .plans import Anywhere, One, Plan, Said, Spread
from .redirects import LATER, Kind, Redirect, redirect
from .table import facts

MULTI: Final = b"*1\r\n$5\r\nMULTI\r\n"
EXEC: Final = b"*1\r\n$4\r\nEXEC\r\n"
QUEUED: Final = b"+QUEUED\r\n"
EXECABORT: Final = b"-EXECABORT Transaction discarded because of previous errors.\r\n"
CROSSSLOT: Final = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
# Bytes of one transaction.
BYTES_MAX: Final = 64 * 1024 * 1024
_ARGS_SHOWN: Final = 128  # bytes, as the servers do

# What acts on the connection that runs it.
STATEFUL: Final = frozenset(
    b"ASKING AUTH CLIENT HELLO MONITOR PSUBSCRIBE PSYNC PUNSUBSCRIBE READONLY READWRITE REPLCONF "
    b"RESET SELECT SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SYNC UNSUBSCRIBE WAIT WAITAOF".split()
)
# Subcommands of CLIENT that change nothing.
HARMLESS: Final = frozenset(
    b"GETNAME GETREDIR HELP ID INFO KILL LIST PAUSE TRACKINGINFO UNBLOCK UNPAUSE".split()
)
NOT_HERE: Final = "is not possible inside MULTI in cluster mode"

PlanOf = Callable[[Sequence[bytes]], Plan]


class Transaction:
    """``commands``: what the server knows. ``bound``: the slot that it has to be of, where that is
    known already: of what is watched."""

    def __init__(
        self, commands: Mapping[bytes, Command], plan: PlanOf, bound: int | None = None
    ) -> None:
        self.slot = bound
        self.dirty = False
        self.count = 0
        self._commands = commands
        self._plan = plan
        self._requests: list[bytes] = []
        self._bytes = 0

    def __repr__(self) -> str:
        state = "dirty" if self.dirty else "clean"
        return f"<Transaction {state} slot={self.slot} queued={self.count}>"

    def queue(self, request: bytes) -> bytes:
        """What the client is told of one canonical request."""
        words, _ = split(request, 0)
        assert words is not None
        refusal = self._refusal(words)
        if refusal is None:
            self._bytes += len(request)
            if self._bytes > BYTES_MAX:
                self._requests.clear()
                refusal = BadInput("a transaction of this size is not possible in cluster mode")
        if refusal is not None:
            self.dirty = True
            return refusal if isinstance(refusal, bytes) else refusal.line
        if not self.dirty:  # else it will not run
            self._requests.append(request)
        self.count += 1
        return QUEUED

    def only_of(self, keys: Collection[bytes]) -> bool:
        """Whether all keys of it are known, and among these."""
        return all(self._only_of(request, keys) for request in self._requests)

    def _only_of(self, request: bytes, keys: Collection[bytes]) -> bool:
        words, _ = split(request, 0)
        command = facts(words, self._commands) if words is not None else None
        found = keys_of(words, command) if words is not None and command is not None else None
        return found is not None and all(key in keys for key in found)

    def whole(self) -> bytes:
        """All in one piece, to be answered by ``count + 2`` replies."""
        return b"".join([MULTI, *self._requests, EXEC])

    def _refusal(self, words: Sequence[bytes]) -> bytes | BadInput | None:
        return refusal(words, self._commands) or self._unplaced(words)

    def _unplaced(self, words: Sequence[bytes]) -> bytes | BadInput | None:
        name = words[0].upper()
        sub = words[1].upper() if len(words) > 1 else b""
        if name in STATEFUL and not (name == b"CLIENT" and sub in HARMLESS):
            return _not_here(words)
        match self._plan(words):
            case One(slot):
                slots = {slot}
            case Spread(pieces, _):
                slots = {slot for slot, _ in pieces}
            case Anywhere():
                return None
            case Said(reply):
                return reply if reply.startswith(b"-") else None
            case _:
                return _not_here(words)
        if self.slot is not None:
            slots.add(self.slot)
        if len(slots) > 1:
            return CROSSSLOT
        self.slot = slots.pop() if slots else None
        return None


def refusal(words: Sequence[bytes], commands: Mapping[bytes, Command]) -> bytes | BadInput | None:
    """Why a server would not queue the request, in its words; None: it would."""
    refused = malformed(words, commands)
    if refused is None and b"no_multi" in commands[words[0].upper()].flags:
        return b"-ERR Command not allowed inside a transaction\r\n"
    return refused


def malformed(words: Sequence[bytes], commands: Mapping[bytes, Command]) -> bytes | BadInput | None:
    """What a server has against the request whatever its connection is in; None: nothing."""
    name = words[0].upper()
    command = commands.get(name)
    if command is None:
        return _unknown(words)
    found = (facts(words, commands) if command.under else None) or command
    if not found.accepts(len(words)):
        return WrongArity(found.name.decode("latin-1"))
    return None


def _unknown(words: Sequence[bytes]) -> bytes:
    args = b""
    for word in words[1:]:
        if len(args) >= _ARGS_SHOWN:
            break
        args += b"'%b' " % word[: _ARGS_SHOWN - len(args)]
    text = b"unknown command '%b', with args beginning with: %b" % (words[0][:128], args)
    return b"-ERR %b\r\n" % text.translate(_ONE_LINE)


_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")


def _not_here(words: Sequence[bytes]) -> BadInput:
    name = words[0].upper()
    if name == b"CLIENT" and len(words) > 1:
        name += b" " + words[1].upper()
    return BadInput(f"{one_line(shown(name))} {NOT_HERE}")


class Facts(Protocol):
    """What is known of requests (router.Nodes)."""

    def commands(self) -> Mapping[bytes, Command]: ...
    def plan(self, words: Sequence[bytes]) -> Plan: ...


Later = Callable[[Part, Redirect, bytes], None]


class Block(Part):
    """A whole transaction on its way: sent as one, redirected as one, answered as one."""

    def begin(
        self, facts: Facts, to_slot: Callable[[int, Part], None], anywhere: Callable[[Part], None]
    ) -> None:
        """Send it where it belongs, or answer it where a server would not run it."""
        queued = Transaction(facts.commands(), facts.plan)
        replies = [b"+OK\r\n", *map(queued.queue, _requests(self.data)[1:-1]), EXECABORT]
        if queued.dirty:
            self.finish(b"".join(replies))
        elif queued.slot is None:
            anywhere(self)
        else:
            to_slot(queued.slot, self)

    def looked_at(self, replies: Sequence[bytes], later: Later) -> None:
        """All is answered, some of it by errors. Where MULTI itself was refused the rest has run
        one by one; else a redirection of any says that none has."""
        self.errors = 0
        if replies[0].startswith(b"+"):
            for reply in replies[1:]:
                found = redirect(reply)
                if found is not None:
                    if found.kind is Kind.AGAIN:
                        # It cannot be cut: as long as anybody waits for a node, not for some hops.
                        found, self.tries = LATER, 0
                    later(self, found, reply)
                    return
        self.finish(b"".join(replies))

    def lost(
        self, why: ProxyError, later: Later, failed: Callable[[Part, ProxyError], None]
    ) -> None:
        """Not all of it will be answered."""
        if why.outcome_unknown or isinstance(why, UpstreamRefused):
            failed(self, why)
        else:
            later(self, LATER, why.line)

    def finish(self, reply: bytes) -> None:
        # One error stands for all that it would have answered.
        if reply.startswith(b"-") and reply.find(b"\n") == len(reply) - 1:
            reply *= self.count
        super().finish(reply)


def block(router: RouterCore, place: Slot, data: bytes, pos: int) -> Block | None:
    """What stands at ``pos``, from MULTI to EXEC. None where there is no EXEC: MULTI alone would be
    for all who share the lane."""
    cutter, at, count = Cutter(True), pos, 0
    while at < len(data):
        begin, at = at, cutter.cut(data, at, 1)
        count += 1
        if at - begin == len(EXEC) and data[begin:at].upper() == EXEC:
            return Block(router, place, data[pos:at], count)
    return None


def _requests(data: bytes) -> list[bytes]:
    cutter, at, found = Cutter(True), 0, list[bytes]()
    while at < len(data):
        begin, at = at, cutter.cut(data, at, 1)
        found.append(data[begin:at])
    return found


def last_of(text: bytes, count: int) -> bytes:
    """The last of so many replies."""
    cutter, pos = Cutter(), 0
    for _ in range(count - 1):
        end = cutter.cut(text, pos, 1)
        if end >= len(text):
            break
        pos = end
    return text[pos:]
