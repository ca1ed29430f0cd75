"""The same load with versions in a field of a hash, for ``near_reads = "all"``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .history import Reader
from .load import Link, Load, Requests

FIELD: Final = b"v"
HSET: Final = "return redis.call('HSET', KEYS[1], 'v', ARGV[1])"
WRITES: Final[dict[str, Callable[[bytes, bytes], Requests]]] = {
    "HSET": lambda key, value: [("HSET", key, FIELD, value)],
    "HMSET": lambda key, value: [("HMSET", key, "other", "1", FIELD, value)],
    "RENAME": lambda key, value: [
        ("HSET", key + b":t", FIELD, value), ("RENAME", key + b":t", key),
    ],
    "EVAL": lambda key, value: [("EVAL", HSET, 1, key, value)],
    "MULTI": lambda key, value: [("MULTI",), ("HSET", key, FIELD, value), ("EXEC",)],
}  # fmt: skip
DELETES: Final[list[Callable[[bytes], Requests]]] = [
    lambda key: [("DEL", key)],
    lambda key: [("HDEL", key, FIELD)],
]
READS: Final[list[Callable[[bytes], tuple[object, ...]]]] = [
    lambda key: ("HGET", key, FIELD),
    lambda key: ("HGET", key, FIELD),
    lambda key: ("HMGET", key, "other", FIELD),
    lambda key: ("HGETALL", key),
    lambda key: ("EVAL", "return redis.call('HGET', KEYS[1], 'v')", 1, key),
]


class HashLoad(Load):
    async def write(self, link: Link, key: bytes, by: str, *, proxied: bool) -> None:
        if self.random.random() < 0.15:
            write = self.history.issue(key, nil=True)
            requests = self.random.choice(DELETES)(key)
        else:
            write = self.history.issue(key)
            requests = WRITES[self.random.choice(list(WRITES))](key, b"%d" % write.version)
        await self.settle(link, key, write, by, requests)

    async def pair(self, link: Link, reader: Reader, key: bytes) -> None:
        for _ in range(2):
            await self._read(link, reader, [key], [self.random.choice(READS)(key)])

    async def _batch(self, link: Link, reader: Reader, keys: list[bytes]) -> None:
        await self._read(
            link, reader, keys, [self.random.choice(READS)(key) for key in keys for _ in range(2)]
        )

    async def _mixed(self, link: Link, reader: Reader, keys: list[bytes]) -> None:
        await self._batch(link, reader, keys)
