"""Commands of the proxy's own in a session: when they start, where their answers stand, how they
end. The commands are fakes; what real ones do is tested in tests/unit/commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nearhit.proxy.custom.spec import Call, CommandSpec
from nearhit.proxy.errors import LoadError, NoLoader, OddReply, UpstreamDown
from nearhit.proxy.keys.ours import OurKeys
from nearhit.proxy.near.cache import NearCache, Space
from nearhit.proxy.near.worth import START
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.resp.strings import Known
from nearhit.proxy.session.acts import own as own_acts
from nearhit.proxy.session.acts.own import IN_MULTI, NOAUTH
from nearhit.proxy.session.scopes import Scope, Scopes
from nearhit.proxy.table.table import Ours, snapshot
from nearhit.proxy.upstream.asker import Asker
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.tracked import TrackedLane

from tests.asking import LOST, OK, LoaderKeys, asked, shared, switched
from tests.fakes import Client, NoFlights, Upstream, World

NIL = b"$-1\r\n"
A = b"$1\r\na\r\n"


class Loads:
    """Leases whose loads are scripted: a value, or an error."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | Exception] = {}
        self.asked: list[bytes] = []
        self.away = False

    def alone(self, key: bytes) -> bool:
        return self.away

    def fails_open(self, key: bytes) -> bool:
        return key.startswith(b"m:")

    async def load(self, key: bytes) -> bytes | None:
        self.asked.append(key)
        value = self.values.get(key)
        if isinstance(value, Exception):
            raise value
        return value


class Counted:
    """Statistics: the reads alone."""

    def __init__(self) -> None:
        self.reads: list[bool] = []

    def read(self, *, hit: bool) -> None:
        self.reads.append(hit)


class Gate:
    """A command that goes on when the test says so."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started = 0
        self.ended: list[str] = []

    async def run(self, call: Call) -> Value:
        self.started += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return b"through"


async def load(call: Call) -> Value:
    assert isinstance(call.request, bytes)
    return await call.loads.load(call.request)


async def fails(call: Call) -> Value:
    raise NoLoader(b"k")


async def is_wrong(call: Call) -> Value:
    raise ZeroDivisionError("a defect")


def spec(name: bytes, run: Any, **more: Any) -> CommandSpec:
    """A command that takes one word."""
    return CommandSpec(
        name=name,
        arity=2,
        summary="Is a test's.",
        group="nearhit",
        complexity="O(1)",
        parse=lambda words: words[1],
        run=run,
        **more,
    )


class Own:
    """A proxy with commands of its own and with loaders for keys that begin with ``m:``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gate, self.loads, self.stats = Gate(), Loads(), Counted()
        specs = [
            spec(b"GETORSET", load, probe=lambda key: (b"GET", key)),
            spec(b"PASS", self.gate.run),
            spec(b"FINISH", self.gate.run, finishes=True),
            spec(b"AWAIT", self.gate.run, waits=lambda request: True),
            spec(b"GRANT", self.gate.run, grants=lambda request: True),
            spec(b"FAIL", fails),
            spec(b"DEFECT", is_wrong),
            spec(b"SEND", self.gate.run, sends=lambda request: 400_000),
        ]
        world.context.table = snapshot(
            Ours(
                commands=frozenset(one.name for one in specs),
                reads_through=True,
                near=world.near is not None,
            )
        )
        world.context.loaders = LoaderKeys(b"m:")
        self.uses = 0
        self.refreshes: Any = None
        world.context.scopes = Scopes(specs, self._scope, self._used)

    def _used(self) -> None:
        self.uses += 1

    def _scope(self, key: LaneKey) -> Scope:
        tracked = TrackedLane(self.world.lanes, key, self.world.near)
        asker = Asker(tracked.lane, tracked=True)
        nothing: Any = None
        loads: Any = self.loads
        stats: Any = self.stats
        call = Call(
            request=None,
            upstream=asker,
            bulk=asker,
            loads=loads,
            leases=nothing,
            writes=nothing,
            ours=OurKeys(b""),
            locks=nothing,
            jobs=nothing,
            stats=stats,
            now=lambda: self.world.now,
            sleep=asyncio.sleep,
            refreshes=self.refreshes,
        )
        flights: Any = NoFlights()
        leases: Any = NoFlights()
        return Scope(tracked, flights, leases, nothing, call)


