"""What sessions do with the commands of the proxy's own: start them, keep their places in the
queue, answer.

    GETORSET k  ─▶ GetOrSetSlot, on the tracked lane as GET k ─ a value ─▶ client
                                                       └ nil ─▶ a task loads ─▶ client
    others      ─▶ TaskSlot ─ a task runs ─▶ client

Such a command starts when nothing is outstanding, and holds back what follows until it is answered:
it runs on other lanes, where it could be overtaken. Only one kind may follow its like unanswered:
GETORSET key, which changes nothing that the others see."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, cast

from ...custom.spec import Call, CommandSpec, LoaderKeys
from ...errors import IN_MULTI, NOAUTH, BadInput, ProxyError
from ...hot.session import FILL, MUTE_SKIP, WINDOW_BYTES, LaneState, PttlSlot, Run
from ...near.cache import Space
from ...resp.requests import Value, bulk, encode, error, null, reply
from ...upstream.lane import Lane
from ..session import HOLD_BLOCKED, HOLD_SUBSCRIBED, Session
from .mget import fresh

log = logging.getLogger(__name__)

_GET: Final = b"*2\r\n$3\r\nGET\r\n"


class TaskSlot(Run):
    """The place of a command that a task runs."""

    __slots__ = ("muted",)
    session: Session

    def __init__(self, session: Session, muted: bool) -> None:
        super().__init__(session, 1)
        self.muted = muted

    def fill(self, text: bytes) -> None:
        self.want = 0
        self.feed(b"" if self.muted else text)


class GetOrSetSlot(TaskSlot):
    """The place of a read that is the answer; with a ``command``, unless it is nil: then that is
    run. A value is passed on as it comes."""

    __slots__ = ("begun", "command", "filling", "got", "key", "nil")

    def __init__(
        self, session: Session, key: bytes, command: CommandSpec | None, filling: Filling | None
    ) -> None:
        super().__init__(session, bool(session.mute))
        session.mute &= ~MUTE_SKIP
        self.key = key
        self.command = command
        self.filling = filling
        self.got = b""  # until two bytes have told what it is
        self.begun = False
        self.nil = False

    def feed(self, chunk: bytes) -> None:
        """Bytes of the reply, in any split."""
        if not self.begun:
            chunk = self.got + chunk
            self.got = chunk
            if len(chunk) < 2:
                return
            self.begun = True
            self.nil = chunk.startswith((b"$-", b"_"))
            self.session.turn.hits += chunk.startswith(b"$") and not self.nil
        if self.nil:
            if not self.want:
                self._missed()
            return
        if self.filling is not None:
            self.filling.add(chunk, last=not self.want)
        Run.feed(self, b"" if self.muted else chunk)

    def _missed(self) -> None:
        self.session.turn.misses += 1
        if self.filling is not None:
            self.filling.give_up()
        if self.command is None:
            self.fill(null(self.session.lane_key.resp))
            return
        self.want = 1  # it is still to be filled
        _begin(self, self.command)

    def fill(self, text: bytes) -> None:
        self.want = 0
        Run.feed(self, b"" if self.muted else text)

    def fail(self, why: ProxyError, inside: bool) -> None:
        if self.filling is not None:
            self.filling.give_up()
        if self.begun and not self.nil:
            self.session.abort("the server went away in the middle of a reply")
        self.fill(why.line)


class Filling:
    """A fill of the near cache by the read that it leads."""

    __slots__ = ("lead", "parts", "size", "space")

    def __init__(self, space: Space, lead: PttlSlot) -> None:
        self.space = space
        self.lead = lead
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes, *, last: bool) -> None:
        """A part of the reply; what is an error or too large is not kept."""
        self.size += len(chunk)
        if self.size > self.space.cache.value_max or not (self.parts or chunk.startswith(b"$")):
            self.give_up()
            return
        self.parts.append(chunk)
        if last:
            reply = b"".join(self.parts)
            self.space.fill(self.lead.ticket, reply, self.lead.ttl_ms, self.lead.asked)

    def give_up(self) -> None:
        self.parts.clear()
        self.space.give_up(self.lead.ticket)


def getorset(session: Session, data: bytes, pos: int) -> int:
    """Ask for the GETORSET key that begins at pos as a GET; the offset behind it, 0: it is none.

    A hit is to cost no more than 1.6 times a GET: no task is started for it."""
    table, routes = session.context.table, session.routes
    behind_its_like = routes is table.waiting or routes is table.near_only
    if not behind_its_like and (session.head is not None or routes not in (table.plain, table.far)):
        return 0
    key = routes.key(data, pos)
    if key is None or routes.words != 2:
        return 0
    end = routes.end
    _read(session, key, session.context.commands.specs[b"GETORSET"])
    return end


def _read(session: Session, key: bytes, command: CommandSpec | None) -> None:
    """Read a string near, or on the tracked lane."""
    filling = None
    here = fresh(session)
    if here is not None:
        space, _ = here
        now = session.turn.clock()
        entry = space.get(key, now)
        if entry is not None and entry.reply is not None:
            session.turn.hits += 1
            session.say(entry.reply)
            session.near_bytes += entry.size
            if session.near_bytes > WINDOW_BYTES:
                session.yield_turn()
            return
        ticket = space.admit(key)
        if ticket is not None:
            filling = Filling(space, PttlSlot(ticket, now))
    slot = GetOrSetSlot(session, key, command, filling)
    session.ask_own(slot)
    lane = cast("Lane | None", session.tracked)
    if lane is None or lane.state is LaneState.CLOSED:
        lane = session.find_tracked()
    word = bulk(key)
    if filling is not None:
        lane.send(FILL + word, filling.lead)
    lane.send(_GET + word, slot)
    if lane.choked:
        session.wait_for(lane)


def custom(session: Session, args: list[bytes]) -> bool:
    """Run any other command of the proxy's own."""
    if session.routes is session.context.table.locked:
        session.say(NOAUTH)
        return True
    if session.holds & HOLD_SUBSCRIBED and session.lane_key.resp == 2:
        name = args[0].decode("latin-1").lower()
        session.say(
            error(
                f"Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                "RESET are allowed in this context"
            )
        )
        return True
    if not session.idle():
        return False
    commands = session.context.commands
    try:
        spec, request = commands.parse(args)
    except ProxyError as refused:
        session.say(refused.line)
        return True
    slot = TaskSlot(session, bool(session.mute))
    session.mute &= ~MUTE_SKIP
    session.ask_own(slot)
    work: Awaitable[Value] = commands.probe_and_run(spec, request, session.lane_key)
    if spec.waits(request):
        # It waits for the future, and for nobody when its client leaves or the process stops.
        session.hold(HOLD_BLOCKED)
        work = _unblocked(session, work)
    _run(slot, session, _answer(slot, spec.name.decode(), work), spec.finishes)
    return True


