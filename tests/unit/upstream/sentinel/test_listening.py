"""Events of Sentinels: heard from several, and again after each loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.settings.address import Tcp
from nearhit.proxy.upstream.sentinel import listening as module
from nearhit.proxy.upstream.sentinel.answers import CHANGES, Change, Event
from nearhit.proxy.upstream.sentinel.listening import Listening
from nearhit.proxy.upstream.sentinel.sentinels import Sentinels

from tests.fakes import Tasks
from tests.sentinel.fake import NEW, FakeSentinel, sentinels, until, upstream_of


class Bench:
    def __init__(self, made: list[FakeSentinel]) -> None:
        self.made = made
        self.tasks = Tasks()
        self.told: list[tuple[Tcp, Event]] = []
        self.looks = 0
        self.listening = Listening(
            Sentinels(upstream_of(made), None),
            lambda *told: self.told.append(told),
            self.look,
            sleep=lambda _: asyncio.sleep(0.001),
        )

    def look(self) -> None:
        self.looks += 1

    async def hear(self, ears: int = 3) -> None:
        for _ in range(ears):
            self.tasks.start(self.listening.run())
        await until(lambda: self.listening.hearing == min(ears, len(self.made)))


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(module, "AGAIN", 0.002)
    async with sentinels() as made:
        bench = Bench(made)
        yield bench
        await bench.tasks.stop()


async def test_each_ear_has_a_sentinel_of_its_own(bench: Bench) -> None:
    await bench.hear(5)

    assert [one.heard for one in bench.made] == [1, 1, 1]
    assert bench.made[0].asked(b"SUBSCRIBE") == len(CHANGES)
    assert bench.looks == 3
    assert repr(bench.listening) == "<Listening to 3 of 3>"


async def test_an_event_is_told_with_its_teller(bench: Bench) -> None:
    await bench.hear()

    bench.made[1].say("+switch-master", "m 10.0.0.1 6379 10.0.0.2 6379")
    bench.made[1].say("+switch-master", "nonsense")

    await until(lambda: bench.told)
    assert bench.told == [(bench.made[1].address, Event(Change.MOVED, "m", NEW))]


async def test_a_lost_sentinel_is_replaced_and_a_look_made(bench: Bench) -> None:
    await bench.hear(1)
    heard = next(one for one in bench.made if one.heard)
    looks = bench.looks

    heard.stop()

    await until(lambda: any(one.heard for one in bench.made if one is not heard))
    await until(lambda: bench.looks >= looks + 2)


async def test_it_is_heard_again_once_it_is_back(bench: Bench) -> None:
    await bench.hear()
    for one in bench.made:
        one.stop()
    await until(lambda: bench.listening.hearing == 0)

    for one in bench.made:
        await one.start()

    await until(lambda: bench.listening.hearing == 3)


async def test_a_silent_one_is_noticed_by_ping(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_EVERY", 0.002)
    monkeypatch.setattr(module, "PONG_WITHIN", 0.005)
    await bench.hear(3)
    await until(lambda: bench.made[0].asked(b"PING"))

    bench.made[0].mute = True

    await until(lambda: bench.listening.hearing == 2)


async def test_one_that_refuses_is_left_for_another(bench: Bench) -> None:
    bench.made[0].refusal = b"-NOPERM no channels for you\r\n"

    for _ in range(2):
        bench.tasks.start(bench.listening.run())

    await until(lambda: bench.made[1].heard + bench.made[2].heard == 2)


async def test_one_that_is_known_no_more_is_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_EVERY", 0.002)
    await bench.hear()

    bench.listening._sentinels.known.remove(bench.made[2].address)

    await until(lambda: bench.made[2].heard == 0 or bench.listening.hearing == 2)


async def test_a_defect_does_not_end_an_ear(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    real = bench.listening._sentinels.connect
    monkeypatch.setattr(bench.listening._sentinels, "connect", broken)
    bench.tasks.start(bench.listening.run())
    await until(lambda: "listening to a Sentinel failed" in caplog.text)
    monkeypatch.setattr(bench.listening._sentinels, "connect", real)

    await until(lambda: bench.listening.hearing == 1)
