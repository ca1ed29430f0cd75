"""What a new connection would be asked for, told by RESET, AUTH and HELLO on one that stands."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.errors import UpstreamDown
from nearhit.proxy.settings.address import Upstream as Address
from nearhit.proxy.upstream.ask import Reply
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.lanes import Lanes
from nearhit.proxy.upstream.newcomers import Newcomers, barred_by

from tests.fakes import FakeDial, Tasks, settle

HELLO = b"*2\r\n$5\r\nproto\r\n:2\r\n"
NOAUTH = b"-NOAUTH HELLO must be called with the client already authenticated\r\n"
WRONGPASS = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"


@pytest.mark.parametrize(
    ("replies", "barred"),
    [
        ([HELLO], False),
        ([NOAUTH], True),
        ([b"+OK\r\n", HELLO], False),
        ([WRONGPASS, HELLO], True),
        ([b"-ERR unknown command 'HELLO'\r\n"], False),
        ([b"-LOADING Redis is loading\r\n"], None),
        ([UpstreamDown("away")], None),
    ],
)
def test_barred_is_who_would_not_be_let_in(replies: list[Reply], barred: bool | None) -> None:
    assert barred_by(replies) is barred


class Bench:
    def __init__(self, url: str = "redis://h") -> None:
        self.dial = FakeDial()
        self.dial.upstream = Address.parse(url)
        self.dial.answer = self._answer
        self.tasks = Tasks()
        self.hello = HELLO
        self.reset = b"+RESET\r\n"
        self.auth = b"+OK\r\n"
        self.changes = 0
        self.lanes = Lanes(
            self.dial,
            self.tasks.start,
            timeout_s=3,
            offline_max=1000,
            on_ready=lambda lane: None,
            on_refused=lambda lane, why: None,
        )
        self.newcomers = self.lanes.newcomers
        self.newcomers.changed = self._changed

    def _answer(self, words: list[bytes]) -> bytes:
        return {b"HELLO": self.hello, b"RESET": self.reset, b"AUTH": self.auth}[words[0]]

    def _changed(self) -> None:
        self.changes += 1

    async def look(self) -> Newcomers:
        done: list[bool] = []
        self.newcomers.look(lambda: done.append(self.newcomers.barred))
        await settle()
        assert done == [self.newcomers.barred]
        return self.newcomers


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.lanes.close()
    await bench.tasks.stop()


async def test_each_time_they_are_barred_an_era_begins(bench: Bench) -> None:
    told: list[tuple[bool, int, int]] = []
    for bench.hello in (HELLO, NOAUTH, NOAUTH, HELLO, NOAUTH):
        newcomers = await bench.look()
        told.append((newcomers.barred, newcomers.era, bench.changes))

    assert told == [(False, 0, 0), (True, 1, 1), (True, 1, 1), (False, 1, 2), (True, 2, 3)]
    assert bench.lanes.newcomer_key == LaneKey(era=2)
    assert bench.lanes.locked(LaneKey(era=2))
    assert not bench.lanes.locked(LaneKey())
    assert len(bench.dial.wires) == 1


async def test_the_proxy_s_own_login_is_what_is_asked_about() -> None:
    bench = Bench("redis://bob:pw@h")

    await bench.look()
    assert bench.dial.seen == [[b"RESET"], [b"AUTH", b"bob", b"pw"], [b"HELLO"]]
    bench.auth = WRONGPASS
    await bench.look()

    assert bench.newcomers.barred
    assert "pw" not in repr(bench.newcomers)
    bench.lanes.close()
    await bench.tasks.stop()


async def test_a_server_without_reset_is_asked_on_a_new_connection_each_time(bench: Bench) -> None:
    bench.reset = b"-ERR unknown command 'RESET'\r\n"
    await bench.look()
    bench.hello = NOAUTH

    assert (await bench.look()).barred
    bench.hello = HELLO
    assert not (await bench.look()).barred

    assert len(bench.dial.wires) == 3


async def test_a_tick_asks_nothing_while_an_answer_is_out(bench: Bench) -> None:
    bench.dial.mute = True
    for _ in range(3):
        bench.newcomers.tick()
    await settle()

    assert len(bench.lanes.asking().offline) == 2


async def test_a_server_that_is_away_changes_nothing(bench: Bench) -> None:
    bench.hello = NOAUTH
    assert (await bench.look()).barred
    bench.lanes.close()

    bench.dial.refuse = 3
    bench.newcomers.look()
    await settle()
    assert bench.newcomers.barred
