"""Any bytes from a server: slots filled exactly once, a lane lost cleanly, never an exception."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from nearhit.proxy.errors import ProxyError
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.subscriptions import Channels

from tests.fakes import FakeDial, FakeHome, Tray, settle

replies = st.sampled_from(
    [
        b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"$5\r\nhello\r\n", b"*2\r\n+a\r\n$1\r\nb\r\n", b"_\r\n",
        b"-ERR no\r\n", b"%1\r\n+a\r\n:1\r\n", b"|1\r\n+a\r\n+b\r\n+OK\r\n", b"*-1\r\n", b"*0\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", b"*3\r\n$7\r\nmessage\r\n+a\r\n+b\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    ]
)  # fmt: skip
junk = st.one_of(st.binary(max_size=6), st.sampled_from([b"*99\r\n", b"$9999\r\n", b"\r", b"x"]))


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    stream = bytearray(b"".join(draw(st.lists(replies, max_size=8))))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(stream)))
        stream[at : at + draw(st.integers(0, 3))] = draw(junk)
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=5)))
    return [bytes(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


class Owner:
    """Counts what a lent lane tells it."""

    def __init__(self) -> None:
        self.lost = 0

    def lane_pushed(self, lane: Lane, frame: bytes) -> None:
        assert frame

    def lane_raw(self, lane: Lane, data: bytes) -> None:
        raise AssertionError("no tunnel here")

    def lane_ends(self, lane: Lane) -> None:
        assert not self.lost

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        self.lost += 1

    def lane_writable(self, lane: Lane) -> None:
        pass


async def run(chunks: list[bytes], wants: list[int], lent: bool, subscribed: bool) -> None:
    home, dial, owner = FakeHome(), FakeDial(), Owner()
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    lane = Lane(
        1, LaneKey(), dial, home, offline_max=1000, timeout_s=4, owner=owner if lent else None
    )
    trays = [Tray(want) for want in wants]
    for tray in trays:
        lane.send(encode([b"PING"]) * tray.want, tray)
    if subscribed:
        lane.subscribe(Channels())
    lane.open()
    await settle()
    wire = dial.wires[0]

    for chunk in chunks:
        if chunk:
            wire.reply(chunk)
            await asyncio.sleep(0)
    wire.lose()
    await settle()

    assert [tray.filled for tray in trays] == [1] * len(trays)
    # Fed in order: nobody behind one who got no whole answer got a part.
    whole = [not tray.error for tray in trays]
    assert whole == sorted(whole, reverse=True)
    assert lane.state is (LaneState.CLOSED if lent else LaneState.IDLE)
    assert owner.lost == lent
    assert not lane.waiting
    assert sum(map(len, lane.frame)) <= sum(map(len, chunks))
    lane.close()
    await home.tasks.stop()
    assert not errors, errors


@settings(max_examples=250)
@given(
    chunks=streams(),
    wants=st.lists(st.integers(1, 3), max_size=5),
    lent=st.booleans(),
    subscribed=st.booleans(),
)
def test_mutated_replies(
    chunks: list[bytes], wants: list[int], lent: bool, subscribed: bool
) -> None:
    asyncio.run(run(chunks, wants, lent, subscribed and lent))


@settings(max_examples=100)
@given(
    chunks=st.lists(st.binary(max_size=30), max_size=4),
    wants=st.lists(st.integers(1, 3), max_size=3),
)
def test_any_bytes(chunks: list[bytes], wants: list[int]) -> None:
    asyncio.run(run(chunks, wants, False, False))


async def shake(chunks: list[bytes]) -> None:
    home, dial = FakeHome(), FakeDial()
    dial.mute = True
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    lane = Lane(1, LaneKey(db=1, resp=3), dial, home, offline_max=1000, timeout_s=4)
    tray = Tray()
    lane.send(encode([b"PING"]), tray)
    await settle()

    for chunk in chunks:
        if chunk:
            dial.wires[0].reply(chunk)
            await asyncio.sleep(0)
    dial.mute = False
    dial.wires[0].lose()
    await settle()

    assert tray.filled <= 1
    lane.close()
    await settle()
    assert tray.filled == 1
    await home.tasks.stop()
    assert not errors, errors


@settings(max_examples=150)
@given(chunks=streams())
def test_any_handshake(chunks: list[bytes]) -> None:
    asyncio.run(shake(chunks))