@pytest.fixture
def own(world: World) -> Own:
    return Own(world)


@pytest.fixture
def client(own: Own) -> Client:
    return own.world.client()


@pytest.fixture
async def near_own() -> AsyncIterator[Own]:
    world = World(near=NearCache(1 << 20))
    yield Own(world)
    await world.close()


def tracked(world: World) -> Upstream:
    """The server's end of the newest tracked lane."""
    return [
        wire
        for wire in world.dial.wires
        if any(words[1:2] == [b"TRACKING"] for words in wire.handshake or ())
    ][-1]


# --- GETORSET


async def test_a_value_that_is_there_is_the_answer(own: Own, client: Client) -> None:
    client.send(b"GETORSET", b"k")
    await own.world.settle()
    tracked(own.world).expect(b"GET", b"k")
    tracked(own.world).reply(b"$1\r\n", b"a\r\n")
    await own.world.settle()

    assert client.took() == A
    assert own.loads.asked == []
    assert (own.world.context.turn.hits, own.world.context.turn.misses) == (1, 0)
    assert own.uses == 1  # so that the fleet's counts are kept from now on


@pytest.mark.parametrize("nil", [NIL, b"_\r\n"])
async def test_a_value_that_is_missing_is_loaded(own: Own, client: Client, nil: bytes) -> None:
    own.loads.values[b"k"] = b"a"
    client.send(b"GETORSET", b"k")
    await own.world.settle()
    tracked(own.world).reply(nil)
    await own.world.settle()

    assert client.took() == A
    assert own.loads.asked == [b"k"]
    assert (own.world.context.turn.hits, own.world.context.turn.misses) == (0, 1)


@pytest.mark.parametrize(
    ("name", "told"), [(b"PASS", ["PASS ... (1 more argument)"]), (b"AWAIT", [])]
)
async def test_what_takes_long_is_told_of_unless_it_waits_for_others(
    own: Own, client: Client, name: bytes, told: list[str]
) -> None:
    turn, slow = own.world.context.turn, own.world.context.slow
    turn.stopwatch = lambda: own.world.now
    slow.take(0.1)
    client.send(name, b"secret")
    await own.world.settle()
    own.world.now += 0.25
    own.gate.open.set()
    await own.world.settle()

    assert [one.command for one in slow.slowest] == told


async def test_its_like_may_follow_unanswered_and_others_may_not(own: Own, client: Client) -> None:
    own.loads.values[b"1"] = b"a"
    client.raw(encode([b"GETORSET", b"1"]) + encode([b"GETORSET", b"2"]) + encode([b"PING"]))
    await own.world.settle()
    wire = tracked(own.world)
    wire.expect(b"GET", b"1")
    wire.expect(b"GET", b"2")

    wire.reply(NIL + b"$1\r\nb\r\n")
    await own.world.settle()

    assert client.took() == A + b"$1\r\nb\r\n"
    (behind,) = [one for one in own.world.dial.wires if one.written]
    behind.expect(b"PING")


async def test_it_waits_for_a_command_of_our_own_before_it(own: Own, client: Client) -> None:
    client.send(b"PASS", b"k")
    client.send(b"GETORSET", b"k")
    await own.world.settle()
    assert own.gate.started == 1
    assert own.world.connections == 0

    own.gate.open.set()
    await own.world.settle()
    tracked(own.world).expect(b"GET", b"k")
    tracked(own.world).reply(A)
    await own.world.settle()

    assert client.took() == b"$7\r\nthrough\r\n" + A


async def test_it_waits_for_what_was_asked_before_it(own: Own, client: Client) -> None:
    wire = await shared(own.world, client)
    client.send(b"HGET", b"h", b"f")
    client.send(b"GETORSET", b"k")
    await own.world.settle()
    assert own.world.connections == 1

    wire.reply(b"+1\r\n")
    await own.world.settle()

    tracked(own.world).expect(b"GET", b"k")


async def test_nothing_is_loaded_for_a_client_that_has_left(own: Own, client: Client) -> None:
    client.send(b"GETORSET", b"k")
    await own.world.settle()

    client.leave()
    tracked(own.world).reply(NIL)
    await own.world.settle()

    assert own.loads.asked == []


