"""What sessions do with the commands of the proxy's own: start them, keep their places in the
queue, answer.

    GETORSET k  ─▶ place ◀─ GetOrSetSlot, on the tracked lane as GET k ─ a value ─▶ client
                     ▲                                                 └ nil ─▶ a task loads ─┐
                     └────────────────────────────────────────────────────────────────────────┘
    others      ─▶ place ◀─ a task runs

Such a command starts when nothing is outstanding, and holds back what follows until it is answered:
it runs on other lanes, where it could be overtaken. Only one kind may follow its like unanswered:
GETORSET key, which changes nothing that the others see."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Final, cast

from ...custom.spec import Call, CommandSpec, LoaderKeys
from ...errors import BadInput, ProxyError
from ...hot.answers import RunSlot
from ...hot.fills import FILL, Fill
from ...hot.lane import LaneState
from ...hot.session import MUTE_SKIP
from ...resp.modes import Mode
from ...resp.requests import Value, bulk, encode, error, null, reply
from ...upstream.lane import Lane
from ..conducted import Conducted
from ..reasons import HOLD_BLOCKED, HOLD_SUBSCRIBED

log = logging.getLogger(__name__)

NOAUTH: Final = b"-NOAUTH Authentication required.\r\n"
IN_MULTI: Final = "is a command of the proxy and cannot be queued in MULTI: send it on its own"

_GET: Final = b"*2\r\n$3\r\nGET\r\n"


class TaskSlot(RunSlot):
    """The place of a command that a task runs."""

    __slots__ = ("_muted",)

    def __init__(self, session: Conducted) -> None:
        super().__init__(session.answers, 1)
        self._muted = bool(session.mute)
        session.mute &= ~MUTE_SKIP

    def fill(self, text: bytes) -> None:
        """The whole answer."""
        self.want = 0
        self.pass_on(text)

    def pass_on(self, chunk: bytes) -> None:
        """A part of the answer; the last one where ``want`` is 0."""
        RunSlot.feed(self, b"" if self._muted else chunk)


class GetOrSetSlot:
    """The reply to the GET that asks for a value: passed on to its place as it comes. Nil is only
    the beginning: ``missed`` has to fill the place."""

    __slots__ = ("_fill", "_got", "_missed", "_place", "want")

    def __init__(self, place: TaskSlot, fill: Fill | None, missed: Missed) -> None:
        self.want = 1
        self._place = place
        self._fill = fill
        self._missed = missed
        self._got = b""  # until two bytes have told what it is

    @property
    def _told(self) -> bool:
        return len(self._got) >= 2

    @property
    def _nil(self) -> bool:
        return self._got.startswith((b"$-", b"_"))

    def feed(self, chunk: bytes) -> None:
        if not self._told:
            self._got += chunk
            if not self._told:
                return
            chunk, self._got = self._got, self._got[:2]
            self._place.session.turn.hits += chunk.startswith(b"$") and not self._nil
        if not self._nil:
            self._value(chunk)
        elif not self.want:
            self._place.session.turn.misses += 1
            if self._fill is not None:
                self._fill.give_up()
            self._missed(self._place)

    def _value(self, chunk: bytes) -> None:
        """A part of a value, or of an error, which is not kept."""
        fill = self._fill
        if fill is not None and fill.open:
            if not self._got.startswith(b"$"):
                fill.give_up()
            elif fill.gather(chunk) and not self.want:
                fill.keep(fill.got)
        self._place.want = self.want
        self._place.pass_on(chunk)

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        if self._fill is not None:
            self._fill.give_up()
        if self._told and not self._nil:
            self._place.session.abort("the server went away in the middle of a reply")
        self._place.fill(why.line)


def getorset(session: Conducted, data: bytes, pos: int) -> int:
    """Ask for the GETORSET key that begins at pos as a GET; the offset behind it, 0: it is none.

    A hit is to cost no more than 1.6 times a GET: no task is started for it."""
    berth = session.berth
    behind_its_like = berth.mode in (Mode.OWN, Mode.TRACKED)
    if not behind_its_like and not (berth.quiet and berth.mode in (Mode.NEAR, Mode.FAR)):
        return 0
    routes = session.context.table.maps[berth.mode]
    key = routes.key(data, pos)
    if key is None or routes.words != 2:
        return 0
    end = routes.end
    _read(session, key, session.context.scopes.specs[b"GETORSET"])
    return end


def _read(session: Conducted, key: bytes, command: CommandSpec | None) -> None:
    """Read a string near, or on the tracked lane; with a command, that is run where it is nil."""
    fill = None
    space, turn = session.near.space, session.context.turn
    if session.reads_near() and space is not None:
        now = turn.clock()
        entry = space.get(key, now)
        if entry is not None and entry.reply is not None:
            turn.hits += 1
            session.say(entry.reply, entry.size)
            return
        ticket = space.admit(key)
        if ticket is not None:
            fill = Fill(space, ticket, now)
    place = TaskSlot(session)
    session.take_place(place, Mode.OWN)
    lane = cast("Lane | None", session.near.lane)
    if lane is None or lane.state is LaneState.CLOSED:
        lane = session.berth.find_tracked()
    word = bulk(key)
    if fill is not None:
        lane.send(FILL + word, fill)
    session.send(_GET + word, GetOrSetSlot(place, fill, Missed(session, key, command)), lane)


class Missed:
    """What fills a place whose read found nothing: a command, or nil."""

    __slots__ = ("_command", "_key", "_session")

    def __init__(self, session: Conducted, key: bytes, command: CommandSpec | None) -> None:
        self._session = session
        self._key = key
        self._command = command

    def __call__(self, place: TaskSlot) -> None:
        session, command = self._session, self._command
        if command is None:
            place.fill(null(session.berth.lane_key.resp))
            return
        if session.berth.left:
            return
        _, request = session.context.scopes.parse([command.name, self._key])
        work = session.context.scopes.run(command, request, session.berth.lane_key)
        session.berth.run(_answer(session, place, command.name.decode(), work))


def custom(session: Conducted, args: list[bytes]) -> bool:
    """Run any other command of the proxy's own."""
    berth = session.berth
    if berth.mode == Mode.LOCKED:
        session.say(NOAUTH)
        return True
    if berth.holds & HOLD_SUBSCRIBED and berth.lane_key.resp == 2:
        name = args[0].decode("latin-1").lower()
        session.say(
            error(
                f"Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                "RESET are allowed in this context"
            )
        )
        return True
    if not berth.idle():
        return False
    scopes = session.context.scopes
    try:
        spec, request = scopes.parse(args)
    except ProxyError as refused:
        session.say(refused.line)
        return True
    place = TaskSlot(session)
    session.take_place(place, Mode.OWN)
    work: Awaitable[Value] = scopes.probe_and_run(spec, request, berth.lane_key)
    if spec.waits(request):
        # It waits for the future, and for nobody when its client leaves or the process stops.
        berth.hold(HOLD_BLOCKED)
        work = _unblocked(session, work)
    berth.run(_answer(session, place, spec.name.decode(), work), spec.finishes)
    return True


