"""MGETORSET: its words, what it asks and loads, and what a failure makes of the reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from nearhit.commands import mgetorset
from nearhit.commands.mgetorset import Request, look_near, parse
from nearhit.proxy.custom.spec import Call
from nearhit.proxy.errors import (
    BadInput,
    CacheBusy,
    LoadError,
    NoLoader,
    OddReply,
    ProxyError,
    ServerError,
    UpstreamLost,
)
from nearhit.proxy.resp.replies import Value, parsed, reply
from nearhit.proxy.resp.strings import Known, Strings

from tests.shelf import FakeCounts


class Counts(FakeCounts):
    def read(self, *, hit: bool) -> None:
        self.add("hits" if hit else "misses")


class World:
    """A server that has ``there``, and loaders that have ``loads``."""

    def __init__(self, there: Mapping[bytes, bytes], loads: Mapping[bytes, Any]) -> None:
        self.there = there
        self.loads = loads
        self.asked: list[tuple[bytes, ...]] = []
        self.loaded: list[bytes] = []
        self.counts = Counts()
        self.away = False

    async def ask_raw(self, request: bytes) -> bytes:
        words = tuple(cast("list[bytes]", parsed(request)))
        self.asked.append(words)
        return reply([self.there.get(key) for key in words[1:]], 3)

    def alone(self, key: bytes) -> bool:
        return self.fails_open(key) and self.away

    def fails_open(self, key: bytes) -> bool:
        return key in self.loads

    async def load(self, key: bytes) -> bytes | None:
        self.loaded.append(key)
        if key not in self.loads:
            raise NoLoader(key)
        value = self.loads[key]
        if isinstance(value, ProxyError):
            raise value
        return cast("bytes | None", value)

    async def run(self, request: Request) -> Value:
        world = cast(Any, dict.fromkeys(Call.__slots__))
        world |= {"request": request, "upstream": self, "loads": self, "stats": self.counts}
        strings = await mgetorset.run(Call(**world))
        assert isinstance(strings, Strings)
        return list(strings)


def test_words_are_read() -> None:
    assert parse(b"MGETORSET 2 a b".split()) == Request([b"a", b"b"])
    assert parse(b"mgetorset 1 partial Partial".split()) == Request([b"partial"], True)
    assert mgetorset.key_names(b"MGETORSET 1 a PARTIAL".split()) == [b"a"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (b"x k", "value is not an integer or out of range"),
        (b"-1 k", "numkeys should be greater than 0"),
        (b"2 k", "syntax error"),
        (b"1 k PARTIAL x", "syntax error"),
    ],
)
def test_a_mistake_is_refused(words: bytes, error: str) -> None:
    with pytest.raises(BadInput, match=error):
        parse([b"MGETORSET", *words.split()])


async def test_one_question_and_a_load_of_each_key_that_is_missing() -> None:
    world = World({b"a": b"1"}, {b"b": b"2", b"d": None})

    assert await world.run(Request([b"a", b"b", b"a", b"c", b"d", b"b"])) == [
        b"1",
        b"2",
        b"1",
        None,
        None,
        b"2",
    ]
    assert world.asked == [(b"MGET", b"a", b"b", b"a", b"c", b"d", b"b")]
    assert world.loaded == [b"b", b"c", b"d"]
    assert (world.counts.counts["hits"], world.counts.counts["misses"]) == (2, 4)
    assert world.loaded == [b"b", b"c", b"d"]


async def test_what_is_near_is_not_asked_for() -> None:
    world = World({b"c": b"3"}, {b"b": b"2"})
    told = b"*4\r\n$4\r\nnear\r\n"
    some = Known(told, [len(told), len(told), len(told)], [b"b", b"c", b"d"])
    whole = Known(b"*2\r\n$4\r\nnear\r\n$4\r\nnear\r\n")
    request = look_near(Request([b"a", b"b", b"c", b"d"]), lambda keys: some)
    near = look_near(Request([b"a", b"a"]), lambda keys: whole)
    assert isinstance(request, Request)
    assert isinstance(near, Request)

    assert await world.run(request) == [b"near", b"2", b"3", None]
    assert await world.run(near) == [b"near", b"near"]
    assert world.asked == [(b"MGET", b"b", b"c", b"d")]
    assert (world.counts.counts["hits"], world.counts.counts["misses"]) == (1, 2)


async def test_a_failure_is_the_reply_and_names_its_key() -> None:
    bad = LoadError("x", "down")
    world = World({}, {b"a": b"1", b"b": bad, b"c": CacheBusy("too many")})

    with pytest.raises(ProxyError) as caught:
        await world.run(Request([b"a", b"b", b"c"]))

    assert caught.value.line == b"-LOADERR loader 'x': down (key 'b'; 2 failed)\r\n"


async def test_partial_does_without_and_counts() -> None:
    wrong = ServerError(b"-WRONGTYPE not a string\r\n")
    world = World({}, {b"a": b"1", b"b": LoadError("x", "down"), b"c": wrong})

    assert await world.run(Request([b"a", b"b", b"c"], True)) == [b"1", None, None]
    assert world.counts.counts["partial_failures"] == 2
    with pytest.raises(ServerError) as caught:
        await world.run(Request([b"c"]))
    assert caught.value.line == b"-WRONGTYPE not a string\r\n"


async def test_a_server_that_is_lost_is_no_failure_of_a_load() -> None:
    world = World({}, {b"a": UpstreamLost("gone")})

    with pytest.raises(UpstreamLost):
        await world.run(Request([b"a"], True))


@pytest.mark.parametrize("keys", [[b"a"], [b"a", b"nobody's"]])
async def test_where_a_node_is_away_loaders_make_up_for_it_if_all_keys_have_one(
    keys: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World({}, {b"a": b"loaded"})

    async def down(request: bytes) -> bytes:
        raise ServerError(UpstreamLost("gone").line)

    monkeypatch.setattr(world, "ask_raw", down)
    if len(keys) == 1:
        assert await world.run(Request(keys)) == [b"loaded"]
    else:
        with pytest.raises(ServerError, match="connection to the server lost"):
            await world.run(Request(keys))


async def test_an_answer_that_makes_no_sense_is_told() -> None:
    world = World({b"a": cast(bytes, 5)}, {})

    with pytest.raises(OddReply):
        await world.run(Request([b"a"]))


async def test_a_long_list_is_loaded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mgetorset, "SIDE_BY_SIDE", 2)
    keys = tuple(b"%d" % n for n in range(5))
    world = World({}, {key: key for key in keys})

    assert await world.run(Request(list(keys))) == list(keys)
