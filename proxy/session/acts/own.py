"""What sessions do with the commands of the proxy's own: start them, take their places in the
queue, answer. The places themselves are hot/own.py's.

Such a command starts when nothing is outstanding, and holds back what follows until it is answered:
it runs on other lanes, where it could be overtaken. Two kinds may follow their like unanswered:
GETORSET key, which changes nothing that the others see, and what is sent whole as it starts
(CommandSpec.sends), which the server does in the order in which it was asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final, cast

from ...custom.spec import Call, CommandSpec, LoaderKeys
from ...custom.strings import strings
from ...errors import IN_MULTI, NOAUTH, BadInput, NoLoader, ProxyError, is_away
from ...forgoing import forgoing
from ...hot.answers import Answers
from ...hot.fills import FILL, Fill
from ...hot.lane import LaneState
from ...hot.own import GetOrSetSlot, TaskSlot
from ...hot.sending import MUTE_SKIP
from ...resp.kernel import RouteMap, mix, pack_keys, split
from ...resp.modes import Mode
from ...resp.replies import Value, bulk, error, null, parsed, reply
from ...resp.requests import encode
from ...resp.routes import Route
from ...resp.strings import Known
from ...spent import account
from ...upstream.lane import Lane
from ..conducted import Conducted
from ..reasons import HOLD_BLOCKED, HOLD_GRANT, HOLD_SUBSCRIBED
from ..slow import own_noted
from ..spanned import command_span
from ..tenures import tenure_of
from .timed import PTTL, TimedPlace, Told

log = logging.getLogger(__name__)


OWN: Final = int(Mode.OWN)
# For how long a server counts as away whose tracked lane alone is known to be lost: no longer than
# what is near may be old where a link dies in silence.
JUST_LOST_S: Final = 1.0
SENDING_MOST: Final = 1 << 20  # bytes of one client that follow each other unanswered
_GET: Final = b"*2\r\n$3\r\nGET\r\n"
_MANY: Final = RouteMap({b"MGET": int(Route.NEAR_MANY)})


class Reads:
    """The reads of GETORSET that hot/session.py asks, as slices where it can (OwnReads)."""

    def used(self, session: Answers) -> None:
        cast(Conducted, session).context.scopes.used()

    def reads_through(self, session: Answers, key: bytes) -> bool:
        reader = cast(Conducted, session)
        return reader.berth.own is None and reader.context.loaders.read_through(key)

    def timed(self, session: Answers, key: bytes) -> bool:
        return cast(Conducted, session).context.loaders.timed(key)

    def away(self, session: Answers) -> bool:
        return _away(cast(Conducted, session))

    def fill(self, session: Answers, key: bytes, fill: Fill | None) -> None:
        reader = cast(Conducted, session)
        scopes = reader.context.scopes
        scopes.used()
        _ask(reader, key, scopes.specs[b"GETORSET"], fill)

    def missed(self, session: Answers, place: TaskSlot, key: bytes, why: ProxyError | None) -> None:
        reader = cast(Conducted, session)
        _run(reader, place, key, reader.context.scopes.specs[b"GETORSET"], why)


def _read(session: Conducted, key: bytes, command: CommandSpec | None) -> None:
    """Read a string near, or on the tracked lane; with a command, that is run where it is nil."""
    fill = None
    space, turn = session.near.space, session.context.turn
    if _away(session):
        if (stood := _stood(session, key)) is not None:
            session.say(stood, len(stood))
            return
        scopes = session.context.scopes
        loads = scopes.scope(session.berth.lane_key).call.loads
        if command is not None and loads.alone(key):
            place = _place(session, TaskSlot(session.answers, session.mute != 0, False))
            _run(session, place, key, command, None)
            return
    if session.reads_near() and space is not None:
        now = turn.clock()
        entry = space.get(key, now)
        if entry is not None and entry.reply is not None:
            turn.hits += 1
            turn.near_hits += 1
            session.say(entry.reply, entry.size)
            return
        ticket = space.admit(key)
        if ticket is not None:
            fill = Fill(space, ticket, now)
    elif (worth := session.near.passing) is not None:
        worth.note(mix(key))
    _ask(session, key, command, fill)


def _away(session: Conducted) -> bool:
    """Whether there is no server to ask: the tracked lane does not stand, and nor does the client's
    other one, or it was tried in vain; or it was lost just now, and the other may not know yet."""
    tracked, lane = cast("Lane | None", session.near.lane), session.berth.lane
    if tracked is None or tracked.state is LaneState.READY:
        return False
    if tracked.failing or lane is None or lane.state is not LaneState.READY:
        return True
    space = session.near.space
    return space is not None and space.until - space.cache.stale_s > tracked.now - JUST_LOST_S


def _stood(session: Conducted, key: bytes) -> bytes | None:
    """What stood near at a key when the link was lost, where that may be told (``stale_if_down``);
    the server is away."""
    space, turn = session.near.space, session.context.turn
    if space is None or space.until <= turn.now or session.mute:
        return None
    entry = space.get(key, turn.clock())
    if entry is None or entry.reply is None:
        return None
    turn.hits += 1
    turn.near_hits += 1
    space.cache.down_hits += 1
    return entry.reply


def _ask(session: Conducted, key: bytes, command: CommandSpec | None, fill: Fill | None) -> None:
    told, place = None, TaskSlot(session.answers, session.mute != 0, False)
    if command is not None and session.context.loaders.timed(key):
        refreshes = session.context.scopes.scope(session.berth.lane_key).call.refreshes
        assert refreshes is not None
        told = None if fill is not None else Told()
        asked, newest = told or fill, partial(_hand_out, session)
        assert asked is not None
        place = TimedPlace(session.answers, session.mute != 0, key, asked, refreshes, newest)
    _place(session, place)
    lane = cast("Lane | None", session.near.lane)
    if lane is None or lane.state is LaneState.CLOSED:
        lane = session.berth.find_tracked()
    word = bulk(key)
    if fill is not None:
        lane.send(FILL + word, fill)
    elif told is not None:
        lane.send(PTTL + word, told)
    session.send(_GET + word, GetOrSetSlot(place, fill, _missed, session, key, command), lane)


def _hand_out(session: Conducted, place: TimedPlace, value: bytes, ttl_ms: int) -> None:
    """What the server has is a whole value that may be stale: see that the place is filled."""
    berth, string = session.berth, parsed(value)
    refreshes = session.context.scopes.scope(berth.lane_key).call.refreshes
    if berth.left or refreshes is None or not isinstance(string, bytes):
        place.fill(value)
    else:
        work = refreshes.newest(place.key, string, ttl_ms)
        berth.run(_answer(session, place, (b"GETORSET", place.key), work))


def _place(session: Conducted, place: TaskSlot | None = None) -> TaskSlot:
    """The place at the end of the queue, before which nothing but its like may come."""
    place = place or TaskSlot(session.answers, session.mute != 0)
    session.mute &= ~MUTE_SKIP
    session.take_place(place, OWN)
    return place


def _missed(slot: GetOrSetSlot) -> None:
    """The read found nothing, or got no answer: run its command, or say so."""
    session, command = cast(Conducted, slot.asker), cast("CommandSpec | None", slot.command)
    if command is not None:
        _run(session, slot.place, slot.key, command, slot.why)
    elif slot.why is None:
        slot.place.fill(null(session.berth.lane_key.resp))
    else:
        slot.place.fill(slot.why.line)


def _run(
    session: Conducted, place: TaskSlot, key: bytes, command: CommandSpec, why: ProxyError | None
) -> None:
    """Run the command of a read that found nothing, or got no answer."""
    if session.berth.left or not (why is None or is_away(why)):
        place.fill(b"" if why is None else why.line)
        return
    session.berth.run(_answer_miss(session, place, key, command, why))


async def _answer_miss(
    session: Conducted, place: TaskSlot, key: bytes, command: CommandSpec, why: ProxyError | None
) -> None:
    scopes, lane_key = session.context.scopes, session.berth.lane_key
    session.answers.loading = True

    async def work() -> Value:
        _, request = scopes.parse([command.name, key])
        try:
            return await scopes.run(command, request, lane_key)
        except NoLoader:
            if why is None:
                raise
            raise why from None  # no loader could make up for the server

    await _answer(session, place, (command.name, key), work())


def custom(session: Conducted, args: list[bytes]) -> bool:
    """Run any other command of the proxy's own."""
    berth = session.berth
    if session.mode == Mode.LOCKED:
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
    # Behind what is being sent a request is read to learn whether it may follow, else when all is
    # answered.
    if not berth.sending and not berth.idle():
        return False
    scopes = session.context.scopes
    try:
        spec, request = scopes.parse(args)
    except ProxyError as refused:
        session.say(refused.line)
        return True
    size = spec.sends(request)
    if berth.sending and not 0 < size <= SENDING_MOST - berth.sending and not berth.idle():
        return False
    if spec.name == b"GETORSET" and len(args) == 2:  # inline, say: it may be near all the same
        _read(session, args[1], spec)
        return True
    if spec.near is not None and session.reads_near():
        request = spec.near(request, lambda keys: _known_near(session, keys))
    place = _place(session)
    work: Awaitable[Value]
    if spec.name == b"LOCK":
        work = scopes.run(spec, request, berth.lane_key, tenure_of(session))
    else:
        work = scopes.probe_and_run(spec, request, berth.lane_key)
    # It waits for the future, and for nobody when its client leaves or the process stops; or the
    # client's end must be seen, for what it gets would be nobody's.
    why = HOLD_BLOCKED if spec.waits(request) else HOLD_GRANT if spec.grants(request) else 0
    if why:
        berth.hold(why)
        work = _held(session, work, why)
    if size:
        berth.sending += size
        work = _sent(session, work, size)
    # Who waits for others does so of its own will.
    quick = not spec.waits(request)
    berth.run(_answer(session, place, args, work, quick=quick), spec.finishes)
    return True


