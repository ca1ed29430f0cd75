"""What sessions do with the commands of the proxy's own: start them, keep their places in the
queue, answer.

    GETORSET k  ─▶ Probe, on the tracked lane as GET k ─ a value ─▶ client
                                                       └ nil ─▶ a task loads ─▶ client
    others      ─▶ Pending ─ a task runs ─▶ client

Such a command starts when nothing is outstanding, and holds back what follows until it is answered:
it runs on other lanes, where it could be overtaken. Only one kind may follow its like unanswered:
GETORSET key, which changes nothing that the others see."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, cast

from .errors import BadInput, ProxyError
from .hot import MUTE_SKIP, Run
from .kernel import PLAIN, Names
from .resp import Value, encode, error, reply
from .session import HOLD_SUBSCRIBED, Session
from .spec import Call, CommandSpec, LoaderKeys

log = logging.getLogger(__name__)

NOAUTH: Final = b"-NOAUTH Authentication required.\r\n"
IN_MULTI: Final = "is a command of the proxy and cannot be queued in MULTI: send it on its own"

_GETORSET: Final = Names({b"GETORSET": PLAIN})
_HEAD: Final = b"*2\r\n$8\r\n"
_BEHIND_NAME: Final = len(b"*2\r\n$8\r\nGETORSET\r\n")
_GET: Final = b"*2\r\n$3\r\nGET\r\n"
_NULLS: Final = (b"$-1\r\n", b"_\r\n")


class Pending(Run):
    """The place of a command that a task runs."""

    __slots__ = ("muted",)
    session: Session

    def __init__(self, session: Session, muted: bool) -> None:
        super().__init__(session, 1)
        self.muted = muted

    def fill(self, text: bytes) -> None:
        self.want = 0
        self.feed(b"" if self.muted else text)


class Probe(Pending):
    """The place of a read that is the answer, unless it is nil."""

    __slots__ = ("got", "request", "spec")

    def __init__(self, session: Session, muted: bool, spec: CommandSpec, request: bytes) -> None:
        super().__init__(session, muted)
        self.spec = spec
        self.request = request
        self.got = b""

    def feed(self, chunk: bytes) -> None:
        """Bytes of the reply, in any split."""
        if self.want:
            self.got += chunk
            return
        text = self.got + chunk if self.got else chunk
        self.got = b""
        turn = self.session.turn
        if text in _NULLS:
            turn.misses += 1
            self.want = 1  # it is still to be filled
            begin(self, self.spec, [self.spec.name, _argument(self.request)])
            return
        if not text.startswith(b"-"):
            turn.hits += 1
        self.fill(text)

    def fill(self, text: bytes) -> None:
        self.want = 0
        Run.feed(self, b"" if self.muted else text)

    def fail(self, line: bytes, inside: bool) -> None:
        self.got = b""
        self.fill(line)


def _argument(request: bytes) -> bytes:
    """The word behind the name in a request of two."""
    return request[request.index(b"\r\n", len(_GET)) + 2 : -2]


def getorset(session: Session, data: bytes, pos: int) -> int:
    """Ask for the GETORSET key that begins at pos as a GET; the offset behind it, 0: it is none.

    A hit is to cost no more than 1.6 times a GET: its bytes are reused, and no task is started."""
    if not data.startswith(_HEAD, pos) or _GETORSET.scan(data, pos, 1) != 1:
        return 0
    context = session.context
    names = session.names
    if names is not context.table.waiting and (
        session.head is not None or names is not context.table.plain
    ):
        return 0
    end = _GETORSET.end
    request = _GET + data[pos + _BEHIND_NAME : end]
    slot = Probe(session, bool(session.mute), context.commands.specs[b"GETORSET"], request)
    session.mute &= ~MUTE_SKIP
    session.ask_own(slot)
    lane = context.commands.lane(session.key)
    lane.send(request, slot)
    if lane.choked:
        session.wait_for(lane)
    return end


def custom(session: Session, args: list[bytes]) -> bool:
    """Run any other command of the proxy's own."""
    if session.names is session.context.table.locked:
        session.say(NOAUTH)
        return True
    if session.holds & HOLD_SUBSCRIBED and session.key.resp == 2:
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
    slot = Pending(session, bool(session.mute))
    session.mute &= ~MUTE_SKIP
    session.ask_own(slot)
    work = commands.probe_and_run(spec, request, session.key)
    _run(slot, session, _answer(slot, spec.name.decode(), work), spec.finishes)
    return True


def begin(slot: Pending, spec: CommandSpec, words: list[bytes]) -> None:
    """Run a command whose probe found nothing."""
    session = slot.session
    if session.closed:
        return
    _, request = session.context.commands.parse(words)
    work = session.context.commands.run(spec, request, session.key)
    _run(slot, session, _answer(slot, spec.name.decode(), work))


def _run(
    slot: Pending, session: Session, answer: Coroutine[Any, Any, None], finishes: bool = False
) -> None:
    """Run it as a task, which ends with the client unless it has to finish."""
    task = session.context.start(answer)
    if not finishes:
        session.running.add(task)
        task.add_done_callback(session.running.discard)


async def _answer(slot: Pending, what: str, work: Awaitable[Value]) -> None:
    text = error("the proxy stops")
    try:
        text = reply(await work, slot.session.key.resp)
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
        session.forward(encode(args), 1)
        return True
    if not session.idle():
        return False
    slot = Pending(session, bool(session.mute))
    session.mute &= ~MUTE_SKIP
    session.ask_own(slot)
    one = args[0].upper() == b"GET"
    read = (
        _read_one(commands.place(session.key).call, args[1])
        if one
        else _read_all(commands.place(session.key).call, loaders, args[1:])
    )
    _run(slot, session, _answer(slot, args[0].decode("latin-1"), read))
    return True


async def _read_one(call: Call, key: bytes) -> Value:
    value = await call.upstream.ask(b"GET", key)
    call.stats.read(hit=value is not None)
    return await call.leases.load(key) if value is None else value


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
        return line if answer.startswith(b"-") and not answer.startswith(b"-UPSTREAM") else answer

    session.watch(encode([b"NEARHIT." + args[0]]), seen)
    return True
