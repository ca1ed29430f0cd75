"""Batches: what is put together, when a call goes out, and that each key gets its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from nearhit.proxy.loading.batch import Batches
from nearhit.proxy.loading.source import Loaded, SourceError

from tests.fakes import Tasks, settle


class Desk:
    """A source whose calls end when the test says so."""

    def __init__(self, most: int, calls: int, seconds: float) -> None:
        self.tasks = Tasks()
        self.asked: list[list[bytes]] = []
        self.ends: list[asyncio.Future[Sequence[Loaded | SourceError]]] = []
        self.batches = Batches(self.call, most=most, calls=calls, seconds=seconds)

    async def call(self, keys: Sequence[bytes]) -> Sequence[Loaded | SourceError]:
        self.asked.append(list(keys))
        self.ends.append(asyncio.get_running_loop().create_future())
        return await self.ends[-1]

    def load(self, key: bytes) -> asyncio.Task[Loaded]:
        return asyncio.get_running_loop().create_task(self.batches.load(key, self.tasks.start))

    async def bring(self, at: int) -> None:
        self.ends[at].set_result([Loaded(b"v" + key) for key in self.asked[at]])
        await settle()


@asynccontextmanager
async def desk(most: int = 3, calls: int = 2, seconds: float = 60) -> AsyncIterator[Desk]:
    here = Desk(most, calls, seconds)
    yield here
    await here.tasks.stop()


async def test_keys_of_one_turn_are_one_call() -> None:
    async with desk() as here:
        loads = [here.load(key) for key in (b"a", b"b")]
        await settle()
        assert here.asked == [[b"a", b"b"]]
        await here.bring(0)

        assert [await load for load in loads] == [Loaded(b"va"), Loaded(b"vb")]


async def test_a_call_waits_for_takes_that_were_under_way_and_for_no_later_one() -> None:
    async with desk() as here:
        first, second = (here.batches.coming(here.tasks.start) for _ in range(2))
        with first:
            here.load(b"a")
            await settle()
            assert not here.asked
            with second:
                here.load(b"b")
                await settle()
            assert not here.asked
        await settle()
        assert here.asked == [[b"a", b"b"]]

        with here.batches.coming(here.tasks.start):
            pass
        here.load(b"c")
        with here.batches.coming(here.tasks.start):
            await settle()
        assert here.asked[-1] in ([b"c"], [b"a", b"b"])
        await settle()
        assert here.asked[-1] == [b"c"]


async def test_nobody_waits_longer_than_a_moment_for_a_take_without_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nearhit.proxy.loading.batch.LINGER", 0)
    async with desk() as here:
        with here.batches.coming(here.tasks.start):
            here.load(b"a")
            while not here.asked:
                await asyncio.sleep(0)
        assert here.asked == [[b"a"]]


async def test_a_full_batch_goes_at_once_and_what_is_left_when_a_call_has_ended() -> None:
    async with desk(most=2, calls=1) as here:
        with here.batches.coming(here.tasks.start):
            loads = [here.load(key) for key in (b"a", b"b", b"c")]
            await settle()
            assert here.asked == [[b"a", b"b"]]
        assert repr(here.batches) == "<Batches running=1/1 waiting=1>"
        await here.bring(0)
        assert here.asked[1:] == [[b"c"]]
        await here.bring(1)

        assert [(await load).value for load in loads] == [b"va", b"vb", b"vc"]


async def test_each_key_has_its_own_outcome() -> None:
    async with desk() as here:
        good, bad = here.load(b"a"), here.load(b"b")
        await settle()
        here.ends[0].set_result([Loaded(None), SourceError("no")])

        assert await good == Loaded(None)
        with pytest.raises(SourceError, match=r"^no$"):
            await bad


@pytest.mark.parametrize("error", [SourceError("down"), ZeroDivisionError("down")])
async def test_a_call_that_fails_fails_all_of_its_keys(error: Exception) -> None:
    async with desk() as here:
        loads = [here.load(key) for key in (b"a", b"b")]
        await settle()
        here.ends[0].set_exception(error)

        for load in loads:
            with pytest.raises(type(error), match="down"):
                await load


async def test_an_outcome_too_few_is_a_defect_that_fails_all_of_its_keys() -> None:
    async with desk() as here:
        loads = [here.load(key) for key in (b"a", b"b")]
        await settle()
        here.ends[0].set_result([Loaded(b"v")])

        for load in loads:
            with pytest.raises(AssertionError):
                await load


async def test_a_call_without_end_is_ended_and_its_place_is_free() -> None:
    async with desk(calls=1, seconds=0.001) as here:
        with pytest.raises(SourceError, match="no answer in 1 ms"):
            await here.load(b"a")
        here.load(b"b")
        await settle()

        assert here.asked == [[b"a"], [b"b"]]


async def test_who_gives_up_is_not_asked_for_and_takes_nobody_with_it() -> None:
    async with desk() as here:
        with here.batches.coming(here.tasks.start):
            gone, stays = here.load(b"a"), here.load(b"b")
            await settle()
            gone.cancel()
        await settle()
        assert here.asked == [[b"b"]]
        late = here.load(b"c")
        await settle()
        late.cancel()
        await settle()
        await here.bring(1)
        await here.bring(0)

        assert (await stays).value == b"vb"


async def test_a_process_that_stops_leaves_nobody_waiting() -> None:
    async with desk() as here:
        load = here.load(b"a")
        await settle()
        await here.tasks.stop()

        with pytest.raises(SourceError, match="was ended"):
            await load