async def _unblocked(session: Conducted, work: Awaitable[Value]) -> Value:
    try:
        return await work
    finally:
        # Before it is answered: what follows may block on its own.
        session.berth.let_go(HOLD_BLOCKED)


async def _answer(session: Conducted, place: TaskSlot, what: str, work: Awaitable[Value]) -> None:
    """Fill the place with what the work gives."""
    text = error("the proxy stops")
    try:
        text = reply(await work, session.berth.lane_key.resp)
    except ProxyError as failed:
        text = failed.line
    except Exception:
        log.exception("a command failed")
        text = error(f"a defect in the proxy: {what} failed; see its log")
    finally:
        place.fill(text)


def read_through(session: Conducted, args: list[bytes]) -> bool:
    """GET or MGET, where loaders answer for the misses of their keys."""
    loaders, scopes, berth = session.context.loaders, session.context.scopes, session.berth
    wanted = args[0].upper() == b"MGET" or len(args) == 2
    # Behind WATCH only what that connection reads is watched.
    own = berth.own is not None
    if own or not wanted or not any(map(loaders.read_through, args[1:])):
        if berth.mode == Mode.NEAR and len(args) == 2 and berth.idle():
            _read(session, args[1], None)
        else:
            session.forward(encode(args), reads=1)
        return True
    if not berth.idle():
        return False
    if len(args) == 2 and args[0].upper() == b"GET":
        _read(session, args[1], scopes.specs[b"GETORSET"])
        return True
    place = TaskSlot(session)
    session.take_place(place, Mode.OWN)
    read = _read_all(scopes.scope(berth.lane_key).call, loaders, args[1:])
    berth.run(_answer(session, place, "MGET", read))
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


def refused(session: Conducted, args: list[bytes]) -> bool:
    """Inside MULTI: the server is given a command that it knows not, so that EXEC aborts as after
    any other mistake; the client is told what it really was."""
    name = args[0].decode("latin-1").upper()
    line = BadInput(f"{name} {IN_MULTI}").line

    def seen(answer: bytes) -> bytes:
        return line if answer.startswith(b"-") else answer

    session.peek(encode([b"NEARHIT." + args[0]]), seen)
    return True
