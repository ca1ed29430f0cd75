"""WAIT by ROLE: who is counted, how often it is asked, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from nearhit.proxy.errors import ProxyError, UpstreamDown
from nearhit.proxy.upstream.ask import Done, Reply
from nearhit.proxy.upstream.heard import LONGEST_MS, MOST, MS_MAX, Heard, Progress, Wanted

from tests.virtual import VirtualLoop

NOPERM = b"-NOPERM this user has no permissions to run the 'role' command\r\n"


def role(offset: int, *acks: int) -> bytes:
    rows = [b"*3\r\n$1\r\nh\r\n$1\r\n1\r\n$%d\r\n%d\r\n" % (len(b"%d" % ack), ack) for ack in acks]
    return b"*3\r\n$6\r\nmaster\r\n:%d\r\n*%d\r\n%b" % (offset, len(rows), b"".join(rows))


class Server:
    """``roles``: what it says of itself, the last one ever after. It blocks as servers do."""

    def __init__(self, *roles: Reply) -> None:
        self.roles = list(roles)
        self.seen: list[bytes] = []
        self.waits: Reply | None = None  # said to any WAIT instead
        self.blocked: Callable[[Reply], None] | None = None
        self.loop = asyncio.get_running_loop()
        self.late_s = 0.0005  # how much later than asked for it ends a wait
        self.answers: list[Reply] = []

    def ask(self, done: Done, *args: bytes) -> None:
        self.seen.append(b" ".join(args))
        if self.waits is not None:
            self.loop.call_soon(done, self.waits)
        elif args[1] == MOST:
            self.blocked = done
            self.loop.call_later(int(args[2]) / 1000 + self.late_s, self.unblock, done)
        else:
            self.loop.call_soon(done, b":9\r\n")

    def unblock(self, done: Callable[[Reply], None]) -> None:
        if self.blocked is done:
            self.blocked = None
            done(b":9\r\n")

    def role(self, done: Done) -> None:
        self.seen.append(b"ROLE")
        reply = self.roles.pop(0) if len(self.roles) > 1 else self.roles[0]
        self.loop.call_soon(done, reply)

    def asked(self, line: str) -> Heard:
        wanted = Wanted.of(line.encode().split())
        assert wanted is not None
        heard = Heard(wanted, self.ask, [self.role], self.loop, self.answers.append)
        heard.begin()
        return heard


def rounds(server: Server) -> list[int]:
    return [int(line.split()[2]) for line in server.seen if MOST in line]


def timed(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@timed
async def test_who_has_all_of_it_at_once_is_counted_without_waiting() -> None:
    server = Server(role(100, 100, 99, 130))
    server.asked("WAIT 2 0")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert server.answers == [b":2\r\n"]
    assert server.seen == [b"WAIT 0 0", b"ROLE"]


@timed
async def test_the_server_s_own_count_is_no_matter() -> None:
    server = Server(role(100, 50))
    server.asked("WAIT 1 50")
    await asyncio.sleep(0.2)

    assert server.answers == [b":0\r\n"]


@timed
async def test_the_goal_is_where_the_server_was_at_first() -> None:
    server = Server(role(100, 50), role(137, 50), role(500, 100))
    heard = server.asked("WAIT 1 0")
    await asyncio.sleep(0.02)

    assert server.answers == [b":1\r\n"]
    assert server.seen[2:4] == [b"WAIT 2147483647 1", b"ROLE"]
    assert repr(heard) == "<Heard over goal=100 of Wanted(count=1, ms=0)>"


@timed
async def test_role_is_asked_until_the_server_sees_whose_time_is_over() -> None:
    """It looks when something comes, and else ten times a second."""
    server = Server(role(100, 50), role(137, 100))
    server.late_s = 0.05
    server.asked("WAIT 1 0")
    await asyncio.sleep(0.1)

    assert server.answers == [b":1\r\n"]
    assert server.seen.count(b"ROLE") > 40


@timed
async def test_rounds_grow_longer_and_it_lasts_for_ever() -> None:
    server = Server(role(100))
    heard = server.asked("WAIT 1 0")
    await asyncio.sleep(10)

    assert not server.answers
    assert rounds(server)[:8] == [1, 2, 4, 8, 16, 32, 64, LONGEST_MS]
    assert len(rounds(server)) < 110
    heard.end()
    server.seen.clear()
    await asyncio.sleep(1)
    assert not server.seen
    assert not server.answers


@timed
async def test_it_is_over_with_its_time() -> None:
    server = Server(role(100, 50, 100))
    began = server.loop.time()
    server.asked("WAIT 2 300")
    while not server.answers:
        await asyncio.sleep(0.001)

    assert server.answers == [b":1\r\n"]
    assert 0.3 <= server.loop.time() - began < 0.32


@timed
async def test_one_in_a_hurry_ends_with_its_round() -> None:
    server = Server(role(100, 100))
    heard = server.asked("WAIT 2 0")
    await asyncio.sleep(1)

    heard.hurry()
    await asyncio.sleep(0.11)

    assert server.answers == [b":1\r\n"]


@timed
async def test_client_unblock_ends_it() -> None:
    server = Server(role(100, 100))
    server.asked("WAIT 2 0")
    await asyncio.sleep(1)
    begun = rounds(server)
    while len(rounds(server)) == len(begun):
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.08)

    assert server.blocked is not None
    server.unblock(server.blocked)
    await asyncio.sleep(0.001)

    assert server.answers == [b":1\r\n"]


@timed
async def test_client_unblock_error_is_what_the_client_gets() -> None:
    server = Server(role(100, 100))
    server.asked("WAIT 2 0")
    await asyncio.sleep(1.01)
    assert server.blocked is not None

    server.blocked(b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")
    await asyncio.sleep(1)

    assert server.answers == [b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"]


@timed
async def test_a_master_that_is_one_no_more_says_so_as_to_who_is_blocked() -> None:
    server = Server(role(100, 99))
    server.asked("WAIT 1 0")
    await asyncio.sleep(1)
    server.waits = b"-ERR WAIT cannot be used with replica instances.\r\n"
    await asyncio.sleep(0.3)

    (answer,) = server.answers
    assert isinstance(answer, ProxyError)
    assert answer.line.startswith(b"-UNBLOCKED force unblock")


@timed
async def test_who_may_not_wait_is_told_so() -> None:
    server = Server(role(100, 100))
    server.waits = b"-NOPERM no WAIT for you\r\n"
    server.asked("WAIT 0 0")
    await asyncio.sleep(0.1)

    assert server.answers == [b"-NOPERM no WAIT for you\r\n"]


@timed
async def test_where_role_is_refused_the_next_way_is_taken() -> None:
    server, other = Server(NOPERM), Server(role(5, 5))
    heard = Heard(
        Wanted(1, 0), server.ask, [server.role, other.role], server.loop, server.answers.append
    )
    heard.begin()
    await asyncio.sleep(0.01)

    assert server.answers == [b":1\r\n"]


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ([NOPERM], b"-NOPERM"),
        ([UpstreamDown("gone")], b"-UPSTREAM"),
        ([role(100, 1), UpstreamDown("gone")], b"-UPSTREAM"),
        ([role(100, 1), role(99, 99)], b"-UPSTREAM connection to the server lost (it has begun"),
        ([role(9), b"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$1\r\nx\r\n:5\r\n"], b"-UNBLOCKED"),
        ([b"*2\r\n$8\r\nsentinel\r\n*0\r\n"], b"-UPSTREAM the server's answer to ROLE"),
        ([b"+OK\r\n"], b"-UPSTREAM the server's answer to ROLE"),
    ],
)
def test_an_end_that_nobody_can_count_is_an_error(roles: list[Reply], said: bytes) -> None:
    @timed
    async def run() -> None:
        server = Server(*roles)
        server.asked("WAIT 1 1000")
        await asyncio.sleep(2)

        (answer,) = server.answers
        line = answer.line if isinstance(answer, ProxyError) else answer
        assert line.startswith(said)

    run()


@pytest.mark.parametrize(
    "odd",
    [
        b"*3\r\n$6\r\nmaster\r\n:5\r\n*1\r\n*2\r\n$1\r\nh\r\n$1\r\n1\r\n",
        b"*3\r\n$6\r\nmaster\r\n:5\r\n*1\r\n*3\r\n$1\r\nh\r\n$1\r\n1\r\n$1\r\nx\r\n",
        b"*3\r\n$6\r\nmaster\r\n$1\r\n5\r\n*0\r\n",
        b"*3\r\n$6\r\nmister\r\n:5\r\n*0\r\n",
        b"*3\r\n$6\r\nmaster\r\n",
        b"*0\r\n",
    ],
)
def test_an_odd_role_counts_nobody(odd: bytes) -> None:
    with pytest.raises(ProxyError, match="ROLE makes no sense"):
        Progress.of(odd)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("WAIT 1 0", Wanted(1, 0)),
        ("WAIT -1 5", Wanted(-1, 5)),
        (f"WAIT 1 {MS_MAX}", Wanted(1, MS_MAX)),
        (f"WAIT 1 {MS_MAX + 1}", None),
        ("WAIT 1 -5", None),
        ("WAIT 01 5", None),
        ("WAIT 1 x", None),
        ("WAIT 1", None),
        ("WAIT 1 2 3", None),
    ],
)
def test_what_a_server_refuses_is_for_it_to_say(line: str, wanted: Wanted | None) -> None:
    assert Wanted.of(line.encode().split()) == wanted
