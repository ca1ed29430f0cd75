"""One task waits, and goes on once it is told."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.change import Change


async def test_who_waits_goes_on_as_it_is_told() -> None:
    change = Change()
    waiting = asyncio.create_task(change.wait())
    await asyncio.sleep(0)
    assert change.awaited

    change.tell()
    change.tell()
    await waiting

    assert repr(change) == "<Change awaited=False>"


async def test_what_is_told_to_nobody_is_not_kept() -> None:
    change = Change()
    change.tell()

    waiting = asyncio.create_task(change.wait())
    await asyncio.sleep(0)

    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not change.awaited


async def test_one_task_waits_and_no_other() -> None:
    change = Change()
    waiting = asyncio.create_task(change.wait())
    await asyncio.sleep(0)

    with pytest.raises(AssertionError):
        await change.wait()

    change.tell()
    await waiting
