"""Who breaks the protocol is told at once, and closed a moment later."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.session import offenders as module

from tests.asking import GET
from tests.fakes import Client, World

ERROR = b"-ERR Protocol error: invalid multibulk length\r\n"


async def test_it_is_told_at_once_and_closed_later(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)

    client.raw(b"*x\r\n" + b"more" * 1000)
    await world.settle()
    assert client.took() == ERROR
    assert client.wire.end == ""
    assert not client.wire.reading
    assert client.session.traffic.unread == 0
    assert repr(world.context.offenders) == "<Offenders 1>"

    async with asyncio.timeout(5):
        while not client.wire.end:
            await asyncio.sleep(0.001)

    assert client.wire.end == "closed"
    assert repr(world.context.offenders) == "<Offenders 0>"


async def test_of_too_many_the_oldest_are_closed_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    clients = [world.client() for _ in range(3)]

    for client in clients:
        client.raw(b"*x\r\n")

    assert [client.wire.end for client in clients] == ["closed", "", ""]


async def test_what_it_is_owed_comes_first(world: World, client: Client) -> None:
    client.raw(GET + b"*x\r\n")
    wire = await world.upstream(0)
    assert client.wire.end == ""

    wire.reply(b"$1\r\nv\r\n")
    await world.settle()

    assert client.took() == b"$1\r\nv\r\n" + ERROR
    assert client.wire.end == "closed"


async def test_one_that_leaves_while_it_waits_is_forgotten(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.01)
    client.raw(b"*x\r\n")

    client.leave()

    async with asyncio.timeout(5):
        while repr(world.context.offenders) != "<Offenders 0>":
            await asyncio.sleep(0.001)
