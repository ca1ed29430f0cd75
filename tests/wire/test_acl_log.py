"""ACL LOG shows what a client asked and may not, and nothing of what lanes ask on their own
account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from .conftest import Side
from .link import Link, command


@pytest.fixture
def admin(side: Side) -> Iterator[Link]:
    with closing(Link(side.port)) as link:
        yield link
        link.ask("ACL", "DELUSER", "narrow")


def test_one_refusal_is_one_entry(side: Side, admin: Link, resp: int) -> None:
    may = ["on", ">p", "~*", "-@all", "+get", "+set", "+select", "+xread", "+blpop"]
    assert admin.ask("ACL", "SETUSER", "narrow", *may) == b"+OK\r\n"
    nothing = b"_\r\n" if resp == 3 else b"*-1\r\n"
    with closing(Link(side.port)) as link:
        link.ask("HELLO", resp)
        assert link.ask("AUTH", "narrow", "p") == b"+OK\r\n"
        for words in (["SET", "k", "v"], ["GET", "k"], ["GET", "k"], ["SELECT", "3"], ["GET", "k"]):
            link.ask(*words)
        for blocking in (["XREAD", "BLOCK", 1, "STREAMS", "s", "$"], ["BLPOP", "q", "0.001"]):
            link.send(command(*blocking))
            assert link.read(1) == [nothing]

        assert link.ask("DEL", "k").startswith(b"-NOPERM")

    log = admin.ask("ACL", "LOG")
    assert log.count(b"$6\r\nobject\r\n") == 1, log
    assert b"$3\r\ndel\r\n" in log
