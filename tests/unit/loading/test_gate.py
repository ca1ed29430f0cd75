"""The gate: so many at once, first come first served, live callers before warming ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.loading.gate import Gate

from tests.fakes import Tasks, settle


class Callers:
    """Loads that stay at their place until they are told to end."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.tasks = Tasks()
        self.inside: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> None:
        """Names that begin with w are warming."""
        for name in names:
            self.tasks.start(self._load(name))
            await settle()

    async def _load(self, name: str) -> None:
        self.ends[name] = asyncio.Event()
        async with self.gate.turn(name.startswith("w")):
            self.inside.append(name)
            try:
                await self.ends[name].wait()
            finally:
                self.inside.remove(name)

    async def end(self, *names: str) -> None:
        for name in names:
            self.ends[name].set()
        await settle()


@pytest.fixture
async def callers() -> AsyncIterator[Callers]:
    callers = Callers(Gate(4))
    yield callers
    await callers.tasks.stop()
    assert repr(callers.gate) == "<Gate running=0/4 warming=0 waiting=0>"


async def test_no_more_than_the_places_run_at_once(callers: Callers) -> None:
    await callers.come("1", "2", "3", "4", "5", "6")

    assert callers.inside == ["1", "2", "3", "4"]
    assert repr(callers.gate) == "<Gate running=4/4 warming=0 waiting=2>"


async def test_who_came_first_is_next(callers: Callers) -> None:
    await callers.come("1", "2", "3", "4", "5", "6", "7")

    await callers.end("3", "1")

    assert callers.inside == ["2", "4", "5", "6"]


async def test_warming_leaves_a_quarter_of_the_places_to_live_callers(callers: Callers) -> None:
    await callers.come("w1", "w2", "w3", "w4", "w5")
    assert callers.inside == ["w1", "w2", "w3"]

    await callers.come("1")

    assert callers.inside == ["w1", "w2", "w3", "1"]


async def test_live_callers_go_before_warming_ones_that_came_first(callers: Callers) -> None:
    await callers.come("1", "2", "3", "4", "w1", "5")

    await callers.end("1")
    assert callers.inside == ["2", "3", "4", "5"]
    await callers.end("2")

    assert callers.inside == ["3", "4", "5", "w1"]


async def test_a_warming_one_that_may_not_go_holds_up_no_live_one(callers: Callers) -> None:
    await callers.come("w1", "w2", "w3", "1", "w4", "2")

    await callers.end("1")

    assert callers.inside == ["w1", "w2", "w3", "2"]


async def test_one_place_is_enough_for_both() -> None:
    callers = Callers(Gate(1))
    await callers.come("w1", "w2", "1")

    await callers.end("w1")
    assert callers.inside == ["1"]
    await callers.end("1")

    assert callers.inside == ["w2"]
    await callers.tasks.stop()


async def test_who_is_cancelled_in_the_queue_is_passed_over(callers: Callers) -> None:
    await callers.come("1", "2", "3", "4", "5", "6")
    callers.tasks.running[4].cancel()
    callers.ends["1"].set()

    await settle()

    assert callers.inside == ["2", "3", "4", "6"]


async def test_a_place_given_to_one_just_cancelled_goes_to_the_next(callers: Callers) -> None:
    await callers.come("1", "2", "3", "4", "5", "w6")
    await callers.come("w7")
    task = callers.tasks.running[4]

    # In one turn of the loop: its place is free and given to it, and it is cancelled.
    asyncio.get_running_loop().call_soon(callers.ends["1"].set)
    while callers.gate.waiting == 3:
        await asyncio.sleep(0)
    task.cancel()
    await settle()

    assert callers.inside == ["2", "3", "4", "w6"]


async def test_who_is_cancelled_inside_leaves_its_place(callers: Callers) -> None:
    await callers.come("w1", "w2", "w3", "w4")

    callers.tasks.running[0].cancel()
    await settle()

    assert callers.inside == ["w2", "w3", "w4"]
    assert callers.gate.warming == 3


async def test_an_error_inside_leaves_the_place() -> None:
    gate = Gate(1)

    with pytest.raises(KeyError):
        async with gate.turn(True):
            raise KeyError

    assert (gate.running, gate.warming, gate.waiting) == (0, 0, 0)
