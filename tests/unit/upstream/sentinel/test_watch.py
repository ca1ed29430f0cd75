"""Who the master is: by answers, by events, and what becomes of doubts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.settings.address import Tcp
from nearhit.proxy.upstream.sentinel import watch as module
from nearhit.proxy.upstream.sentinel.answers import Change, Event, Naming
from nearhit.proxy.upstream.sentinel.sentinels import Sentinels
from nearhit.proxy.upstream.sentinel.watch import Trust, Watch

from tests.fakes import Tasks, settle
from tests.sentinel.fake import NEW, OLD, FakeSentinel, sentinels, until, upstream_of

OTHER = Tcp("10.0.0.3", 6379)
SWITCH = Event(Change.MOVED, "m", NEW)


class Bench:
    def __init__(self, made: list[FakeSentinel]) -> None:
        self.made = made
        self.tasks = Tasks()
        self.watch = Watch(Sentinels(upstream_of(made), None), asyncio.get_running_loop().time)
        self.moves: list[tuple[str, str]] = []
        self.failovers: list[Change] = []
        self.watch.moved.append(lambda old, new: self.moves.append((str(old), str(new))))
        self.watch.failover = self.failovers.append

    def promote(self, *those: int) -> None:
        for number in those:
            self.made[number].master, self.made[number].epoch = NEW, 2


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(module, "POLL", 0.005)
    monkeypatch.setattr(module, "APART", 0.001)
    async with sentinels() as made:
        bench = Bench(made)
        yield bench
        await bench.tasks.stop()
        bench.watch.sentinels.close()


async def test_the_first_look_names_the_master(bench: Bench) -> None:
    assert bench.watch.trust is Trust.SOUGHT

    await bench.watch.look()

    assert bench.watch.naming == Naming(OLD, 1)
    assert await bench.watch.named() == OLD
    assert not bench.moves
    assert repr(bench.watch) == "<Watch m NAMED 10.0.0.1:6379>"


async def test_who_asks_before_the_first_answer_waits_for_it(bench: Bench) -> None:
    bench.tasks.start(bench.watch.run())

    assert await bench.watch.named() == OLD


async def test_without_any_answer_the_reason_is_told_and_logged_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for one in bench.made:
        one.master = None
    bench.tasks.start(bench.watch.run())

    for _ in range(3):
        with pytest.raises(ConnectionError, match=r"none of 3 Sentinels .* no such master: m"):
            await bench.watch.named()

    assert [record.message for record in caplog.records] == ["sentinels silent"]

    bench.made[1].master = OLD
    await until(lambda: bench.watch.trust is Trust.NAMED)


async def test_a_poll_asks_one_and_finds_that_the_master_has_moved(bench: Bench) -> None:
    bench.tasks.start(bench.watch.run())
    await bench.watch.named()

    bench.promote(0)

    await until(lambda: bench.moves)
    assert bench.moves == [("10.0.0.1:6379", "10.0.0.2:6379")]
    # The other two still name the old one, with the old epoch: each poll passes it over.
    asked = sum(len(one.seen) for one in bench.made)
    await until(lambda: sum(len(one.seen) for one in bench.made) > asked + 40)
    assert bench.watch.naming == Naming(NEW, 2)
    assert len(bench.moves) == 1


async def test_a_switch_is_believed_at_once(bench: Bench) -> None:
    await bench.watch.look()

    bench.watch.told(bench.made[0].address, SWITCH)

    assert bench.watch.naming == Naming(NEW, 2)
    assert len(bench.moves) == 1
    assert await bench.watch.named() == NEW
    bench.watch.told(bench.made[1].address, SWITCH)
    assert len(bench.moves) == 1


async def test_an_answer_that_was_on_its_way_at_the_switch_is_none(bench: Bench) -> None:
    await bench.watch.look()
    bench.watch.doubt()
    looking = asyncio.ensure_future(bench.watch.look())
    await asyncio.sleep(0)

    bench.watch.told(bench.made[0].address, SWITCH)
    await looking

    assert bench.watch.naming == Naming(NEW, 2)


async def test_those_who_are_late_do_not_bring_the_old_master_back(bench: Bench) -> None:
    await bench.watch.look()
    bench.promote(0)
    bench.watch.told(bench.made[0].address, SWITCH)

    bench.watch.doubt()
    await bench.watch.look()

    assert bench.watch.naming == Naming(NEW, 2)
    assert len(bench.moves) == 1


async def test_events_of_other_masters_are_passed_over(bench: Bench) -> None:
    await bench.watch.look()

    bench.watch.told(bench.made[0].address, Event(Change.MOVED, "other", NEW))
    bench.watch.told(bench.made[0].address, Event(Change.BEGINS, "other"))

    assert bench.watch.naming == Naming(OLD, 1)
    assert not bench.failovers


async def test_a_switch_to_where_we_are_is_none(bench: Bench) -> None:
    await bench.watch.look()

    bench.watch.told(bench.made[0].address, Event(Change.MOVED, "m", OLD))

    assert bench.watch.naming == Naming(OLD, 1)


async def test_a_switch_before_the_first_answer_waits_for_it(bench: Bench) -> None:
    bench.watch.told(bench.made[0].address, SWITCH)

    assert bench.watch.trust is Trust.SOUGHT
    await bench.watch.look()
    assert bench.watch.naming == Naming(OLD, 1)
    assert not bench.watch._tellers


@pytest.mark.parametrize("doubted", [False, True])
async def test_who_tells_of_a_promotion_is_asked_alone(bench: Bench, doubted: bool) -> None:
    await bench.watch.look()
    bench.promote(1)
    if doubted:
        bench.watch.doubt()
    seen = len(bench.made[0].seen)

    bench.watch.told(bench.made[1].address, Event(Change.LOOK, "m"))
    await bench.watch.look()

    assert bench.watch.naming == Naming(NEW, 2)
    assert len(bench.made[0].seen) == seen


async def test_failovers_are_told(bench: Bench) -> None:
    bench.watch.told(bench.made[0].address, Event(Change.BEGINS, "m"))
    bench.watch.told(bench.made[0].address, Event(Change.ABORTED, "m"))

    assert bench.failovers == [Change.BEGINS, Change.ABORTED]


async def test_after_a_doubt_nobody_is_named_until_a_sentinel_says_so_again(bench: Bench) -> None:
    await bench.watch.look()
    bench.watch.doubt()
    named = asyncio.ensure_future(bench.watch.named())
    await settle()
    assert not named.done()

    await bench.watch.look()

    assert await named == OLD
    assert not bench.moves


async def test_a_doubt_while_all_sentinels_are_gone_fails(bench: Bench) -> None:
    await bench.watch.look()
    for one in bench.made:
        one.stop()
    bench.watch.doubt()
    bench.tasks.start(bench.watch.run())

    with pytest.raises(ConnectionError, match="none of 3 Sentinels names it"):
        await bench.watch.named()

    for one in bench.made:
        await one.start()
    await until(lambda: bench.watch.trust is Trust.NAMED)
    assert await bench.watch.named() == OLD


async def test_sentinels_that_are_all_cut_off_since_are_not_believed(bench: Bench) -> None:
    await bench.watch.look()
    bench.promote(0)
    bench.watch.told(bench.made[0].address, SWITCH)
    bench.made[0].stop()
    bench.made[1].stop()
    bench.watch.doubt()

    await bench.watch.look()

    assert bench.watch.trust is Trust.DOUBTED
    assert "older master" in str(bench.watch.why)


async def test_looks_because_of_doubts_are_apart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "APART", 60.0)
    bench.tasks.start(bench.watch.run())
    await bench.watch.named()
    asked = [len(one.seen) for one in bench.made]

    for _ in range(50):
        bench.watch.doubt()
        await settle()

    assert [len(one.seen) for one in bench.made] == asked


async def test_a_defect_does_not_end_the_watch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> object:
        raise RuntimeError("a defect")

    real = bench.watch.sentinels.each
    monkeypatch.setattr(bench.watch.sentinels, "each", broken)
    bench.tasks.start(bench.watch.run())
    await until(lambda: caplog.records)
    monkeypatch.setattr(bench.watch.sentinels, "each", real)

    assert await bench.watch.named() == OLD
    assert "looking for the master failed" in caplog.text


async def test_tellers_are_bounded(bench: Bench) -> None:
    await bench.watch.look()

    for number in range(1, 99):
        bench.watch.told(Tcp("h", number), Event(Change.LOOK, "m"))

    assert len(bench.watch._tellers) == module.TELLERS_MAX


async def test_a_poll_meets_a_dead_sentinel_in_its_turn_only(bench: Bench) -> None:
    bench.tasks.start(bench.watch.run())
    await bench.watch.named()
    bench.made[0].stop()

    alive = bench.made[1]
    seen = len(alive.seen)
    await until(lambda: len(alive.seen) > seen + 12)

    assert bench.watch.trust is Trust.NAMED
    assert not bench.moves
