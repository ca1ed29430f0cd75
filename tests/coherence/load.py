"""Writers and readers: raw sockets, every reply looked at by the history.

    writer: lock the keys, issue, send by one of many commands, acknowledge
    reader: floors, one batch of requests in one piece, look at every reply in order

A batch may hold writes: the reader has seen its own. Errors and lost connections prove nothing
about a value and are passed over; how many there were is counted."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar, Final

import hiredis

from tests.servers import HOST

from .history import Broken, History, Reader, Write, percentile

PATIENCE: Final = 30.0  # seconds for a reply
Reply = Any


class Gone(Exception):
    """The connection was lost, or would not come."""


class Link:
    """One connection of a client."""

    open: ClassVar[set[Link]] = set()

    def __init__(self, port: int, resp: int = 2, db: int = 0) -> None:
        self.port = port
        self.resp = resp
        self.db = db
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._reader = hiredis.Reader()

    async def ask(self, *requests: tuple[object, ...]) -> list[Reply]:
        """Send the requests in one piece; their replies. Gone: nobody knows what was done."""
        try:
            async with asyncio.timeout(PATIENCE):
                if self._streams is None:
                    self._reader = hiredis.Reader()
                    self._streams = await asyncio.open_connection(HOST, self.port)
                    Link.open.add(self)
                    if self.resp == 3:
                        await self._exchange((("HELLO", "3"),))
                    if self.db:
                        await self._exchange((("SELECT", self.db),))
                return await self._exchange(requests)
        except (OSError, EOFError) as error:
            self.close()
            raise Gone from error

    async def _exchange(self, requests: tuple[tuple[object, ...], ...]) -> list[Reply]:
        assert self._streams is not None
        reader, writer = self._streams
        packed = b"".join(hiredis.pack_command(_words(words)) for words in requests)  # type: ignore[arg-type]
        writer.write(packed)
        return [await self._next(reader) for _ in requests]

    async def tell(self, requests: Sequence[tuple[object, ...]], replies: int) -> list[Reply]:
        """Requests that have as many replies as this. Gone: they did not come."""
        await self.ask()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(b"".join(hiredis.pack_command(_words(words)) for words in requests))  # type: ignore[arg-type]
        return [await self._next(reader) for _ in range(replies)]

    async def _next(self, reader: asyncio.StreamReader) -> Reply:
        while (reply := self._reader.gets()) is False:
            data = await reader.read(65536)
            if not data:
                raise EOFError
            self._reader.feed(data)
        return reply

    async def one(self, *words: object) -> Reply:
        return (await self.ask(words))[0]

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
            Link.open.discard(self)

    @classmethod
    def close_all(cls) -> None:
        for link in list(cls.open):
            link.close()


def _words(words: tuple[object, ...]) -> tuple[bytes, ...]:
    return tuple(word if isinstance(word, bytes) else str(word).encode() for word in words)


def failed(reply: Reply) -> bool:
    return isinstance(reply, hiredis.ReplyError)


# --- Writing one key --------------------------------------------------------------------------

Requests = list[tuple[object, ...]]
SET: Final = "return redis.call('SET', KEYS[1], ARGV[1])"

WRITES: Final[dict[str, Callable[[bytes, bytes], Requests]]] = {
    "SET": lambda key, value: [("SET", key, value)],
    "GETSET": lambda key, value: [("GETSET", key, value)],
    "MSET": lambda key, value: [("MSET", key, value)],
    "SETEX": lambda key, value: [("SETEX", key, 1000, value)],
    "APPEND": lambda key, value: [("APPEND", key, b" " + value)],
    "RENAME": lambda key, value: [("SET", key + b":t", value), ("RENAME", key + b":t", key)],
    "COPY": lambda key, value: [
        ("SET", key + b":t", value), ("COPY", key + b":t", key, "REPLACE"),
    ],
    "EVAL": lambda key, value: [("EVAL", SET, 1, key, value)],
    "two EVALs": lambda key, value: [
        ("EVAL", "return 1", 1, key + b":t"), ("EVAL", SET, 1, key, value),
    ],
    "MULTI": lambda key, value: [("MULTI",), ("SET", key, value), ("EXEC",)],
    "MULTI EVAL": lambda key, value: [("MULTI",), ("EVAL", SET, 1, key, value), ("EXEC",)],
    "SET and EXPIRE": lambda key, value: [("SET", key, value), ("EXPIRE", key, 1000)],
    "SET and PERSIST": lambda key, value: [("SET", key, value, "EX", 1000), ("PERSIST", key)],
    "INCRBY": lambda key, value: [("DEL", key), ("INCRBY", key, value)],
    "SETRANGE": lambda key, value: [("DEL", key), ("SETRANGE", key, 0, value)],
}  # fmt: skip
# APPEND makes a value longer, and is not of use to those who must parse it for ever.
DELETES: Final[dict[str, Callable[[bytes], Requests]]] = {
    "DEL": lambda key: [("DEL", key)],
    "UNLINK": lambda key: [("UNLINK", key)],
    "GETDEL": lambda key: [("GETDEL", key)],
    "EXPIRE 0": lambda key: [("PEXPIRE", key, 0)],
    "INVALIDATE": lambda key: [("INVALIDATE", key)],
    "MULTI DEL": lambda key: [("MULTI",), ("DEL", key), ("EXEC",)],
}


class Load:
    """One scenario's clients."""

    def __init__(self, history: History, *, ttls: tuple[int, ...] = (), seed: int = 0) -> None:
        self.history = history
        self.ttls = ttls  # milliseconds that written keys live
        self.random = random.Random(seed)
        self.until = 0.0
        self.writes = 0
        self.failures = 0
        self.shown: list[float] = []  # seconds until a foreign write showed
        self.pace = 0.0

    async def run(self, seconds: float, *clients: Coroutine[Any, Any, None]) -> None:
        """All clients for so long; the first broken rule ends it."""
        self.until = time.monotonic() + seconds
        try:
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client)
        finally:
            Link.close_all()

    @property
    def going(self) -> bool:
        return time.monotonic() < self.until

    def told(self) -> str:
        history = self.history
        return (
            f"{history.reads} reads, {self.writes} writes, {self.failures} failures; "
            f"foreign writes shown after p50 {percentile(self.shown, 0.5):.2f} ms, "
            f"p99 {percentile(self.shown, 0.99):.2f} ms of {len(self.shown)}; late reads "
            f"{len(history.lags)}, p50 {percentile(history.lags, 0.5):.2f} ms, "
            f"p99 {percentile(history.lags, 0.99):.2f} ms, max {percentile(history.lags, 1):.2f} ms"
        )

    # --- Writers --------------------------------------------------------------------------

    async def writer(self, port: int, by: str, *, proxied: bool, resp: int = 2) -> None:
        """Writes one key after another through ``by``."""
        link = Link(port, resp)
        keys = list(self.history.keys)
        while self.going:
            key = self.random.choice(keys)
            async with self.history.writing(key):
                await self.write(link, key, by, proxied=proxied)
            await asyncio.sleep(self.pace * self.random.random())
        link.close()

    async def write(self, link: Link, key: bytes, by: str, *, proxied: bool) -> None:
        """One write of a key that is ours, by whatever command."""
        if self.random.random() < 0.15:
            names = [name for name in DELETES if proxied or name != "INVALIDATE"]
            name = self.random.choice(names)
            write = self.history.issue(key, nil=True)
            requests = DELETES[name](key)
        else:
            ttl = self.random.choice(self.ttls) if self.ttls else 0
            name = self.random.choice(list(WRITES))
            write = self.history.issue(key, lives=ttl / 1000)
            value = b"%d" % write.version
            if name in ("INCRBY", "SETRANGE"):  # the key is away for a moment
                self.history.keys[key].nils.insert(-1, write.version - 1)
                self.history.keys[key].nils.sort()
            requests = WRITES[name](key, value)
            if ttl:
                requests = [("SET", key, value, "PX", ttl)]
        await self.settle(link, key, write, by, requests)

    async def settle(
        self, link: Link, key: bytes, write: Write, by: str, requests: Requests
    ) -> None:
        """Send a write and note whether it was done."""
        try:
            replies = await link.ask(*requests)
        except Gone:
            replies = [hiredis.ReplyError("gone")]
        self.writes += 1
        if any(map(failed, replies)):
            # It may yet be done: no later write of this key before it surely is or never will be.
            self.failures += 1
            await asyncio.sleep(0.15)
        else:
            self.history.acknowledge(key, write, by)

    # --- Readers --------------------------------------------------------------------------

    async def reader(self, port: int, proxy: str, number: int, resp: int) -> None:
        """Reads, in batches of all kinds; what it saw it must not unsee."""
        keys = list(self.history.keys)
        while self.going:
            link = Link(port, resp)
            reader = Reader(f"reader {number} (RESP{resp})", proxy)
            with contextlib.suppress(Gone):
                while self.going:
                    kind = self.random.random()
                    if kind < 0.5:
                        await self.pair(link, reader, self.random.choice(keys))
                    elif kind < 0.9:
                        picked = self.random.choices(keys, k=self.random.randint(2, 12))
                        await self._batch(link, reader, picked)
                    else:
                        await self._mixed(link, reader, self.random.choices(keys, k=4))
                    await asyncio.sleep(0)
            link.close()
            if self.going:
                self.failures += 1
                await asyncio.sleep(0.02)

    async def pair(self, link: Link, reader: Reader, key: bytes) -> None:
        """One read, by whatever lane, and a plain one behind it."""
        for words in (self.random.choice(READS)(key), ("GET", key)):
            await self._read(link, reader, [key], [words])

    async def _batch(self, link: Link, reader: Reader, keys: list[bytes]) -> None:
        """GETs and an MGET in one piece."""
        requests: Requests = [("GET", key) for key in keys]
        if self.random.random() < 0.5:
            requests.insert(self.random.randrange(len(keys)), ("MGET", *keys))
        await self._read(link, reader, keys, requests)

    async def _mixed(self, link: Link, reader: Reader, keys: list[bytes]) -> None:
        """Reads, a write of our own, and reads behind it."""
        mine = keys[0]
        async with self.history.writing(mine):
            ttl = self.random.choice(self.ttls) if self.ttls else 0
            write = self.history.issue(mine, lives=ttl / 1000)
            own: tuple[object, ...] = ("SET", mine, b"%d" % write.version)
            if ttl:
                own = (*own, "PX", ttl)
            gets: Requests = [("GET", key) for key in keys]
            await self._read(link, reader, keys, [*gets, own, *gets], mine, write)

    async def _read(
        self,
        link: Link,
        reader: Reader,
        keys: list[bytes],
        requests: Requests,
        mine: bytes = b"",
        write: Write | None = None,
    ) -> None:
        floors = {key: self.history.floor(reader, key) for key in keys}
        sent = time.monotonic()
        replies = await link.ask(*requests)
        for words, reply in zip(requests, replies, strict=True):
            if failed(reply):
                self.failures += 1
                continue
            if words[0] == "SET" and write is not None:
                self.history.acknowledge(mine, write, reader.proxy)
                reader.seen[mine] = max(reader.seen[mine], write.version)
                continue
            for key, value in _values(words, reply):
                how = f"{words[0]} at P={len(requests)}"
                self.history.look(reader, key, value, floors[key], sent, how)

    async def prober(self, port: int, direct: int, key: bytes) -> None:
        """How soon a direct write shows through a proxy: the key is its alone."""
        writing, reading = Link(direct), Link(port)
        number = 0
        with contextlib.suppress(Gone):
            while self.going:
                number += 1
                await reading.one("GET", key)
                await reading.one("GET", key)
                await writing.one("SET", key, number)
                began = time.monotonic()
                while (await reading.one("GET", key)) != b"%d" % number and self.going:
                    if time.monotonic() - began > 10:
                        raise Broken(f"probe {number} of {key!r} did not show in 10 s")
                self.shown.append(time.monotonic() - began)
                await asyncio.sleep(0.005)
        writing.close()
        reading.close()


