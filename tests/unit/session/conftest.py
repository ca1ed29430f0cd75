"""A proxy without sockets, and one client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.near.cache import NearCache

from tests.fakes import World
from tests.worlds import client as client
from tests.worlds import world as world


@pytest.fixture
async def near_world() -> AsyncIterator[World]:
    """A proxy with a near cache."""
    world = World(near=NearCache(1 << 20))
    yield world
    await world.close()
