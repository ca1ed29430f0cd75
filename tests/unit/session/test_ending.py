"""How connections end while the process stops."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.hot.session import UPLOAD_AT
from nearhit.proxy.session import ending
from nearhit.proxy.session.ending import end_first, end_now, watch_upload

from tests.fakes import Client, Wire, World


class Deaf(Wire):
    """Its other side does not close when it sees the end of ours."""

    def __init__(self) -> None:
        super().__init__(asyncio.Protocol())
        self.said: list[str] = []

    def write_eof(self) -> None:
        self.said.append("eof")

    def close(self) -> None:
        self.said.append("close")

    def abort(self) -> None:
        self.said.append("abort")


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_our_side_ends_first_and_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "LINGER", 0.0)
    wire = Deaf()
    wire.pause_reading()

    end_first(wire)
    assert wire.said == ["eof"]
    assert wire.reading
    await turns()

    assert wire.said == ["eof", "close"]


async def test_what_is_closing_is_left_alone() -> None:
    wire = Deaf()
    wire.end = "closed"

    end_first(wire)

    assert wire.said == []


@pytest.mark.parametrize(("unread", "said"), [(0, ["close"]), (5, ["abort"])])
async def test_only_who_has_not_got_all_is_cut(unread: int, said: list[str]) -> None:
    wire = Deaf()
    wire.unread = unread

    end_now(wire)

    assert wire.said == said


async def test_an_upload_is_watched_until_it_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "UPLOAD_PAUSE", 0.0)
    seen, stalled = iter([1, 2, 3, 3]), []

    watch_upload(lambda: next(seen), lambda: stalled.append(True))
    await turns(10)

    assert stalled == [True]


async def test_an_upload_that_is_over_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "UPLOAD_PAUSE", 0.0)
    seen, stalled = iter([1, -1]), []

    watch_upload(lambda: next(seen), lambda: stalled.append(True))
    await turns(10)

    assert stalled == []


async def test_a_half_sent_upload_does_not_hold_the_drain(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "UPLOAD_PAUSE", 0.0)
    client: Client = world.client()
    client.raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (10 * UPLOAD_AT))
    client.raw(bytes(2 * UPLOAD_AT))
    await world.settle()
    assert client.session.head is not None

    assert not client.session.drain()
    await world.settle()
    await world.settle()

    assert client.wire.end == "closed"
    assert world.dial.wires[-1].end == "aborted"


async def test_what_a_client_sends_while_it_is_closed_is_dropped(world: World) -> None:
    client: Client = world.client()
    client.session.drain()

    client.raw(b"x" * 1000)

    assert client.session.rest == b""


async def test_who_is_blocked_leaves_at_once(world: World) -> None:
    """Or an element would be popped for nobody until its connection is gone."""
    client: Client = world.client()
    client.send(b"BLPOP", b"q", b"0")
    await world.settle()

    client.session.drain()

    assert world.dial.wires[-1].end == "aborted"
    world.lanes.close()
    await world.settle()
    assert client.took() == b""


async def test_a_large_read_is_one_turns_and_no_more(world: World, client: Client) -> None:
    client.raw(b"\r\n" * 100_000)
    assert not client.wire.reading

    await world.settle()
    assert client.wire.reading


async def test_one_that_is_not_to_be_read_is_not_read_on(world: World, client: Client) -> None:
    client.raw(b"\r\n" * 100_000)
    client.session.stop_reading()

    await world.settle()

    assert not client.wire.reading