async def test_with_its_lane_a_read_without_loader_is_lost(own: Own, client: Client) -> None:
    own.loads.values[b"k"] = NoLoader(b"k")
    client.send(b"GETORSET", b"k")
    await own.world.settle()

    tracked(own.world).lose()
    await own.world.settle()

    assert client.took().startswith(LOST)
    assert not client.wire.end


async def test_what_the_lane_took_with_it_a_loader_answers(own: Own, client: Client) -> None:
    own.loads.values |= {b"1": b"a", b"2": NoLoader(b"2"), b"3": b"a"}
    client.raw(b"".join(encode([b"GETORSET", key]) for key in (b"1", b"2", b"3")))
    await own.world.settle()

    tracked(own.world).lose()
    await own.world.settle()

    told = client.took()
    assert told.startswith(A + LOST)
    assert told.endswith(b"\r\n" + A)
    assert own.loads.asked == [b"1", b"2", b"3"]


class Refreshes:
    """Values are stale below 10 ms, and waited for where they are asked for softly."""

    def __init__(self, soft: bool) -> None:
        self.soft = soft
        self.told: list[tuple[bytes, int]] = []

    def timed(self, key: bytes) -> bool:
        return True

    def softly(self, key: bytes, ttl_ms: int) -> bool:
        return self.soft and 0 <= ttl_ms < 10

    def seen(self, key: bytes, ttl_ms: int) -> None:
        self.told.append((key, ttl_ms))

    async def newest(self, key: bytes, value: bytes, ttl_ms: int) -> bytes | None:
        self.told.append((key, ttl_ms))
        return b"newer than " + value


def timed(own: Own, *, soft: bool = False) -> Refreshes:
    """Keys that begin with t: may be stale."""
    loaders = own.world.context.loaders
    assert isinstance(loaders, LoaderKeys)
    loaders.timed_prefix = b"t:"
    own.refreshes = Refreshes(soft)
    return own.refreshes


async def test_of_a_value_that_may_be_stale_it_is_asked_how_long_it_lasts(own: Own) -> None:
    refreshes = timed(own)
    client = own.world.client()
    client.session.timed = True
    client.raw(b"".join(encode([b"GETORSET", key]) for key in (b"1", b"t:", b"2")))
    await own.world.settle()
    wire = tracked(own.world)
    for words in ((b"GET", b"1"), (b"PTTL", b"t:"), (b"GET", b"t:"), (b"GET", b"2")):
        wire.expect(*words)

    wire.reply(A + b":5\r\n" + A + A)
    await own.world.settle()

    assert client.took() == A * 3
    assert refreshes.told == [(b"t:", 5)]


@pytest.mark.parametrize(
    ("ttl", "told"), [(b":5\r\n", b"$12\r\nnewer than a\r\n"), (b":50\r\n", A)]
)
async def test_softly_a_fresh_one_is_waited_for(own: Own, ttl: bytes, told: bytes) -> None:
    timed(own, soft=True)
    client = own.world.client()
    client.raw(b"GETORSET t:\r\n")  # inline
    await own.world.settle()
    wire = tracked(own.world)
    wire.expect(b"PTTL", b"t:")
    wire.expect(b"GET", b"t:")

    wire.reply(ttl + A)
    await own.world.settle()

    assert client.took() == told


async def test_what_is_to_be_kept_near_is_asked_once_how_long_it_lasts(near_own: Own) -> None:
    own, refreshes = near_own, timed(near_own)
    client = own.world.client()
    client.session.timed = True
    client.send(b"GETORSET", b"t:")
    await own.world.settle()
    for _ in range(2):
        wire = tracked(own.world)
        replies = b"+OK\r\n:5\r\n" if b"CACHING" in wire.written else b":5\r\n"
        wire.take()
        wire.reply(replies + A)
        await own.world.settle()
        client.send(b"GETORSET", b"t:")
        await own.world.settle()

    assert refreshes.told[:2] == [(b"t:", 5)] * 2
    assert client.took().startswith(A * 2)


async def test_where_the_server_is_away_a_loader_answers_at_once(own: Own) -> None:
    own.loads.values[b"k"] = b"a"
    client = own.world.client()
    client.send(b"GETORSET", b"k")
    await own.world.settle()
    tracked(own.world).reply(A)
    await own.world.settle()
    assert client.took() == A
    own.loads.away = True
    own.world.dial.refuse = 1_000_000
    tracked(own.world).lose()
    lane = client.session.near.lane
    assert lane is not None
    lane.failing = True  # type: ignore[attr-defined]  # it is a Lane

    client.send(b"GETORSET", b"k")
    await own.world.settle()

    assert client.took() == A
    assert own.loads.asked == [b"k"]


