"""Many strings at once, of which some may be stale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from nearhit.proxy.custom.spec import Call
from nearhit.proxy.custom.strings import UNKNOWN, strings
from nearhit.proxy.errors import OddReply, ServerError
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.resp.requests import encode


class World:
    """A server whose answers are scripted, and refreshes for keys that begin with t or s (softly),
    that have a newer value than "old"."""

    def __init__(self, *replies: Value) -> None:
        self.replies = list(replies)
        self.asked: list[bytes] = []
        self.told: list[tuple[bytes, int]] = []
        self.waited: list[tuple[bytes, int]] = []

    async def ask(self, *words: bytes) -> Value:
        self.asked.append(encode(words))
        (reply,) = self.replies
        return reply

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        self.asked += requests
        return self.replies

    def timed(self, key: bytes) -> bool:
        return key[:1] in (b"t", b"s")

    def softly(self, key: bytes, ttl_ms: int) -> bool:
        return key.startswith(b"s") and ttl_ms < 10

    def seen(self, key: bytes, ttl_ms: int) -> None:
        self.told.append((key, ttl_ms))

    async def newest_of(
        self, found: Mapping[bytes, tuple[bytes, int]]
    ) -> Mapping[bytes, bytes | None]:
        self.waited += [(key, ttl_ms) for key, (_, ttl_ms) in found.items()]
        return {key: None if value == b"gone" else b"new" for key, (value, _) in found.items()}

    async def read(self, *keys: bytes, stale: bool = True) -> list[bytes | None]:
        world = cast(Any, dict.fromkeys(Call.__slots__))
        world |= {"upstream": self, "refreshes": self if stale else None}
        return await strings(Call(**world), keys)


async def test_keys_that_are_never_stale_are_read_by_mget() -> None:
    for stale in (True, False):
        world = World([b"1", None])

        assert await world.read(b"a", b"b", stale=stale) == [b"1", None]
        assert world.asked == [encode([b"MGET", b"a", b"b"])]


async def test_of_those_that_may_be_it_is_asked_how_long_they_last() -> None:
    world = World([b"1", b"2", None, b"1"], 7, ServerError(b"-NOPERM x\r\n"), -2)

    assert await world.read(b"t1", b"t2", b"t3", b"t1") == [b"1", b"2", None, b"1"]
    assert world.asked[1:] == [encode([b"PTTL", key]) for key in (b"t1", b"t2", b"t3")]
    assert world.told == [(b"t1", 7), (b"t2", UNKNOWN)]
    assert not world.waited


async def test_for_some_a_fresh_one_is_waited_for() -> None:
    world = World([b"a", b"old", b"gone", b"fresh"], 5, 6, 70)

    assert await world.read(b"a", b"s1", b"s2", b"s3") == [b"a", b"new", None, b"fresh"]
    assert world.waited == [(b"s1", 5), (b"s2", 6)]
    assert world.told == [(b"s3", 70)]


async def test_what_the_server_refuses_is_raised() -> None:
    with pytest.raises(ServerError):
        await World(ServerError(b"-NOPERM x\r\n"), 1).read(b"t")
    with pytest.raises(OddReply):
        await World([b"1"]).read(b"a", b"b")
