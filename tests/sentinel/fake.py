"""Sentinels that say what a test wants them to say, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from nearhit.proxy.resp.requests import Partial, encode, parse_request
from nearhit.proxy.settings.address import Tcp, Upstream

HOST: Final = "127.0.0.1"
NO_MASTER: Final = b"-ERR No such master with that name\r\n"
OLD, NEW = Tcp("10.0.0.1", 6379), Tcp("10.0.0.2", 6379)


def flat(pairs: dict[str, str]) -> bytes:
    return encode([word.encode() for pair in pairs.items() for word in pair])


class FakeSentinel(asyncio.Protocol):
    """One Sentinel; ``mute``: it accepts connections and says nothing."""

    def __init__(self, master: Tcp | None = OLD, epoch: int = 1, own_id: str = "") -> None:
        self.master = master
        self.epoch = epoch
        self.own_id = own_id
        self.others: list[tuple[Tcp, str]] = []
        self.mute = False
        self.refusal = b""
        self.seen: list[list[bytes]] = []
        self.connected = 0
        self.address = Tcp(HOST, 0)
        self._server: asyncio.Server | None = None
        self._ends: list[End] = []

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._end, HOST, self.address.port)
        self.address = Tcp(HOST, self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Nobody listens there any more, and all connections are cut."""
        if self._server is not None:
            self._server.close()
        for end in self._ends:
            end.cut()
        self._ends.clear()

    def say(self, channel: str, text: str) -> None:
        """An event, to all who subscribe."""
        for end in self._ends:
            if end.subscribed:
                end.write(encode([b"message", channel.encode(), text.encode()]))

    def write(self, data: bytes) -> None:
        """Whatever bytes."""
        for end in self._ends:
            end.write(data)

    @property
    def heard(self) -> int:
        """How many subscribe."""
        return sum(end.subscribed > 0 for end in self._ends)

    def asked(self, *words: bytes) -> int:
        return sum(seen[: len(words)] == list(words) for seen in self.seen)

    def _end(self) -> End:
        self.connected += 1
        self._ends.append(End(self))
        return self._ends[-1]

    def answer(self, words: Sequence[bytes]) -> bytes:
        if self.refusal:
            return self.refusal
        match [word.upper() for word in words[:2]]:
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"AUTH", *_]:
                return b"+OK\r\n"
            case [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME"]:
                if self.master is None:
                    return b"*-1\r\n"
                return encode([self.master.host.encode(), b"%d" % self.master.port])
            case [b"SENTINEL", b"MASTER"]:
                if self.master is None:
                    return NO_MASTER
                return flat({"name": "m", "flags": "master", "config-epoch": str(self.epoch)})
            case [b"SENTINEL", b"SENTINELS"]:
                rows = [
                    flat({"ip": at.host, "port": str(at.port), "runid": own_id})
                    for at, own_id in self.others
                ]
                return b"*%d\r\n%b" % (len(rows), b"".join(rows))
            case [b"SENTINEL", b"MYID"]:
                known = b"$%d\r\n%b\r\n" % (len(self.own_id), self.own_id.encode())
                return known if self.own_id else b"-ERR Unknown sentinel subcommand 'MYID'\r\n"
        return b"-ERR unknown command\r\n"


class End(asyncio.Protocol):
    """A Sentinel's end of a connection."""

    def __init__(self, sentinel: FakeSentinel) -> None:
        self.sentinel = sentinel
        self.subscribed = 0
        self._wire: asyncio.Transport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport  # type: ignore[assignment]  # it is one of sockets

    def data_received(self, data: bytes) -> None:
        self._rest += data
        pos = 0
        while pos < len(self._rest):
            request = parse_request(self._rest, pos)
            if isinstance(request, Partial):
                break
            pos = request.end
            self.sentinel.seen.append(request.args)
            if not self.sentinel.mute:
                self.write(self._answer(request.args))
        self._rest = self._rest[pos:]

    def _answer(self, words: Sequence[bytes]) -> bytes:
        if words[0] == b"SUBSCRIBE" and not self.sentinel.refusal:
            self.subscribed += 1
            return b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:%d\r\n" % (
                len(words[1]),
                words[1],
                self.subscribed,
            )
        if words[0] == b"PING" and self.subscribed:
            return encode([b"pong", b""])
        return self.sentinel.answer(words)

    def write(self, data: bytes) -> None:
        if self._wire is not None:
            self._wire.write(data)

    def cut(self) -> None:
        if self._wire is not None:
            self._wire.abort()


@asynccontextmanager
async def sentinels(count: int = 3) -> AsyncIterator[list[FakeSentinel]]:
    """So many, which all know of each other and name one master."""
    made = [FakeSentinel(own_id=f"id{number}") for number in range(count)]
    async with AsyncExitStack() as stack:
        for one in made:
            await one.start()
            stack.callback(one.stop)
        for one in made:
            one.others = [(other.address, other.own_id) for other in made if other is not one]
        yield made
    await asyncio.sleep(0)


def upstream_of(made: Sequence[FakeSentinel], options: str = "") -> Upstream:
    seeds = ",".join(str(one.address) for one in made)
    return Upstream.parse(f"redis-sentinel://{seeds}/m{options}")


async def until(condition: object, turns: int = 20_000) -> None:
    """Run the loop until it holds."""
    assert callable(condition)
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0.0002)
    raise AssertionError("it did not come to hold")
