"""GETORSET: its words, and which way a request takes; loads and the server are fakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from nearhit.commands import getorset
from nearhit.commands.getorset import SPEC, Request
from nearhit.lua import Script
from nearhit.proxy.custom.spec import Call, Expiry
from nearhit.proxy.errors import BadInput, OddReply, ServerError
from nearhit.proxy.resp.replies import Value

from tests.shelf import FakeCounts, FakeLoads

SYNTAX = "syntax error"
EXPIRE = "invalid expire time in 'getorset' command"


class Server:
    """Answers the script, and writes it into the journal."""

    def __init__(self, journal: list[Any], reply: list[Value]) -> None:
        self.journal = journal
        self.reply = reply
        self.error: Exception | None = None

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        self.journal.append((script.name, *keys, *args))
        if self.error is not None:
            raise self.error
        return self.reply


class Counts(FakeCounts):
    def read(self, *, hit: bool) -> None:
        self.add("hits" if hit else "misses")


class Loads(FakeLoads):
    async def load(self, key: bytes) -> bytes | None:
        self.journal.append(("load", key))
        return b"loaded"


class Desk:
    def __init__(self, *reply: Value) -> None:
        self.journal: list[Any] = []
        self.server = Server(self.journal, list(reply))
        self.counts = Counts()

    async def run(self, *words: bytes) -> Value:
        world = cast(Any, dict.fromkeys(Call.__slots__))
        world |= {
            "request": getorset.parse(words),
            "upstream": self.server,
            "loads": Loads(self.journal),
            "writes": Loads(self.journal),
            "stats": self.counts,
        }
        return await getorset.run(Call(**world))


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (b"GETORSET k", Request(b"k")),
        (b"GETORSET k v", Request(b"k", b"v")),
        (b"getorset k EX", Request(b"k", b"EX")),
        (b"GETORSET k v ex 5", Request(b"k", b"v", Expiry(b"EX", 5))),
        (b"GETORSET k v PXAT 5", Request(b"k", b"v", Expiry(b"PXAT", 5))),
    ],
)
def test_words_are_read(words: bytes, request_: Request) -> None:
    assert getorset.parse(words.split()) == request_


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (b"GETORSET k v NX", SYNTAX),
        (b"GETORSET k v EX", SYNTAX),
        (b"GETORSET k v EX 1 PX 1", SYNTAX),
        (b"GETORSET k v EX 0", EXPIRE),
        (b"GETORSET k v EX x", "value is not an integer or out of range"),
    ],
)
def test_wrong_words_are_refused(words: bytes, error: str) -> None:
    with pytest.raises(BadInput) as refused:
        getorset.parse(words.split())

    assert refused.value.line == f"-ERR {error}\r\n".encode()


def test_only_a_request_without_a_value_is_probed() -> None:
    assert SPEC.probe(Request(b"k")) == (b"GET", b"k")
    assert SPEC.probe(Request(b"k", b"v")) is None


async def test_without_a_value_the_loader_is_asked() -> None:
    desk = Desk()

    assert await desk.run(b"GETORSET", b"k") == b"loaded"
    assert desk.journal == [("load", b"k")]


async def test_a_value_voids_loads_before_and_behind_the_script() -> None:
    desk = Desk(b"v", 0)

    assert await desk.run(b"GETORSET", b"k", b"v", b"EX", b"5") == b"v"
    assert desk.journal == [
        ("void", b"k"),
        ("getorset", b"k", b"lease:{k}", b"v", b"EX", b"5"),
        ("void", b"k", b"lease:{k}"),
    ]
    assert desk.counts.counts == {"misses": 1}


async def test_what_stands_there_is_a_hit() -> None:
    desk = Desk(b"there", 1)

    assert await desk.run(b"GETORSET", b"k", b"v") == b"there"
    assert desk.journal[1] == ("getorset", b"k", b"lease:{k}", b"v", b"", b"")
    assert desk.counts.counts == {"hits": 1}


async def test_an_error_of_the_server_is_the_answer_and_no_read() -> None:
    desk = Desk()
    desk.server.error = ServerError(b"-WRONGTYPE no string")

    with pytest.raises(ServerError, match="WRONGTYPE"):
        await desk.run(b"GETORSET", b"k", b"v")

    assert desk.counts.counts == {}


@pytest.mark.parametrize("reply", [(), (b"v",), (1, b"v"), (b"v", 1, 2)])
async def test_an_odd_reply_is_told_and_what_was_read_before_is_old(reply: tuple[object]) -> None:
    desk = Desk(*reply)

    with pytest.raises(OddReply):
        await desk.run(b"GETORSET", b"k", b"v")

    assert [entry[0] for entry in desk.journal] == ["void", "getorset", "void"]
