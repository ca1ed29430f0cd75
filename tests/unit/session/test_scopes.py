"""Each db and user has its own flights, locks and lanes; commands are run with theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from nearhit.proxy.custom.spec import Call, CommandSpec
from nearhit.proxy.errors import (
    BadInput,
    NoLoader,
    ProxyError,
    ServerError,
    UpstreamDown,
    UpstreamLost,
    WrongArity,
)
from nearhit.proxy.keys.ours import OurKeys
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.session.scopes import IDLE_TICKS, Scope, Scopes
from nearhit.proxy.upstream.lane_key import LaneKey, Use, User


class Tracked:
    """A tracked lane that nobody uses, unless it is said."""

    def __init__(self) -> None:
        self.idle = True
        self.tracking = False
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1


class Running:
    """Loads or leases of one db and user."""

    def __init__(self) -> None:
        self.voided: list[bytes] = []
        self.ticks = 0

    def void(self, keys: Sequence[bytes]) -> None:
        self.voided += keys

    def tick(self) -> None:
        self.ticks += 1


class Flights(Running):
    """Loads, and the leases beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Running()


class Server:
    """What the server answers to everything, and what the statistics heard of it."""

    def __init__(self) -> None:
        self.value: Value = None
        self.known_away = False
        self.asked: list[tuple[bytes, ...]] = []
        self.reads: list[bool] = []

    async def ask(self, *words: bytes) -> Value:
        self.asked.append(words)
        if isinstance(self.value, ProxyError):
            raise self.value
        return self.value

    def alone(self, key: bytes) -> bool:
        return self.known_away and key == b"k"

    def fails_open(self, key: bytes) -> bool:
        return False

    def read(self, *, hit: bool) -> None:
        self.reads.append(hit)


async def echo(call: Call) -> Value:
    assert isinstance(call.request, bytes)
    if call.request == b"nobody's":
        raise NoLoader(b"k")
    return b"ran " + call.request


def parse(words: Sequence[bytes]) -> bytes:
    if words[1] == b"bad":
        raise BadInput("syntax error")
    return words[1]


ECHO = CommandSpec(
    name=b"ECHOED",
    arity=2,
    summary="Is a test's.",
    group="nearhit",
    complexity="O(1)",
    parse=parse,
    run=echo,
)
PROBED = CommandSpec(
    name=b"PROBED",
    arity=-2,
    summary="Is a test's.",
    group="nearhit",
    complexity="O(1)",
    parse=parse,
    run=echo,
    probe=lambda request: (b"GET", b"k"),
)
HERE = LaneKey()


class Built:
    """Scopes, and what was built for them."""

    def __init__(self) -> None:
        self.server = Server()
        self.keys: list[LaneKey] = []
        self.scopes = Scopes((ECHO, PROBED), self._build)

    def _build(self, key: LaneKey) -> Scope:
        self.keys.append(key)
        server: Any = self.server
        nothing: Any = None
        tracked: Any = Tracked()
        flights: Any = Flights()
        leases: Any = flights.leases
        call = Call(
            request=None,
            upstream=server,
            bulk=server,
            loads=server,
            leases=nothing,
            writes=nothing,
            locks=nothing,
            jobs=nothing,
            stats=server,
            ours=OurKeys(b""),
            now=lambda: 1.0,
            sleep=asyncio.sleep,
        )
        return Scope(tracked, flights, leases, nothing, call)

    def fakes(self, key: LaneKey) -> tuple[Any, Any]:
        scope = self.scopes.scope(key)
        return scope.tracked, scope.flights


@pytest.fixture
def built() -> Built:
    return Built()


def test_a_db_and_a_user_have_one_scope_whatever_their_lane_is_for(built: Built) -> None:
    one = built.scopes.scope(LaneKey(db=1))

    assert built.scopes.scope(LaneKey(db=1, resp=3, use=Use.SCRIPTS)) is one
    assert built.scopes.scope(LaneKey(db=2)) is not one
    assert built.scopes.scope(LaneKey(db=1, user=User(b"a", b"p"))) is not one
    assert len(built.keys) == 3
    assert repr(built.scopes) == "<Scopes 2 scopes=3>"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([b"NOSUCH"], BadInput("unknown command 'NOSUCH'")),
        ([b"ECHOED"], WrongArity("ECHOED")),
        ([b"ECHOED", b"a", b"b"], WrongArity("ECHOED")),
        ([b"ECHOED", b"bad"], BadInput("syntax error")),
    ],
)
def test_words_that_are_no_request_are_refused(
    built: Built, words: list[bytes], error: BadInput
) -> None:
    with pytest.raises(BadInput) as raised:
        built.scopes.parse(words)

    assert raised.value.line == error.line


