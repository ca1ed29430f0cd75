"""GETORSET: its words, and which way a request takes; loads and the server are fakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from nearhit.commands import getorset
from nearhit.commands.getorset import LEASE_MS, SPEC, WAIT_MS, Request
from nearhit.lua import Script
from nearhit.proxy.custom.spec import Call, Expiry
from nearhit.proxy.errors import BadInput, CacheBusy, OddReply, ProxyError, ServerError
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
        (
            b"GETORSET k v TAG a EX 5 tag TAG TAG a",
            Request(b"k", b"v", Expiry(b"EX", 5), (b"a", b"TAG")),
        ),
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
        (b"GETORSET k v TAG", SYNTAX),
        (b"GETORSET k v TAG }a", "a tag is not empty and does not begin with '}'"),
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


# --- Tags -------------------------------------------------------------------------------------

TAGGED = b"GETORSET k v PX 5 TAG t"
LEASED = None, b"t1"


class Tagging:
    """The server and the leases, as a journal and what they answer."""

    def __init__(self, leased: tuple[bytes | None, bytes | None] = LEASED) -> None:
        self.journal: list[Any] = []
        self.leased = leased
        self.epochs: list[bytes] = [b"7", b"7"]
        self.stored: bool | ProxyError = True
        self.counts = Counts()

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        self.journal.append((script.name, *keys))
        epoch = self.epochs.pop(0)
        return epoch if script.name == "tag_read" else [epoch, 5]

    async def lease(self, *args: object) -> tuple[bytes | None, bytes | None]:
        self.journal.append(("lease", *args))
        return self.leased

    async def fill(self, *args: object) -> bool:
        self.journal.append(("fill", *args))
        if isinstance(self.stored, ProxyError):
            raise self.stored
        return self.stored

    async def cancel(self, *args: object) -> bool:
        self.journal.append(("cancel", *args))
        return True

    async def getorset(self) -> Value:
        world = cast(Any, dict.fromkeys(Call.__slots__))
        world |= {"request": getorset.parse(TAGGED.split()), "upstream": self, "leases": self}
        return await getorset.run(Call(**world | {"stats": self.counts}))


async def test_a_value_with_tags_is_attached_and_stored_under_a_lease() -> None:
    here = Tagging()

    assert await here.getorset() == b"v"
    assert here.journal == [
        ("tag_read", b"tagepoch:{t}"),
        ("lease", b"k", LEASE_MS, WAIT_MS),
        ("tag_add", b"tag:{t}", b"tagepoch:{t}"),
        ("fill", b"k", b"t1", b"v", Expiry(b"PX", 5)),
    ]
    assert here.counts.counts == {"misses": 1}


async def test_a_value_whose_tag_was_invalidated_is_returned_and_not_stored() -> None:
    here = Tagging()
    here.epochs = [b"7", b"8"]

    assert await here.getorset() == b"v"
    assert here.journal[3:] == [("cancel", b"k", b"t1")]


async def test_a_lease_that_was_lost_leaves_nothing() -> None:
    here = Tagging()
    here.stored = False

    assert await here.getorset() == b"v"
    assert here.journal[-1] == ("cancel", b"k", b"t1")


async def test_an_error_on_the_way_gives_the_lease_up() -> None:
    here = Tagging()
    here.stored = ServerError(b"-OOM")

    with pytest.raises(ServerError, match="OOM"):
        await here.getorset()

    assert here.journal[-1] == ("cancel", b"k", b"t1")
    assert here.counts.counts == {}


async def test_what_stands_is_returned_and_gets_no_tag() -> None:
    here = Tagging((b"there", None))

    assert await here.getorset() == b"there"
    assert [entry[0] for entry in here.journal] == ["tag_read", "lease"]
    assert here.counts.counts == {"hits": 1}


async def test_who_computes_for_too_long_makes_the_others_busy() -> None:
    with pytest.raises(CacheBusy, match="another computes 'k'"):
        await Tagging((None, None)).getorset()


def test_only_a_request_with_tags_may_wait_for_others() -> None:
    assert SPEC.waits(getorset.parse(TAGGED.split()))
    assert not SPEC.waits(Request(b"k", b"v"))