async def test_what_is_skipped_is_loaded_and_not_answered(own: Own, client: Client) -> None:
    await switched(own.world, client, b"SKIP")
    client.send(b"GETORSET", b"k")
    await own.world.settle()
    tracked(own.world).reply(NIL)
    await own.world.settle()

    assert client.took() == b""
    assert own.loads.asked == [b"k"]
    assert client.session.mute == 0


async def test_a_wrong_number_of_words_is_refused(own: Own, client: Client) -> None:
    client.send(b"GETORSET")
    client.send(b"getorset", b"a", b"b")
    await own.world.settle()

    assert client.took() == b"-ERR wrong number of arguments for 'getorset' command\r\n" * 2


@pytest.mark.parametrize("words", [b"GETORSET k\r\n", b" getorset 'k'\r\n"])
async def test_inline_it_is_answered_near_too(near_own: Own, words: bytes) -> None:
    world = near_own.world
    client = world.client()
    await shared(world, client)
    for fill in (b"", OK + b":-1\r\n"):
        client.raw(words)
        await world.settle()
        tracked(world).take()
        tracked(world).reply(fill + A)
        await world.settle()
        assert client.took() == A

    client.raw(words)
    await world.settle()

    assert client.took() == A
    assert tracked(world).quiet


async def test_the_second_read_fills_the_near_cache_and_the_third_is_answered_there(
    near_own: Own,
) -> None:
    world = near_own.world
    client = world.client()
    await shared(world, client)
    for fill in (False, True):
        client.send(b"GETORSET", b"k")
        await world.settle()
        wire = tracked(world)
        if fill:
            wire.expect(b"CLIENT", b"CACHING", b"YES")
            wire.expect(b"PTTL", b"k")
            wire.reply(OK + b":-1\r\n")
        wire.expect(b"GET", b"k")
        wire.reply(A)
        await world.settle()
        assert client.took() == A

    client.send(b"GETORSET", b"k")
    client.send(b"GET", b"k")
    await world.settle()

    assert client.took() == A * 2
    assert tracked(world).quiet


async def test_reads_that_pass_the_near_cache_by_are_told_of(near_own: Own) -> None:
    """Or it would never pay again, whatever they read."""
    world = near_own.world
    client = world.client()
    await shared(world, client)
    client.send(b"GETORSET", b"k")
    await world.settle()
    tracked(world).take()
    tracked(world).reply(A)
    await world.settle()
    space = client.session.near.space
    assert space is not None
    space.worth.look(0, START + 1, 0, 0, 0)

    client.send(b"GETORSET", b"k")
    await world.settle()

    assert space.worth.reads == 1


# --- All others


async def test_a_command_is_answered_in_its_place(own: Own, client: Client) -> None:
    client.send(b"PASS", b"x")
    client.raw(encode([b"HGET", b"h", b"f"]))
    await own.world.settle()
    assert own.gate.started == 1
    assert client.took() == b""
    assert not any(wire.written for wire in own.world.dial.wires)

    own.gate.open.set()
    await own.world.settle()

    assert client.took() == b"$7\r\nthrough\r\n"
    assert any(wire.written for wire in own.world.dial.wires)


async def test_a_command_starts_when_nothing_is_outstanding(own: Own, client: Client) -> None:
    wire = await shared(own.world, client)
    client.send(b"HGET", b"h", b"f")
    client.send(b"PASS", b"x")
    await own.world.settle()
    assert own.gate.started == 0

    wire.reply(b"+1\r\n")
    await own.world.settle()

    assert own.gate.started == 1


async def test_what_is_sent_as_it_starts_may_be_followed_by_its_like_within_a_bound(
    own: Own, client: Client
) -> None:
    for _ in range(3):
        client.send(b"SEND", b"x")
    await own.world.settle()
    assert own.gate.started == 2  # a third would be more than may be outstanding

    own.gate.open.set()
    await own.world.settle()

    assert own.gate.started == 3
    assert client.took() == b"$7\r\nthrough\r\n" * 3