def _known_near(session: Conducted, keys: list[bytes]) -> Known | None:
    """What stands of these strings in the near cache, which may be read now: by the walk that MGET
    takes. A key of which is known that there is nothing has all of them asked for: it may have to
    be loaded."""
    space, turn, routes = session.near.space, session.context.turn, _MANY
    if space is None:
        return None
    data = pack_keys(b"MGET", keys, b"", b"")
    index, sketch = space.entries, space.cache.sketch
    looked = routes.many(data, 0, index, sketch, turn.clock(), False)
    told, gaps = routes.told, routes.gaps
    if not looked or told is None or routes.nils or len(gaps) == looked:
        return None
    hits = looked - len(gaps)
    space.hits += hits
    space.misses += len(gaps)
    turn.hits += hits
    turn.near_hits += hits
    missing, _ = (None, 0) if routes.asked is None else split(routes.asked, 0)
    return Known(told, gaps, [] if missing is None else missing[1:])


async def _sent(session: Conducted, work: Awaitable[Value], size: int) -> Value:
    try:
        return await work
    finally:
        session.berth.sending -= size


async def _held(session: Conducted, work: Awaitable[Value], why: int) -> Value:
    try:
        return await work
    finally:
        # Before it is answered: what follows may block on its own.
        session.berth.let_go(why)


