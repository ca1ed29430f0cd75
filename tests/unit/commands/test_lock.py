"""How LOCK's words are read and what its replies look like; the locks themselves are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from nearhit.commands import lock
from nearhit.commands.lock import Acquire, Extend, Help, Info, List, Release
from nearhit.proxy.custom.spec import Call
from nearhit.proxy.custom.words import MS_MAX, WAIT_MAX
from nearhit.proxy.errors import BadInput, NoMajority, ServerError
from nearhit.proxy.locking.grants import Grant
from nearhit.proxy.locking.tenure import Tenure
from nearhit.proxy.resp.replies import Value, reply

from tests.shelf import Desk


def words(line: str) -> list[bytes]:
    return [b"" if word == "''" else word.encode() for word in line.split(" ")]


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("LOCK ACQUIRE r", Acquire(b"r", 30_000, 0, None, False)),
        ("lock acquire r px 5", Acquire(b"r", 5, 0, None, False)),
        ("LOCK ACQUIRE r EX 5", Acquire(b"r", 5_000, 0, None, False)),
        ("LOCK ACQUIRE r WAIT 0", Acquire(b"r", 30_000, 0, None, False)),
        (
            "LOCK ACQUIRE EX FENCE WAIT 7 TOKEN PX PX 9",
            Acquire(b"EX", 9, 7, b"PX", True),
        ),
        (f"LOCK ACQUIRE r WAIT {2**63 - 1}", Acquire(b"r", 30_000, WAIT_MAX, None, False)),
        (f"LOCK ACQUIRE r TOKEN {'t' * 1024}", Acquire(b"r", 30_000, 0, b"t" * 1024, False)),
        (f"LOCK INFO {'r' * 65536}", Info(b"r" * 65536)),
        ("LOCK RELEASE r t", Release(b"r", b"t")),
        ("LOCK RELEASE r ''", Release(b"r", b"")),
        ("LOCK EXTEND r t PX 5", Extend(b"r", b"t", 5)),
        ("LOCK EXTEND r t ex 5", Extend(b"r", b"t", 5_000)),
        ("LOCK ACQUIRE r RENEW", Acquire(b"r", 30_000, 0, None, False, True)),
        (
            "LOCK ACQUIRE r MAXHOLD 9000 FENCE RENEW",
            Acquire(b"r", 9_000, 0, None, True, True, 9_000),
        ),
        (
            "LOCK ACQUIRE r RENEW MAXHOLD 90000 PX 7",
            Acquire(b"r", 7, 0, None, False, True, 90_000),
        ),
        ("LOCK ACQUIRE r REPLICAS 2", Acquire(b"r", 30_000, 0, None, False, replicas=2)),
        ("LOCK LIST", List(b"*")),
        ("LOCK LIST mail*", List(b"mail*")),
        ("LOCK HELP", Help()),
    ],
)
def test_words_are_read(line: str, request_: lock.Request) -> None:
    assert lock.parse(words(line)) == request_


ARITY = "wrong number of arguments for 'lock|{}' command"
SYNTAX = "syntax error"
INTEGER = "value is not an integer or out of range"
EXPIRE = "invalid expire time in 'lock' command"
RESOURCE = "invalid resource: it has 1 to 65536 bytes"
TOKEN = "invalid token: it has 1 to 1024 bytes"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("LOCK ACQUIRE", ARITY.format("acquire")),
        ("LOCK RELEASE r", ARITY.format("release")),
        ("LOCK RELEASE r t x", ARITY.format("release")),
        ("LOCK EXTEND r t", ARITY.format("extend")),
        ("LOCK EXTEND r t PX 5 EX 5", ARITY.format("extend")),
        ("LOCK INFO", ARITY.format("info")),
        ("LOCK INFO r r", ARITY.format("info")),
        ("LOCK HELP me", ARITY.format("help")),
        ("LOCK ACQUIRE r MAXHOLD 5", SYNTAX),
        ("LOCK ACQUIRE r REPLICAS", SYNTAX),
        ("LOCK ACQUIRE r REPLICAS x", INTEGER),
        ("LOCK ACQUIRE r REPLICAS 0", "invalid REPLICAS in 'lock' command: it is 1 to 1000"),
        ("LOCK ACQUIRE r RENEW RENEW", SYNTAX),
        ("LOCK ACQUIRE r RENEW MAXHOLD", SYNTAX),
        ("LOCK ACQUIRE r RENEW MAXHOLD x", INTEGER),
        ("LOCK ACQUIRE r RENEW MAXHOLD 0", EXPIRE),
        ("LOCK LIST a b", SYNTAX),
        ("LOCK LIST ''", "invalid glob: it has 1 to 65536 bytes"),
        ("LOCK STEAL r", "unknown subcommand 'STEAL'. Try LOCK HELP."),
        ("LOCK ''", "unknown subcommand ''. Try LOCK HELP."),
        ("LOCK ACQUIRE r NX", SYNTAX),
        ("LOCK ACQUIRE r PX", SYNTAX),
        ("LOCK ACQUIRE r PX 1 EX 1", SYNTAX),
        ("LOCK ACQUIRE r PX 1 PX 1", SYNTAX),
        ("LOCK ACQUIRE r EXAT 1", SYNTAX),
        ("LOCK ACQUIRE r FENCE FENCE", SYNTAX),
        ("LOCK ACQUIRE r TOKEN", SYNTAX),
        ("LOCK ACQUIRE r TOKEN t TOKEN t", SYNTAX),
        ("LOCK ACQUIRE r WAIT", SYNTAX),
        ("LOCK ACQUIRE r PX x NONSENSE", SYNTAX),
        ("LOCK EXTEND r t FENCE 1", SYNTAX),
        ("LOCK EXTEND r t WAIT 1", SYNTAX),
        ("LOCK ACQUIRE r PX x", INTEGER),
        ("LOCK ACQUIRE r PX 1.5", INTEGER),
        (f"LOCK ACQUIRE r PX {2**63}", INTEGER),
        ("LOCK ACQUIRE r WAIT x", INTEGER),
        ("LOCK EXTEND r t PX x", INTEGER),
        ("LOCK ACQUIRE r PX 0", EXPIRE),
        ("LOCK ACQUIRE r EX -1", EXPIRE),
        (f"LOCK ACQUIRE r PX {MS_MAX}", EXPIRE),
        (f"LOCK ACQUIRE r EX {MS_MAX // 1000 + 1}", EXPIRE),
        ("LOCK EXTEND r t PX 0", EXPIRE),
        ("LOCK ACQUIRE r WAIT -1", "timeout is negative"),
        ("LOCK ACQUIRE ''", RESOURCE),
        (f"LOCK INFO {'r' * 65537}", RESOURCE),
        ("LOCK ACQUIRE r TOKEN ''", TOKEN),
        (f"LOCK ACQUIRE r TOKEN {'t' * 1025}", TOKEN),
    ],
)
def test_wrong_words_are_refused(line: str, error: str) -> None:
    with pytest.raises(BadInput) as caught:
        lock.parse(words(line))

    assert caught.value.line == f"-ERR {error}\r\n".encode()


class FakeLocks:
    """Says what it was asked, and what it was told to say."""

    def __init__(self) -> None:
        self.grant: Grant | None = Grant(b"t", 7, 9)
        self.asked: list[tuple[object, ...]] = []

    async def acquire(self, *args: object) -> Grant | None:
        self.asked.append(args)
        return self.grant

    async def acquire_kept(self, *args: object) -> Grant | None:
        self.asked.append(args)
        return self.grant

    async def release(self, *args: object) -> bool:
        self.asked.append(args[:2])
        return True

    async def extend(self, *args: object) -> bool:
        self.asked.append(args[:3])
        return False

    async def info(self, resource: bytes) -> Mapping[str, Value]:
        return {"held": True, "fence": None, "ttl_ms": 5, "waiters": 0}


@pytest.mark.parametrize(
    ("line", "resp", "expected"),
    [
        ("LOCK ACQUIRE r", 2, b"$1\r\nt\r\n"),
        ("LOCK ACQUIRE r FENCE", 2, b"*3\r\n$1\r\nt\r\n:7\r\n:9\r\n"),
        ("LOCK RELEASE r t", 3, b":1\r\n"),
        ("LOCK EXTEND r t PX 1", 3, b":0\r\n"),
        (
            "LOCK INFO r",
            3,
            b"%4\r\n$4\r\nheld\r\n#t\r\n$5\r\nfence\r\n_\r\n$6\r\nttl_ms\r\n:5\r\n"
            b"$7\r\nwaiters\r\n:0\r\n",
        ),
        (
            "LOCK INFO r",
            2,
            b"*8\r\n$4\r\nheld\r\n:1\r\n$5\r\nfence\r\n$-1\r\n$6\r\nttl_ms\r\n:5\r\n"
            b"$7\r\nwaiters\r\n:0\r\n",
        ),
    ],
)
async def test_replies(line: str, resp: int, expected: bytes) -> None:
    assert reply(await lock.run(call(line, FakeLocks())), resp) == expected


@pytest.mark.parametrize("fence", ["", " FENCE"])
async def test_a_lock_that_another_holds_is_nil(fence: str) -> None:
    locks = FakeLocks()
    locks.grant = None

    assert await lock.run(call("LOCK ACQUIRE r" + fence, locks)) is None


async def test_the_locks_are_asked_for_what_the_words_say() -> None:
    locks = FakeLocks()
    for line in ["ACQUIRE r PX 5 WAIT 6 TOKEN t", "RELEASE r t", "EXTEND r t EX 1"]:
        await lock.run(call("LOCK " + line, locks))

    assert locks.asked == [(b"r", 5, 6, b"t"), (b"r", b"t"), (b"r", b"t", 1_000)]


async def test_help_names_every_subcommand() -> None:
    text = cast(tuple[str, ...], await lock.run(call("LOCK HELP", FakeLocks())))

    named = {line.split(" ")[0] for line in text[1:] if not line.startswith(" ")}
    assert named == {sub.name for sub in lock.SPEC.subcommands}


def call(line: str, locks: FakeLocks) -> Call:
    nothing = cast(Any, None)
    made = Call(**dict.fromkeys(Call.__slots__, nothing))
    return replace(made, request=lock.parse(words(line)), locks=cast(Any, locks))


@pytest.mark.parametrize(
    ("words", "grants"),
    [("LOCK ACQUIRE r", True), ("LOCK ACQUIRE r WAIT 5", True), ("LOCK RELEASE r t", False)],
)
def test_only_an_acquire_may_grant_what_nobody_else_can_have(words: str, grants: bool) -> None:
    assert lock.SPEC.grants(lock.parse(words.encode().split())) is grants


# --- RENEW ------------------------------------------------------------------------------------


async def test_a_lock_is_renewed_for_a_client_that_stays_and_for_no_other() -> None:
    locks, tenure = FakeLocks(), cast(Any, Tenure(cast(Any, None), lambda: False, cast(Any, None)))
    renewed = call("LOCK ACQUIRE r RENEW MAXHOLD 60000", locks)

    assert await lock.run(replace(renewed, tenure=tenure)) == b"t"
    assert locks.asked == [(b"r", 30_000, 0, None, tenure, 60_000)]
    with pytest.raises(BadInput, match="RENEW is for clients that stay connected"):
        await lock.run(renewed)


async def test_so_many_replicas_are_asked_for_as_the_words_say() -> None:
    locks, tenure = FakeLocks(), cast(Any, Tenure(cast(Any, None), lambda: False, cast(Any, None)))

    await lock.run(call("LOCK ACQUIRE r REPLICAS 2", locks))
    await lock.run(replace(call("LOCK ACQUIRE r RENEW REPLICAS 1", locks), tenure=tenure))

    assert locks.asked == [(b"r", 30_000, 0, None, 2), (b"r", 30_000, 0, None, tenure, None, 1)]


# --- LIST -------------------------------------------------------------------------------------


def held(*resources: bytes) -> Desk:
    desk = Desk(*(b"lock:{%b}" % resource for resource in resources), b"lock:other", b"user:1")
    desk.shelf.px = {b"lock:{%b}" % resource: 5_000 for resource in resources}
    return desk


async def test_a_list_is_of_the_locks_that_match_with_the_time_left_of_each() -> None:
    desk = held(b"mail", b"mail:2", b"move")

    assert await desk.run(lock, b"LOCK", b"LIST", b"mail*") == {"mail": 5_000, "mail:2": 5_000}
    assert len(await desk.run(lock, b"LOCK", b"LIST")) == 3


async def test_a_list_is_of_all_nodes_at_a_pace() -> None:
    desk = held(*(b"%02d" % number for number in range(18)))
    desk.walks = [b"0", b"9"]

    found = await desk.run(lock, b"LOCK", b"LIST")

    assert len(found) == 18
    assert [entry[1] for entry in desk.did(b"SCAN")] == [
        b"0",
        b"3",
        b"6",
        b"9",
        b"12",
        b"15",
        b"18",
    ]


async def test_a_lock_without_an_end_is_listed_without_a_time_and_one_that_ended_is_not() -> None:
    desk = held(b"a", b"b")
    desk.shelf.px = {b"lock:{a}": -1, b"lock:{b}": -2}

    assert await desk.run(lock, b"LOCK", b"LIST") == {"a": None}


async def test_a_resource_of_any_bytes_is_listed_as_it_is() -> None:
    desk = held(b"\xff[")

    assert b"$2\r\n\xff[\r\n" in reply(await desk.run(lock, b"LOCK", b"LIST"), 3)


@pytest.mark.parametrize("command", [b"SCAN", b"PTTL"])
async def test_what_the_server_refuses_of_a_list_is_the_answer(command: bytes) -> None:
    desk = held(b"a")
    no = ServerError(b"-NOPERM no permissions")
    desk.shelf.refuse = lambda words: no if words[0] == command else None

    with pytest.raises(ServerError, match="NOPERM"):
        await desk.run(lock, b"LOCK", b"LIST")


async def test_a_list_that_would_be_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LIST_MAX", 2)

    with pytest.raises(BadInput, match="more than 2 locks are held"):
        await held(b"a", b"b", b"c").run(lock, b"LOCK", b"LIST")


def servers(*held_at: dict[bytes, int]) -> list[Desk]:
    desks = []
    for times in held_at:
        desk = Desk(*(b"lock:{%b}" % name for name in times))
        desk.shelf.px = {b"lock:{%b}" % name: ms for name, ms in times.items()}
        desks.append(desk)
    return desks


async def listed(desks: list[Desk]) -> Any:
    here = replace(
        call("LOCK LIST", FakeLocks()),
        lock_servers=[desk.shelf for desk in desks],
        now=lambda: 0.0,
    )
    return await lock.run(here)


async def test_a_list_is_of_the_locks_that_most_lock_servers_have() -> None:
    desks = servers({b"a": 50, b"b": 9, b"c": -1}, {b"a": 70, b"c": -1}, {b"a": 60, b"d": 1})

    assert await listed(desks) == {"a": 60, "c": None}


async def test_a_list_needs_most_lock_servers_and_says_why_it_has_them_not() -> None:
    desks = servers({b"a": 50}, {b"a": 70}, {b"a": 60})
    desks[0].shelf.refuse = lambda words: ServerError(b"-NOPERM no")
    assert await listed(desks) == {"a": 60}

    desks[1].shelf.refuse = desks[0].shelf.refuse
    with pytest.raises(NoMajority, match="1 of 3 lock servers answered, 2 must agree: NOPERM no"):
        await listed(desks)


async def test_a_lock_server_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock, "LIST_S", 0.01)
    desks = servers({b"a": 50}, {b"a": 70}, {b"a": 60})

    async def never() -> list[Value]:
        await asyncio.Event().wait()
        return []

    desks[1].shelf.begin = lambda requests, count: never()  # type: ignore[method-assign, assignment]

    assert await listed(desks) == {"a": 50}


async def test_a_list_of_lock_servers_that_would_be_too_long_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock, "LIST_MAX", 1)

    with pytest.raises(BadInput, match="more than 1 locks are held"):
        await listed(servers({b"a": 50, b"b": 50}, {}, {}))
