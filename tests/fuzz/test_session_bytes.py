"""Any bytes from a client: replies or a protocol error, never another exception, within bounds."""

from __future__ import annotations

import asyncio
import logging

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.session import HOLD_TUNNEL, READ_AHEAD, STALL_REPLY

from tests.fakes import Client, World

COMMANDS = [
    "PING", "GET k", "SET k v", "MULTI", "EXEC", "DISCARD", "WATCH k", "UNWATCH", "SELECT 1",
    "SELECT 0", "SELECT x", "HELLO", "HELLO 2", "HELLO 3", "HELLO 3 AUTH u p", "AUTH p", "AUTH u p",
    "RESET", "SUBSCRIBE a b", "UNSUBSCRIBE", "UNSUBSCRIBE a", "PSUBSCRIBE p*", "PUNSUBSCRIBE",
    "CLIENT ID", "CLIENT LIST", "CLIENT INFO", "CLIENT SETNAME n", "CLIENT GETNAME", "CLIENT",
    "CLIENT REPLY OFF", "CLIENT REPLY SKIP", "CLIENT REPLY ON", "CLIENT KILL ID 1",
    "CLIENT TRACKING ON", "CLIENT TRACKING OFF", "CLIENT NO-EVICT ON", "CLIENT UNBLOCK 1",
    "CLIENT TRACKING ON REDIRECT 1", "CLIENT SETINFO lib-name x", "CLIENT FOO", "BLPOP q 1",
    "XREAD BLOCK 1 STREAMS s 0", "WAIT 0 0", "EVAL x 0", "SCRIPT LOAD x", "DEBUG SLEEP 0",
    "NO.SUCH x", "READONLY", "QUIT",
]  # fmt: skip
LARGE = encode([b"SET", b"k", bytes(70000)])  # stands for <large>, which is shorter to print
requests = st.sampled_from(COMMANDS).map(lambda text: encode(text.encode().split()))
inline = st.sampled_from(COMMANDS).map(lambda text: text.encode() + b"\r\n")
junk = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"*", b"$", b"\r\n", b"*0\r\n", b"*-1\r\n", b"*01\r\n", b"*2\r\n$3\r\n", b"'"]
    ),
    st.just(b"<large>"),
)


@st.composite
def pipelines(draw: st.DrawFn) -> list[bytes]:
    """Valid requests, some of them mutated, in any chunks."""
    stream = bytearray(b"".join(draw(st.lists(st.one_of(requests, requests, inline), max_size=12))))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(stream)))
        stream[at : at + draw(st.integers(0, 3))] = draw(junk)
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=5)))
    return [bytes(stream[a:b]) for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def answer(words: list[bytes]) -> bytes:
    """A reply of the shape that the command has."""
    name = words[0].upper()
    if name.lstrip(b"PS").endswith(b"UBSCRIBE") or name.endswith(b"SUBSCRIBE"):
        names = words[1:] or [b"a"]
        return b"".join(
            b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:0\r\n" % (len(name), name.lower(), len(one), one)
            for one in names
        )
    if name == b"EXEC":
        return b"*-1\r\n"
    if name == b"NO.SUCH" or (name == b"SELECT" and not words[-1].isdigit()):
        return b"-ERR no\r\n"
    return b"+OK\r\n"


def whole_replies(stream: bytes) -> bool:
    reader = hiredis.Reader(notEnoughData=Ellipsis, replyError=str, errors="replace")
    reader.feed(stream)
    while reader.gets() is not Ellipsis:
        pass
    return not reader.has_data()


async def run(chunks: list[list[bytes]], ends: bool) -> None:
    world = World()
    world.dial.answer = answer
    clients = [world.client() for _ in chunks]
    try:
        for turn in range(max(map(len, chunks))):
            for client, parts in zip(clients, chunks, strict=True):
                if turn < len(parts):
                    client.raw(parts[turn].replace(b"<large>", LARGE))
                    assert len(client.session.rest) <= READ_AHEAD + 200000
            await asyncio.sleep(0)
        for _ in range(4):
            await world.settle()
        for client in clients:
            check(client)
        for client in clients:
            client.finish() if ends else client.leave()
        await world.settle()
        # Who waits for another client's lane looks again in 10 ms, and we wait for no clock.
        assert all(one.stalls & STALL_REPLY for one in world.context.clients)
    finally:
        await world.close()


def check(client: Client) -> None:
    got = client.took()
    if not client.session.berth.holds & HOLD_TUNNEL:
        assert whole_replies(got), got
    if not client.wire.end:
        assert client.session.owed >= 0
        if client.session.head is None:
            assert client.session.owed == 0
            assert client.session.tail is None


@pytest.fixture(autouse=True)
def no_defect_is_only_logged(caplog: pytest.LogCaptureFixture) -> object:
    caplog.set_level(logging.ERROR)
    yield
    assert not [record for record in caplog.records if record.exc_info]


@settings(max_examples=150)
@given(chunks=st.lists(pipelines(), min_size=1, max_size=3), ends=st.booleans())
def test_mutated_pipelines_of_some_clients(chunks: list[list[bytes]], ends: bool) -> None:
    asyncio.run(run(chunks, ends))


@settings(max_examples=100)
@given(chunks=st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_any_bytes(chunks: list[bytes]) -> None:
    asyncio.run(run([chunks], ends=True))


@settings(max_examples=60)
@given(stream=st.lists(st.one_of(requests, inline), max_size=8).map(b"".join), data=st.data())
def test_any_chunking_gives_the_same_commands(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert asyncio.run(seen([stream])) == asyncio.run(seen(parts))


async def seen(parts: list[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """What one client gets, and what the server has been asked."""
    world = World()
    world.dial.answer = answer
    client = world.client()
    try:
        for part in parts:
            client.raw(part)
        for _ in range(6):
            await world.settle()
        return client.took(), world.dial.seen
    finally:
        await world.close()