@pytest.mark.parametrize(
    "words", [(b"PASS", b"x"), (b"GETORSET", b"x"), (b"GET", b"x"), (b"HGET", b"h", b"f")]
)
async def test_all_others_wait_for_what_is_being_sent(
    own: Own, client: Client, words: tuple[bytes, ...]
) -> None:
    client.send(b"SEND", b"x")
    client.send(*words)
    await own.world.settle()

    assert own.gate.started == 1
    assert not any(wire.written for wire in own.world.dial.wires)

    own.gate.open.set()
    await own.world.settle()

    assert client.took().startswith(b"$7\r\nthrough\r\n")


async def test_its_error_is_the_answer(own: Own, client: Client) -> None:
    client.send(b"FAIL", b"k")
    client.send(b"PASS")
    await own.world.settle()

    assert client.took() == NoLoader(b"k").line + (
        b"-ERR wrong number of arguments for 'pass' command\r\n"
    )


async def test_a_defect_costs_an_error_and_nothing_else(own: Own, client: Client) -> None:
    client.send(b"DEFECT", b"k")
    client.send(b"FAIL", b"k")
    await own.world.settle()

    assert client.took() == (
        b"-ERR a defect in the proxy: DEFECT failed; see its log\r\n" + NoLoader(b"k").line
    )


async def test_a_command_ends_with_its_client_unless_it_has_to_finish(own: Own) -> None:
    leaving = [own.world.client(), own.world.client()]
    for client, name in zip(leaving, (b"PASS", b"FINISH"), strict=True):
        client.send(name, b"x")
    await own.world.settle()

    for client in leaving:
        client.leave()
    await own.world.settle()
    own.gate.open.set()
    await own.world.settle()

    assert own.gate.ended == ["cancelled", "done"]


async def test_one_that_waits_for_others_is_blocked_meanwhile(own: Own, client: Client) -> None:
    client.send(b"AWAIT", b"x")
    await own.world.settle()
    assert client.session.berth.flags == "b"

    own.gate.open.set()
    await own.world.settle()

    assert client.took() == b"$7\r\nthrough\r\n"
    assert client.session.berth.flags == "N"


async def test_the_end_of_a_client_that_may_get_a_grant_cancels_it(
    own: Own, client: Client
) -> None:
    client.send(b"GRANT", b"x")
    await own.world.settle()
    assert client.session.berth.flags == "N"

    client.finish()
    await own.world.settle()

    assert client.wire.end
    assert own.gate.ended == ["cancelled"]


async def test_a_client_that_asked_for_more_behind_its_grant_is_answered_to_the_end(
    own: Own, client: Client
) -> None:
    client.send(b"GRANT", b"x")
    client.send(b"PASS", b"x")
    await own.world.settle()

    client.finish()
    own.gate.open.set()
    await own.world.settle()

    assert client.took() == 2 * b"$7\r\nthrough\r\n"
    assert own.gate.ended == ["done", "done"]


async def test_the_process_stops_behind_the_answer_to_a_request_for_a_grant(
    own: Own, client: Client
) -> None:
    client.send(b"GRANT", b"x")
    await own.world.settle()

    assert not client.session.drain()
    own.gate.open.set()
    await own.world.settle()

    assert client.took() == b"$7\r\nthrough\r\n"


async def test_a_stranger_runs_none(own: Own) -> None:
    noauth = b"-NOAUTH Authentication required.\r\n"
    own.world.dial.handshake = {b"HELLO": noauth, b"PING": noauth}
    own.world.lanes.shared(own.world.lanes.primary_key).open()
    await own.world.settle()
    stranger = own.world.client()

    stranger.send(b"PASS", b"x")
    await own.world.settle()

    assert stranger.took() == NOAUTH
    assert own.gate.started == 0


