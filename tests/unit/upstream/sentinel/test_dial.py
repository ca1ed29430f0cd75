"""Connections to the master that Sentinels name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.settings.address import Tcp
from nearhit.proxy.upstream.dial import Retry
from nearhit.proxy.upstream.sentinel.answers import Naming
from nearhit.proxy.upstream.sentinel.dial import MasterDial
from nearhit.proxy.upstream.sentinel.sentinels import Sentinels
from nearhit.proxy.upstream.sentinel.watch import Trust, Watch

from tests.fakes import settle
from tests.sentinel.fake import FakeSentinel, sentinels, upstream_of


class Bench:
    """A dial whose master is a listening socket, or another."""

    def __init__(self, made: list[FakeSentinel], master: Tcp, other: Tcp) -> None:
        upstream = upstream_of(made)
        self.loop = asyncio.get_running_loop()
        self.master, self.other = master, other
        self.watch = Watch(Sentinels(upstream, None), self.loop.time)
        self.dial = MasterDial(upstream, Retry(3), self.watch)

    def named(self, address: Tcp, epoch: int = 1) -> None:
        self.watch._take(Naming(address, epoch), "by a test")

    async def open(self) -> asyncio.Transport:
        return await self.dial.open(self.loop, asyncio.Protocol)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with sentinels(3) as made:
        bench = Bench(made[:1], made[1].address, made[2].address)
        yield bench
        bench.watch.sentinels.close()


async def test_it_connects_to_who_is_named(bench: Bench) -> None:
    assert bench.dial.address == "m"
    bench.named(bench.master)

    wire = await bench.open()

    assert wire.get_extra_info("peername")[1] == bench.master.port
    assert bench.dial.address == f"m at {bench.master}"
    wire.abort()


async def test_nobody_is_dialled_without_a_name(bench: Bench) -> None:
    opening = asyncio.ensure_future(bench.open())
    await settle()
    assert not opening.done()

    bench.named(bench.other)

    wire = await opening
    assert wire.get_extra_info("peername")[1] == bench.other.port
    wire.abort()


async def test_a_failure_is_a_doubt(bench: Bench) -> None:
    bench.named(bench.master)

    bench.dial.failed()

    assert bench.watch.trust is Trust.DOUBTED


async def test_a_pause_ends_as_the_master_moves(bench: Bench) -> None:
    bench.named(bench.master)
    pause = asyncio.ensure_future(bench.dial.pause(60.0, bench.dial.moves))
    await settle()
    assert not pause.done()

    bench.named(bench.other, 2)

    await pause
    assert bench.dial.moves == 1
    await bench.dial.pause(60.0, 0)  # it has moved since


async def test_a_pause_is_over_in_its_time(bench: Bench) -> None:
    await bench.dial.pause(0.0, bench.dial.moves)


async def test_a_connection_on_its_way_to_the_old_master_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = bench.loop.create_future()

    async def connect(*_: object) -> asyncio.Transport:
        await never
        raise AssertionError

    monkeypatch.setattr(bench.dial, "_connect", connect)
    bench.named(bench.master)
    opening = asyncio.ensure_future(bench.open())
    await settle()

    bench.named(bench.other, 2)

    with pytest.raises(ConnectionError, match="is the master no more"):
        await opening
    assert not bench.dial._clocks


async def test_a_connection_that_stands_as_the_master_moves_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bench.dial._connect

    async def connect(*args: object) -> asyncio.Transport:
        wire = await real(*args)  # type: ignore[arg-type]  # as they came
        bench.dial.moves += 1
        return wire

    monkeypatch.setattr(bench.dial, "_connect", connect)
    bench.named(bench.master)

    with pytest.raises(ConnectionError, match="is the master no more"):
        await bench.open()


async def test_a_host_that_does_not_answer_is_told_as_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.upstream.dial.CONNECT_TIMEOUT", 0.0)
    bench.named(bench.master)

    with pytest.raises(TimeoutError, match="no connection within 0 s"):
        await bench.open()