READS: Final[list[Callable[[bytes], tuple[object, ...]]]] = [
    lambda key: ("GET", key),
    lambda key: ("GET", key),
    lambda key: ("MGET", key, key),
    lambda key: ("GETORSET", key),
    lambda key: ("GETRANGE", key, 0, -1),
    lambda key: ("EVAL", "return redis.call('GET', KEYS[1])", 1, key),
    lambda key: ("EVAL_RO", "return redis.call('GET', ARGV[1])", 0, key),
]


def _values(words: tuple[object, ...], reply: Reply) -> list[tuple[bytes, bytes | None]]:
    """The keys that a request read, and what it found."""
    name = words[0]
    if name == "MGET":
        return list(zip(words[1:], reply, strict=True))  # type: ignore[arg-type]
    if name == "HMGET":
        return [(words[1], reply[1])]  # type: ignore[list-item]
    if name == "HGETALL":  # a map, or flat
        pairs = (
            reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
        )
        return [(words[1], pairs.get(b"v"))]  # type: ignore[list-item]
    if name == "GETRANGE":
        return [(words[1], reply or None)]  # type: ignore[list-item]
    if name in ("EVAL", "EVAL_RO"):
        return [(words[-1], reply)]  # type: ignore[list-item]
    return [(words[1], reply)]  # type: ignore[list-item]