async def test_none_runs_in_the_subscribed_mode_of_resp2(own: Own, client: Client) -> None:
    client.send(b"SUBSCRIBE", b"c")
    await own.world.settle()
    own.world.dial.wires[-1].reply(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
    await own.world.settle()
    client.took()

    client.send(b"PASS", b"x")
    await own.world.settle()

    assert client.took().startswith(b"-ERR Can't execute 'pass': only (P|S)SUBSCRIBE")
    assert own.gate.started == 0


async def test_inside_multi_it_is_refused_by_name(own: Own, client: Client) -> None:
    await asked(own.world, client, b"MULTI", reply=OK)
    client.send(b"pass", b"x")
    await own.world.settle()
    own.world.dial.wires[0].expect(b"NEARHIT.pass")

    own.world.dial.wires[0].reply(b"-ERR unknown command\r\n")
    await own.world.settle()

    assert client.took() == b"-ERR PASS " + IN_MULTI.encode() + b"\r\n"


# --- GET and MGET where loaders answer


async def test_reads_of_one_pipeline_are_asked_and_loaded_in_their_order(
    own: Own, client: Client
) -> None:
    own.loads.values[b"m:2"] = b"b"
    client.raw(b"".join(encode([b"GET", b"m:%d" % number]) for number in range(1, 4)))
    await own.world.settle()
    wire = tracked(own.world)
    for number in range(1, 4):
        wire.expect(b"GET", b"m:%d" % number)

    wire.reply(A + NIL + b"-WRONGTYPE no\r\n")
    await own.world.settle()

    assert client.took() == A + b"$1\r\nb\r\n-WRONGTYPE no\r\n"
    assert own.loads.asked == [b"m:2"]
    assert client.session.last == b"*2\r\n$3\r\nGET\r\n"


async def test_reads_of_strangers_keys_stand_in_order_with_those_that_are_loaded(
    own: Own, client: Client
) -> None:
    own.loads.values[b"m:1"] = b"a"
    client.raw(b"".join(encode([b"GET", key]) for key in (b"m:1", b"k", b"m:1")))
    await own.world.settle()
    tracked(own.world).expect(b"GET", b"m:1")
    tracked(own.world).reply(NIL)
    await own.world.settle()
    (other,) = [one for one in own.world.dial.wires if one.written]
    other.expect(b"GET", b"k")
    assert own.world.connections == 2

    other.reply(b"$1\r\nk\r\n")
    await own.world.settle()
    tracked(own.world).expect(b"GET", b"m:1")
    tracked(own.world).reply(A)
    await own.world.settle()

    assert client.took() == A + b"$1\r\nk\r\n" + A


async def test_a_get_of_a_loaders_key_loads_what_is_missing(own: Own, client: Client) -> None:
    own.loads.values[b"m:1"] = b"a"
    client.send(b"GET", b"m:1")
    await own.world.settle()
    tracked(own.world).expect(b"GET", b"m:1")
    tracked(own.world).reply(NIL)
    await own.world.settle()

    assert client.took() == A


async def test_a_get_of_any_other_key_is_a_get(own: Own, client: Client) -> None:
    assert await asked(own.world, client, b"GET", b"k", reply=NIL) == NIL
    assert await asked(own.world, client, b"GET", reply=b"-ERR arity\r\n") == b"-ERR arity\r\n"

    assert own.loads.asked == []
    assert (own.world.context.turn.hits, own.world.context.turn.misses) == (0, 1)


async def test_behind_watch_a_loaders_key_is_read_on_the_lane_that_watches(
    own: Own, client: Client
) -> None:
    await asked(own.world, client, b"WATCH", b"m:1", reply=OK)

    assert await asked(own.world, client, b"GET", b"m:1", reply=NIL) == NIL

    assert own.world.connections == 1
    assert own.loads.asked == []


async def test_near_any_other_key_is_read_on_the_tracked_lane(near_own: Own) -> None:
    world = near_own.world
    client = world.client()
    await shared(world, client)

    client.send(b"GET", b"k")
    await world.settle()
    tracked(world).expect(b"GET", b"k")
    tracked(world).reply(b"_\r\n")
    await world.settle()

    assert client.took() == NIL
    assert near_own.loads.asked == []


async def test_near_any_other_key_behind_another_reply_goes_where_that_comes_from(
    near_own: Own,
) -> None:
    world = near_own.world
    client = world.client()
    wire = await shared(world, client)

    client.send(b"HGET", b"h", b"f")
    client.send(b"GET", b"k")
    await world.settle()

    wire.expect(b"HGET", b"h", b"f")
    wire.expect(b"GET", b"k")


async def test_of_an_mget_the_loaders_keys_that_are_missing_are_loaded(
    own: Own, client: Client
) -> None:
    own.loads.values[b"m:2"] = b"a"
    client.send(b"MGET", b"m:1", b"m:2", b"k")
    await own.world.settle()
    tracked(own.world).expect(b"MGET", b"m:1", b"m:2", b"k")
    tracked(own.world).reply(b"*3\r\n$1\r\nb\r\n$-1\r\n$-1\r\n")
    await own.world.settle()

    assert client.took() == b"*3\r\n$1\r\nb\r\n" + A + NIL
    assert own.loads.asked == [b"m:2"]
    assert own.stats.reads == [True, False, False]


async def test_one_load_that_fails_fails_the_mget(own: Own, client: Client) -> None:
    error = LoadError("people", "no database")
    own.loads.values |= {b"m:1": b"a", b"m:2": error}
    client.send(b"MGET", b"m:1", b"m:2")
    await own.world.settle()
    tracked(own.world).reply(b"*2\r\n$-1\r\n$-1\r\n")
    await own.world.settle()

    assert client.took() == error.line


@pytest.mark.parametrize(("keys", "loaded"), [((b"m:1",), True), ((b"m:1", b"k"), False)])
async def test_where_a_node_is_away_loaders_make_up_for_an_mget_of_their_keys(
    own: Own, client: Client, keys: tuple[bytes, ...], loaded: bool
) -> None:
    own.loads.values[b"m:1"] = b"a"
    error = UpstreamDown("refused").line
    client.send(b"MGET", *keys)
    await own.world.settle()
    tracked(own.world).reply(error)
    await own.world.settle()

    assert client.took() == (b"*1\r\n" + A if loaded else error)


async def test_an_odd_reply_to_an_mget_with_loaders_keys_is_told(own: Own, client: Client) -> None:
    client.send(b"MGET", b"m:1", b"m:2")
    await own.world.settle()
    tracked(own.world).reply(b"*1\r\n$-1\r\n")
    await own.world.settle()

    assert client.took() == OddReply("MGET").line


async def test_an_mget_with_loaders_keys_starts_when_nothing_is_outstanding(
    own: Own, client: Client
) -> None:
    wire = await shared(own.world, client)
    client.raw(encode([b"HGET", b"h", b"f"]))
    client.send(b"MGET", b"m:1")
    await own.world.settle()
    assert own.world.connections == 1

    wire.reply(b"+1\r\n")
    await own.world.settle()

    tracked(own.world).expect(b"MGET", b"m:1")


# --- What is near of many ---------------------------------------------------------------------


def known(
    there: Mapping[bytes, bytes | None], keys: list[bytes]
) -> tuple[Known | None, Space, SimpleNamespace]:
    """What a session is told of these keys, the space it looked in, and its turn."""
    space = NearCache(1 << 20).space(0, None)
    for key, reply in there.items():
        ticket = space.reserve(key)
        assert ticket is not None
        assert space.fill(ticket, reply, -2 if reply is None else 60_000, 0.0)
    turn = SimpleNamespace(clock=lambda: 1.0, hits=0, near_hits=0)
    session = SimpleNamespace(near=SimpleNamespace(space=space), context=SimpleNamespace(turn=turn))
    return own_acts._known_near(cast(Any, session), keys), space, turn


def test_of_many_what_is_near_is_known_and_the_rest_is_named() -> None:
    a, c = b"$1\r\na\r\n", b"$1\r\nc\r\n"

    found, space, turn = known({b"a": a, b"c": c}, [b"a", b"b", b"c", b"d", b"a"])

    assert found is not None
    assert found.told == b"*5\r\n" + a + c + a
    assert found.missing == [b"b", b"d"]
    assert (turn.hits, space.hits, space.misses) == (3, 3, 2)


def test_many_may_all_be_near() -> None:
    found, *_ = known({b"a": b"$1\r\na\r\n"}, [b"a"])

    assert found == Known(b"*1\r\n$1\r\na\r\n", [], [])


@pytest.mark.parametrize(
    "there",
    [{}, {b"a": b"$1\r\na\r\n", b"b": None}],
    ids=["nothing is near", "one is near as what is not there: it may have to be loaded"],
)
def test_all_of_many_are_asked_for(there: Mapping[bytes, bytes | None]) -> None:
    for _ in range(3):  # at first sight, and when they have been seen before
        found, space, turn = known(there, [b"a", b"b"])

        assert found is None
        assert (turn.hits, space.hits) == (0, 0)
