"""What tests of a session ask, and how a script answers it."""

from __future__ import annotations

from nearhit.proxy.resp.replies import error
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.acts.client import NO_NAME
from nearhit.proxy.table.table import Ours, snapshot

from tests.fakes import Client, Upstream, World

OK = b"+OK\r\n"
LOST = b"-UPSTREAM connection to the server lost ("
VOIDS = Ours(voids=True)
GET = encode([b"GET", b"k"])
BAD_NAME = error("Client names cannot contain spaces, newlines or special characters.")


async def asked(world: World, client: Client, *words: bytes, reply: bytes) -> bytes:
    """Send one request, have it answered on whatever lane it went to, and return what came."""
    client.send(*words)
    await world.settle()
    for wire in world.dial.wires:
        if wire.written.startswith(encode(words)):
            wire.expect(*words)
            wire.reply(reply)
            await world.settle()
            return client.took()
    raise AssertionError(f"{words!r} went nowhere: {[wire.written for wire in world.dial.wires]}")


async def named(world: World, client: Client, name: bytes) -> bytes:
    """CLIENT SETNAME, which the server is asked for with a name that it cannot take."""
    client.send(b"CLIENT", b"SETNAME", name)
    return await _answered(world, client, [b"CLIENT", b"SETNAME", NO_NAME], BAD_NAME)


async def switched(world: World, client: Client, mode: bytes, reply: bytes = OK) -> bytes:
    """CLIENT REPLY, which the server is asked for as ON."""
    client.send(b"CLIENT", b"REPLY", mode)
    return await _answered(world, client, [b"CLIENT", b"REPLY", b"ON"], reply)


async def _answered(world: World, client: Client, words: list[bytes], reply: bytes) -> bytes:
    await world.settle()
    (wire,) = [wire for wire in world.dial.wires if wire.written.startswith(encode(words))]
    wire.expect(*words)
    wire.reply(reply)
    await world.settle()
    return client.took()


async def shared(world: World, client: Client) -> Upstream:
    """The shared lane of the client's key, connected."""
    client.send(b"PING")
    await world.settle()
    wire = world.dial.wires[-1]
    wire.expect(b"PING")
    wire.reply(b"+PONG\r\n")
    await world.settle()
    assert client.took() == b"+PONG\r\n"
    return wire


class LoaderKeys:
    """Loaders that answer for keys with this prefix (spec.LoaderKeys)."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix
        self.timed_prefix = b""

    def manages(self, key: bytes) -> bool:
        return key.startswith(self.prefix)

    def read_through(self, key: bytes) -> bool:
        return self.manages(key)

    def timed(self, key: bytes) -> bool:
        return key.startswith(self.timed_prefix) if self.timed_prefix else False


def manage(world: World, prefix: bytes = b"m:", ours: Ours = VOIDS) -> None:
    """Have loaders answer for the keys with a prefix, before the first client comes."""
    world.context.loaders = LoaderKeys(prefix)
    world.context.table = snapshot(ours)
