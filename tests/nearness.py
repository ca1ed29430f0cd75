"""What tests of the near cache ask, and how a script answers: the tracked lane, fills, pushes."""

from __future__ import annotations

from nearhit.proxy.hot.answers import WINDOW_MAX
from nearhit.proxy.resp.requests import encode

from tests.fakes import Client, Upstream, World

OK = b"+OK\r\n"
NIL = b"_\r\n"
FLUSHED = b">2\r\n$10\r\ninvalidate\r\n_\r\n"
CACHING = (b"CLIENT", b"CACHING", b"YES")
UNKEPT = OK + b":500\r\n" + NIL  # the answer to a fill that stores nothing


def well_known(client: Client, *names: bytes) -> None:
    """Let the client send pipelines of these commands as if it had sent them before."""
    for name in names:
        client.session.names.unknown(encode([name, b"x"]), 0)


async def joined(world: World) -> Client:
    client = world.client()
    client.session.window = WINDOW_MAX
    well_known(client, b"GET", b"SET", b"PING")
    client.send(b"PING")
    await world.settle()
    plain(world).expect(b"PING")
    plain(world).reply(b"+PONG\r\n")
    await world.settle()
    assert client.took() == b"+PONG\r\n"
    return client


def ends(world: World, *, tracked: bool) -> list[Upstream]:
    return [
        wire
        for wire in world.dial.wires
        if not wire.lost
        and tracked is any(words[1:2] == [b"TRACKING"] for words in wire.handshake or ())
    ]


def tracked(world: World) -> Upstream:
    """The server's end of the newest tracked lane."""
    return ends(world, tracked=True)[-1]


def plain(world: World) -> Upstream:
    """Of the newest other lane."""
    return ends(world, tracked=False)[-1]


def push(*keys: bytes) -> bytes:
    listed = b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in keys)
    return b">2\r\n$10\r\ninvalidate\r\n*%d\r\n" % len(keys) + listed


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def gets(*keys: bytes) -> bytes:
    return b"".join(encode([b"GET", key]) for key in keys)


def expect_fill(wire: Upstream, key: bytes) -> None:
    wire.expect(*CACHING)
    wire.expect(b"PTTL", key)
    wire.expect(b"GET", key)


def expect_get(wire: Upstream, key: bytes) -> bool:
    """A read of the key; whether it is to be kept."""
    fills = wire.written.startswith(encode(CACHING))
    if fills:
        wire.expect(*CACHING)
        wire.expect(b"PTTL", key)
    wire.expect(b"GET", key)
    return fills


async def seen_once(world: World, client: Client, key: bytes = b"k") -> None:
    """The key is asked for, so that the next miss fills."""
    client.send(b"GET", key)
    await world.settle()
    tracked(world).expect(b"GET", key)
    tracked(world).reply(NIL)
    await world.settle()
    client.took()


async def filling(world: World, client: Client, key: bytes = b"k") -> Upstream:
    """A fill is on its way: the server's end that is to answer it."""
    client.send(b"GET", key)
    await world.settle()
    wire = tracked(world)
    if wire.written == encode([b"GET", key]):  # its first sight
        wire.expect(b"GET", key)
        wire.reply(NIL)
        await world.settle()
        client.took()
        return await filling(world, client, key)
    expect_fill(wire, key)
    assert wire.quiet
    return wire


def filled(value: bytes = b"$1\r\n1\r\n", pttl: int = -1) -> bytes:
    return OK + b":%d\r\n" % pttl + value


async def cached(
    world: World, client: Client, key: bytes = b"k", value: bytes = b"$1\r\n1\r\n", pttl: int = -1
) -> None:
    wire = await filling(world, client, key)
    wire.reply(filled(value, -2 if value == NIL else pttl))
    await world.settle()
    client.took()
    assert await near(world, client, key)


async def near(world: World, client: Client, key: bytes = b"k") -> bytes:
    """What the near cache answers; empty where the server was asked (and has said nil)."""
    client.send(b"GET", key)
    await world.settle()
    got = client.took()
    if got:
        return got
    for wire in world.dial.wires:
        if not wire.lost and wire.written:
            fills = expect_get(wire, key)
            null = NIL if wire is tracked(world) else b"$-1\r\n"
            wire.reply(UNKEPT if fills else null)
    await world.settle()
    assert client.took() in (b"$-1\r\n", NIL)
    return b""
