"""Clients that wait while the master is about to be another."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.session.holding import Holding
from nearhit.proxy.session.reasons import STALL_HELD

from tests.fakes import Client, World


@pytest.fixture
async def holding(world: World) -> Holding:
    made = Holding(world.context.clients, asyncio.get_running_loop().call_later)
    made.seconds = 60.0
    world.context.holding = made
    return made


async def test_what_comes_while_it_is_on_goes_on_in_its_order(
    world: World, holding: Holding
) -> None:
    client = world.client()
    client.send(b"INCR", b"a")
    wire = await world.upstream(0)
    holding.begin()
    client.send(b"INCR", b"b")
    client.send(b"GET", b"c")
    await world.settle()

    wire.expect(b"INCR", b"a")
    assert wire.quiet
    wire.reply(b":1\r\n")  # what was sent before is answered
    await world.settle()
    assert client.took() == b":1\r\n"

    holding.end("a test")
    await world.settle()

    wire.expect(b"INCR", b"b")
    wire.expect(b"GET", b"c")
    assert repr(holding) == "<Holding off seconds=60>"


async def test_who_comes_meanwhile_waits_too(world: World, holding: Holding) -> None:
    holding.begin()
    client = world.client()
    holding.take(client.session)

    assert client.session.stalls & STALL_HELD

    holding.end("a test")
    assert not client.session.stalls


async def test_who_comes_otherwise_does_not(world: World, holding: Holding) -> None:
    client = world.client()
    holding.take(client.session)

    assert not client.session.stalls


async def test_it_ends_by_itself(world: World, holding: Holding) -> None:
    client = world.client()
    holding.seconds = 0.001
    holding.begin()
    holding.begin()
    assert holding.on

    while holding.on:
        await asyncio.sleep(0)

    assert not client.session.stalls


async def test_off_is_off(world: World, holding: Holding) -> None:
    client = world.client()
    holding.seconds = 0.0

    holding.begin()

    assert not holding.on
    assert not client.session.stalls
    Holding().begin()
    holding.end("a test")


async def test_a_client_that_leaves_while_it_waits_is_gone(world: World, holding: Holding) -> None:
    client: Client = world.client()
    holding.begin()
    client.send(b"INCR", b"b")

    client.leave()
    holding.end("a test")
    await world.settle()

    assert not world.dial.wires or world.dial.wires[0].quiet
