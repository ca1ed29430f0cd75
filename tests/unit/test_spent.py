"""What a command waits for loads is told where it is answered."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.spent import account, loading


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_tasks_wait_for_is_on_the_account_of_who_started_them() -> None:
    clock = Clock()

    async def load(seconds: float) -> None:
        with loading(clock):
            clock.now += seconds

    spent = account()
    await load(1.0)
    await asyncio.create_task(load(2.0))  # as tests may

    assert spent.load == 3.0


async def test_what_fails_is_counted_too() -> None:
    clock, spent = Clock(), account()

    def fail() -> None:
        with loading(clock):
            clock.now += 1.0
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()

    assert spent.load == 1.0


async def test_without_an_account_nothing_is_counted() -> None:
    def nobody() -> float:
        raise AssertionError("the clock was asked")

    with loading(nobody):
        pass
