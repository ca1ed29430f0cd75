"""LEASE: its words, and what the leases are asked; they are fakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import pytest
from nearhit.commands import lease
from nearhit.commands.lease import LEASE_MS, LEASE_MS_MAX, SPEC, Cancel, Get, Help, Set
from nearhit.lua import Script
from nearhit.proxy.custom.spec import Call, Expiry
from nearhit.proxy.custom.words import WAIT_MAX
from nearhit.proxy.errors import BadInput
from nearhit.proxy.resp.replies import Value

ARITY = "wrong number of arguments for 'lease|{}' command"
SYNTAX = "syntax error"
INTEGER = "value is not an integer or out of range"
EXPIRE = "invalid expire time in 'lease' command"


class FakeLeases:
    """Says what it was asked, and gives a lease, stores, and gives nothing up."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def lease(self, *args: object) -> tuple[bytes | None, bytes | None]:
        self.asked.append(("lease", *args))
        return None, b"t1"

    async def fill(self, *args: object) -> bool:
        self.asked.append(("fill", *args))
        return True

    async def cancel(self, *args: object) -> bool:
        self.asked.append(("cancel", *args))
        return False


async def run(leases: FakeLeases, words: str) -> Value:
    world = cast(Any, dict.fromkeys(Call.__slots__))
    world |= {"request": lease.parse(words.encode().split()), "leases": leases}
    return await lease.run(Call(**world))


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ("LEASE GET k", Get(b"k", LEASE_MS, 0)),
        ("lease get k wait 7 px 5", Get(b"k", 5, 7)),
        (f"LEASE GET k PX {LEASE_MS_MAX}", Get(b"k", LEASE_MS_MAX, 0)),
        (f"LEASE GET k WAIT {2**63 - 1}", Get(b"k", LEASE_MS, WAIT_MAX)),
        ("LEASE SET k t v", Set(b"k", b"t", b"v", None)),
        ("LEASE SET k t EX EX 5", Set(b"k", b"t", b"EX", Expiry(b"EX", 5))),
        ("LEASE SET k t v pxat 5", Set(b"k", b"t", b"v", Expiry(b"PXAT", 5))),
        ("LEASE SET k t v tag a PX 5 TAG b", Set(b"k", b"t", b"v", Expiry(b"PX", 5), (b"a", b"b"))),
        ("LEASE CANCEL k t", Cancel(b"k", b"t")),
        ("LEASE HELP", Help()),
    ],
)
def test_words_are_read(words: str, request_: lease.Request) -> None:
    assert lease.parse(words.encode().split()) == request_


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("LEASE GET", ARITY.format("get")),
        ("LEASE SET k t", ARITY.format("set")),
        ("LEASE CANCEL k", ARITY.format("cancel")),
        ("LEASE HELP me", ARITY.format("help")),
        ("LEASE STEAL k", "unknown subcommand 'STEAL'. Try LEASE HELP."),
        ("LEASE GET k EX 1", SYNTAX),
        ("LEASE GET k PX", SYNTAX),
        ("LEASE GET k PX 1 PX 1", SYNTAX),
        ("LEASE SET k t v NX", SYNTAX),
        ("LEASE SET k t v EX 1 PX 1", SYNTAX),
        ("LEASE GET k PX x", INTEGER),
        ("LEASE GET k PX 0", EXPIRE),
        ("LEASE SET k t v EX 0", EXPIRE),
        ("LEASE GET k WAIT -1", "timeout is negative"),
        (f"LEASE GET k PX {LEASE_MS_MAX + 1}", "a lease lasts at most 3600000 ms (PX)"),
    ],
)
def test_wrong_words_are_refused(words: str, error: str) -> None:
    with pytest.raises(BadInput) as refused:
        lease.parse(words.encode().split())

    assert refused.value.line == f"-ERR {error}\r\n".encode()


async def test_the_leases_are_asked_for_what_the_words_say() -> None:
    leases = FakeLeases()

    assert await run(leases, "LEASE GET k PX 5 WAIT 6") == (None, b"t1")
    assert await run(leases, "LEASE SET k t v EX 7") == 1
    assert await run(leases, "LEASE CANCEL k t") == 0

    assert leases.asked == [
        ("lease", b"k", 5, 6),
        ("fill", b"k", b"t", b"v", Expiry(b"EX", 7)),
        ("cancel", b"k", b"t"),
    ]


async def test_help_names_every_subcommand() -> None:
    text = cast("tuple[str, ...]", await run(FakeLeases(), "LEASE HELP"))

    named = {line.split(" ")[0] for line in text[1:] if not line.startswith(" ")}
    assert named == {sub.name for sub in SPEC.subcommands}


@pytest.mark.parametrize(
    ("words", "waits"),
    [("LEASE GET k", False), ("LEASE GET k WAIT 1", True), ("LEASE CANCEL k t", False)],
)
def test_only_a_get_with_a_wait_may_wait_for_others(words: str, waits: bool) -> None:
    assert SPEC.waits(lease.parse(words.encode().split())) is waits


@pytest.mark.parametrize(
    ("words", "grants"),
    [("LEASE GET k", True), ("LEASE GET k WAIT 5", True), ("LEASE CANCEL k t", False)],
)
def test_only_a_get_may_grant_what_nobody_else_can_have(words: str, grants: bool) -> None:
    assert SPEC.grants(lease.parse(words.encode().split())) is grants


# --- Tags -------------------------------------------------------------------------------------


class Epochs:
    """A server whose tag was invalidated so many milliseconds ago, -1 for never."""

    def __init__(self, age: int) -> None:
        self.age = age
        self.within: list[bytes] = []

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        assert (script.name, *keys) == ("tag_add", b"tag:{t}", b"tagepoch:{t}")
        assert args[2:] == (b"k", b"EX", b"7")
        self.within.append(args[0])
        return [b"8", self.age]


HOUR: Final = LEASE_MS_MAX


@pytest.mark.parametrize(
    ("taken", "age", "stored", "within"),
    [
        ((40.0, 50.0), -1, 1, b"10000"),
        ((40.0, 50.0), 5001, 1, b"10000"),
        ((40.0, 50.0), 5000, 0, b"10000"),
        # Through another proxy, at any time.
        (None, -1, 1, b"3600000"),
        (None, HOUR + 1, 1, b"3600000"),
        (None, HOUR, 0, b"3600000"),
    ],
)
async def test_a_tag_that_was_invalidated_since_the_lease_was_taken_refuses_the_value(
    taken: tuple[float, float] | None, age: int, stored: int, within: bytes
) -> None:
    leases, server = FakeLeases(), Epochs(age)
    leases.taken = lambda key, token: taken  # type: ignore[attr-defined]
    world = cast(Any, dict.fromkeys(Call.__slots__))
    request = lease.parse(b"LEASE SET k t1 v EX 7 TAG t".split())
    world |= {"request": request, "leases": leases, "upstream": server, "now": lambda: 45.0}

    assert await lease.run(Call(**world)) == stored

    assert server.within == [within]
    done = ("fill", b"k", b"t1", b"v", Expiry(b"EX", 7)) if stored else ("cancel", b"k", b"t1")
    assert leases.asked == [done]