async def _answer(
    session: Conducted,
    place: TaskSlot,
    words: Sequence[bytes],
    work: Awaitable[Value],
    *,
    quick: bool = True,
) -> None:
    """Fill the place with what the work gives. ``quick``: it is told of where it is slow."""
    text = error("the proxy stops")
    stopwatch, spent = session.context.turn.stopwatch, account()
    began = stopwatch()
    try:
        with command_span(session.context, words, session.berth.lane_key.db):
            text = reply(await work, session.berth.lane_key.resp)
    except ProxyError as failed:
        session.context.sampler.failures += 1
        text = failed.line
    except Exception:
        session.context.sampler.failures += 1
        log.exception("a command failed")
        what = words[0].upper().decode()
        text = error(f"a defect in the proxy: {what} failed; see its log")
    finally:
        place.fill(text)
        took = stopwatch() - began
        if quick and took >= session.context.slow.slow:
            own_noted(session, words, took, spent.load)


def read_through(session: Conducted, args: list[bytes]) -> bool:
    """GET or MGET, where loaders answer for the misses of their keys."""
    loaders, scopes, berth = session.context.loaders, session.context.scopes, session.berth
    wanted = args[0].upper() == b"MGET" or len(args) == 2
    # Behind WATCH only what that connection reads is watched; strangers are the server's.
    own = berth.own is not None or session.mode == Mode.LOCKED
    if not own and args[0].upper() == b"MGET" and _away(session) and berth.idle():
        stood = [_stood(session, key) for key in args[1:]]
        if None not in stood:
            session.say(b"".join((b"*%d\r\n" % len(stood), *filter(None, stood))))
            return True
    if own or not wanted or not any(map(loaders.read_through, args[1:])):
        if session.mode == Mode.NEAR and len(args) == 2 and berth.idle():
            _read(session, args[1], None)
        else:
            session.forward(encode(args), reads=1)
        return True
    if not berth.idle():
        return False
    if len(args) == 2 and args[0].upper() == b"GET":
        _read(session, args[1], scopes.specs[b"GETORSET"])
        return True
    place = _place(session)
    read = _read_all(scopes.scope(berth.lane_key).call, loaders, args[1:])
    berth.run(_answer(session, place, args, read))
    return True


async def _read_all(call: Call, loaders: LoaderKeys, keys: list[bytes]) -> Value:
    """MGET; one load that fails fails it all, for its error has no other place to stand."""
    values: list[bytes | None] = [None] * len(keys)
    if not all(loaders.read_through(key) and call.loads.alone(key) for key in keys):
        through = all(loaders.read_through(key) and call.loads.fails_open(key) for key in keys)
        try:
            with forgoing(through):
                values = await strings(call, keys)
        except ProxyError as why:
            if not (is_away(why) and through):
                raise
    for value in values:
        call.stats.read(hit=value is not None)
    missing = [
        at for at, key in enumerate(keys) if values[at] is None and loaders.read_through(key)
    ]
    loads = (call.loads.load(keys[at]) for at in missing)
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