async def _unblocked(session: Session, work: Awaitable[Value]) -> Value:
    try:
        return await work
    finally:
        session.let_go(HOLD_BLOCKED)  # before it is answered: what follows may block on its own


def _begin(slot: GetOrSetSlot, command: CommandSpec) -> None:
    """Run a command whose probe found nothing."""
    session = slot.session
    if session.closed:
        return
    _, request = session.context.commands.parse([command.name, slot.key])
    work = session.context.commands.run(command, request, session.lane_key)
    _run(slot, session, _answer(slot, command.name.decode(), work))


def _run(
    slot: TaskSlot, session: Session, answer: Coroutine[Any, Any, None], finishes: bool = False
) -> None:
    """Run it as a task, which ends with the client unless it has to finish."""
    task = session.context.start(answer)
    if not finishes:
        session.running.add(task)
        task.add_done_callback(session.running.discard)


async def _answer(slot: TaskSlot, what: str, work: Awaitable[Value]) -> None:
    text = error("the proxy stops")
    try:
        text = reply(await work, slot.session.lane_key.resp)
    except ProxyError as failed:
        text = failed.line
    except Exception:
        log.exception("a command failed")
        text = error(f"a defect in the proxy: {what} failed; see its log")
    finally:
        slot.fill(text)


def read_through(session: Session, args: list[bytes]) -> bool:
    """GET or MGET, where loaders answer for the misses of their keys."""
    loaders, commands = session.context.loaders, session.context.commands
    wanted = args[0].upper() == b"MGET" or len(args) == 2
    # Behind WATCH only what that connection reads is watched.
    own = session.lane is not None and session.lane.lent
    if own or not wanted or not any(map(loaders.read_through, args[1:])):
        if session.routes is session.context.table.plain and len(args) == 2 and session.idle():
            _read(session, args[1], None)
        else:
            session.forward(encode(args), 1, 1)
        return True
    if not session.idle():
        return False
    if len(args) == 2 and args[0].upper() == b"GET":
        _read(session, args[1], commands.specs[b"GETORSET"])
        return True
    slot = TaskSlot(session, bool(session.mute))
    session.mute &= ~MUTE_SKIP
    session.ask_own(slot)
    read = _read_all(commands.place(session.lane_key).call, loaders, args[1:])
    _run(slot, session, _answer(slot, "MGET", read))
    return True


async def _read_all(call: Call, loaders: LoaderKeys, keys: list[bytes]) -> Value:
    """MGET; one load that fails fails it all, for its error has no other place to stand."""
    values = cast("list[Value]", await call.upstream.ask(b"MGET", *keys))
    for value in values:
        call.stats.read(hit=value is not None)
    missing = [
        at for at, key in enumerate(keys) if values[at] is None and loaders.read_through(key)
    ]
    loads = (call.leases.load(keys[at]) for at in missing)
    for at, loaded in zip(
        missing, await asyncio.gather(*loads, return_exceptions=True), strict=True
    ):
        if isinstance(loaded, BaseException):
            raise loaded
        values[at] = loaded
    return values


def refused(session: Session, args: list[bytes]) -> bool:
    """Inside MULTI: the server is given a command that it knows not, so that EXEC aborts as after
    any other mistake; the client is told what it really was."""
    name = args[0].decode("latin-1").upper()
    line = BadInput(f"{name} {IN_MULTI}").line

    def seen(answer: bytes) -> bytes:
        return line if answer.startswith(b"-") else answer

    session.peek(encode([b"NEARHIT." + args[0]]), seen)
    return True
