"""Fixtures of rooms whose tests want a proxy without sockets, and one client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes import Client, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


@pytest.fixture
def client(world: World) -> Client:
    return world.client()