async def test_a_request_is_run_with_what_its_db_has(built: Built) -> None:
    assert built.scopes.parse([b"echoed", b"x"]) == (ECHO, b"x")

    assert await built.scopes.ask([b"echoed", b"x"], HERE) == b"ran x"

    assert built.server.asked == []


@pytest.mark.parametrize(("there", "answer"), [(b"v", b"v"), (b"", b""), (None, b"ran x")])
async def test_what_a_probe_finds_is_the_answer(built: Built, there: Value, answer: bytes) -> None:
    built.server.value = there

    assert await built.scopes.ask([b"PROBED", b"x"], HERE) == answer

    assert built.server.asked == [(b"GET", b"k")]
    assert built.server.reads == [there is not None]


@pytest.mark.parametrize("why", [UpstreamDown("refused"), UpstreamLost("reset")])
async def test_a_probe_that_finds_no_server_leaves_it_to_the_command(
    built: Built, why: ProxyError
) -> None:
    built.server.value = why

    assert await built.scopes.ask([b"PROBED", b"x"], HERE) == b"ran x"

    with pytest.raises(type(why)):  # no loader makes up for the server
        await built.scopes.ask([b"PROBED", b"nobody's"], HERE)
    assert built.server.reads == []


async def test_where_the_server_is_known_to_be_away_no_probe_waits_for_it(built: Built) -> None:
    built.server.known_away = True

    assert await built.scopes.ask([b"PROBED", b"x"], HERE) == b"ran x"
    with pytest.raises(NoLoader):
        await built.scopes.ask([b"PROBED", b"nobody's"], HERE)

    assert built.server.asked == []


async def test_what_the_server_itself_says_to_a_probe_is_the_answer(built: Built) -> None:
    built.server.value = ServerError(b"-WRONGTYPE no string")

    with pytest.raises(ServerError, match="WRONGTYPE"):
        await built.scopes.ask([b"PROBED", b"x"], HERE)


def test_a_write_voids_the_loads_of_all_users_of_its_db(built: Built) -> None:
    mine, theirs, elsewhere = HERE, LaneKey(user=User(b"a", b"p")), LaneKey(db=1)
    flights = [built.fakes(key)[1] for key in (mine, theirs, elsewhere)]

    built.scopes.void(LaneKey(resp=3), [b"k"])

    assert [one.voided for one in flights] == [[b"k"], [b"k"], []]


def test_one_server_that_tells_of_changes_is_enough(built: Built) -> None:
    assert not built.scopes.tracking
    built.fakes(HERE)[0].tracking = False
    built.fakes(LaneKey(db=1))[0].tracking = True

    assert built.scopes.tracking


def test_an_idle_scope_is_forgotten_and_a_used_one_is_not(built: Built) -> None:
    idle, used = LaneKey(db=1), LaneKey(db=2)
    built.fakes(used)[0].idle = False
    tracked, flights = built.fakes(idle)

    for _ in range(IDLE_TICKS):
        built.scopes.tick()
    assert repr(built.scopes) == "<Scopes 2 scopes=2>"
    built.scopes.tick()

    assert repr(built.scopes) == "<Scopes 2 scopes=1>"
    assert (tracked.ticks, flights.leases.ticks) == (IDLE_TICKS + 1, IDLE_TICKS + 1)


def test_whoever_asks_keeps_a_scope_for_another_while(built: Built) -> None:
    for _ in range(IDLE_TICKS):
        built.scopes.scope(HERE)
        built.scopes.tick()
    built.scopes.scope(HERE)
    built.scopes.tick()

    assert repr(built.scopes) == "<Scopes 2 scopes=1>"
