"""The demo's values: made of the key, and late."""

from __future__ import annotations

import asyncio

from nearhit.proxy.loading.demo import DELAY_S, DemoSource
from nearhit.proxy.loading.source import Loaded


async def test_a_key_has_always_the_same_value_and_it_takes_a_while() -> None:
    source, loop = DemoSource(), asyncio.get_running_loop()
    began = loop.time()

    first, second = await asyncio.gather(source.load(b"demo:1", {}), source.load(b"demo:1", None))
    await source.close()

    assert first == second == Loaded(b"demo value of demo:1")
    assert loop.time() - began >= DELAY_S * 0.9
    assert repr(source) == "<DemoSource>"
