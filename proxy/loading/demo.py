"""A made-up value, late enough that a cache is felt: for trying things out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from .source import Loaded

DELAY_S: Final = 0.05


class DemoSource:
    def __repr__(self) -> str:
        return "<DemoSource>"

    async def load(self, key: bytes, captures: Mapping[str, bytes] | None) -> Loaded:
        await asyncio.sleep(DELAY_S)
        return Loaded(b"demo value of " + key)

    async def close(self) -> None:
        """It holds nothing."""
