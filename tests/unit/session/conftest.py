"""A proxy without sockets, and one client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.near.cache import NearCache

from tests.fakes import Client, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


@pytest.fixture
def client(world: World) -> Client:
    return world.client()


@pytest.fixture
async def near_world() -> AsyncIterator[World]:
    """A proxy with a near cache."""
    world = World(near=NearCache(1 << 20))
    yield world
    await world.close()
