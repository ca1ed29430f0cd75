"""A wait that ends as something rings, or with its time."""

from __future__ import annotations

import asyncio

from nearhit.proxy.bell import Bell


async def test_who_waits_hears_it() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(60))
    await asyncio.sleep(0)

    bell.ring()

    assert await waiting
    assert bell.fired
    assert repr(bell) == "<Bell fired=True>"


async def test_what_has_rung_is_heard_later_too_until_it_is_cleared() -> None:
    bell = Bell()
    bell.ring()
    assert await bell.wait(0)

    bell.clear()

    assert not await bell.wait(-1)
    assert not bell.fired
