"""Who waits in the server, for the end of a pause or of a script, holds up nobody else. On a real
server (which shows that the test is right) and through the proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.servers import wait_for

from .conftest import Side
from .link import Link, command

Connect = Callable[[], Link]

LOOP = command("EVAL", "while 1 do redis.call('ping') end", 0)
PAUSE = ["CLIENT", "PAUSE", "100000", "WRITE"]


@pytest.fixture
def side(side: Side) -> Iterator[Side]:
    side.control.ask("CONFIG", "SET", "busy-reply-threshold", 10)
    yield side
    side.control.ask("CLIENT", "UNPAUSE")
    side.control.ask("CONFIG", "SET", "busy-reply-threshold", 5000)


@pytest.fixture
def connect(side: Side) -> Iterator[Connect]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Link(side.port)))


@pytest.mark.parametrize("queued", [False, True], ids=["alone", "in MULTI"])
def test_a_write_that_a_pause_keeps_waiting(connect: Connect, queued: bool) -> None:
    boss, writer, reader, late = [connect() for _ in range(4)]
    for link in (writer, reader):
        assert link.ask("GET", "k") == b"$-1\r\n"
    before, behind = ([["MULTI"]], [["EXEC"]]) if queued else ([], [])
    for words in [*before, PAUSE, *behind]:
        boss.ask(*words)

    writer.send(command("SET", "k", "v") + command("GET", "k"))
    late.send(command("EVAL", "return redis.call('SET', KEYS[1], 'w')", 1, "l"))

    assert reader.ask("PING") == b"+PONG\r\n"
    assert reader.ask("GET", "k") == b"$-1\r\n"
    assert reader.ask("STRLEN", "k") == b":0\r\n"
    assert connect().ask("GET", "k") == b"$-1\r\n"
    assert boss.ask("CLIENT", "UNPAUSE") == b"+OK\r\n"
    assert writer.read(2) == [b"+OK\r\n", b"$1\r\nv\r\n"]
    assert late.read(1) == [b"+OK\r\n"]


def test_a_script_that_never_ends_behind_other_commands(connect: Connect) -> None:
    busy, other = connect(), connect()

    busy.send(command("PING") + LOOP)

    wait_for(lambda: other.ask("PING").startswith(b"-BUSY "), 3, "the server's word")
    assert other.ask("SCRIPT", "KILL") == b"+OK\r\n"
    pong, ended = busy.read(2)  # the server itself sends them together
    assert pong == b"+PONG\r\n"
    assert b"killed by user" in ended
    assert other.ask("PING") == b"+PONG\r\n"


def test_a_function_behind_its_loading(connect: Connect, side: Side) -> None:
    code = "#!lua name=lib\nredis.register_function('f', function() return 7 end)"
    link = connect()

    link.send(
        command("SET", "k", "v")
        + command("FUNCTION", "LOAD", "REPLACE", code)
        + command("FCALL", "f", 0)
        + command("GET", "k")
    )

    assert link.read(4) == [b"+OK\r\n", b"$3\r\nlib\r\n", b":7\r\n", b"$1\r\nv\r\n"]
