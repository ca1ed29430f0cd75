"""Users who may little: they are served as directly, in the db that their client chose before it
logged in, and the server's log of refusals shows what they were refused, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from .conftest import Side
from .frames import children, payload
from .link import Link

RIGHTS = {
    "reads and writes": "+get +set",
    "transactions": "+get +set +multi +exec +info",
    "tracks": "+get +set +client|tracking +client|caching +pttl",
}


@pytest.fixture
def link(side: Side) -> Iterator[Link]:
    with closing(Link(side.port)) as link:
        yield link


def refusals(side: Side) -> list[tuple[bytes, bytes]]:
    """Who was refused what, by the server behind the side."""
    _, entries = children(side.control.ask("ACL", "LOG"))
    found: list[tuple[bytes, bytes]] = []
    for entry in entries:
        _, words = children(entry)
        row = dict(zip(map(payload, words[::2]), words[1::2], strict=True))
        found.append((payload(row[b"username"]), payload(row[b"object"])))
    return found


@pytest.mark.parametrize("rights", RIGHTS.values(), ids=RIGHTS)
def test_what_lanes_need_is_done_without_rights_of_the_user(
    side: Side, link: Link, rights: str
) -> None:
    rules = f"reset on >pw ~* -@all {rights}"
    assert side.control.ask("ACL", "SETUSER", "narrow", *rules.split()) == b"+OK\r\n"
    side.control.ask("ACL", "LOG", "RESET")

    assert link.ask("SELECT", 9) == b"+OK\r\n"
    assert link.ask("AUTH", "narrow", "pw") == b"+OK\r\n"
    assert link.ask("SET", "k", "v") == b"+OK\r\n"
    for _ in range(5):  # near, where the user may
        assert payload(link.ask("GET", "k")) == b"v"
    if "multi" in rights:  # on a lane of its own
        assert link.ask("MULTI") == b"+OK\r\n"
        assert link.ask("GET", "k") == b"+QUEUED\r\n"
        assert link.ask("EXEC") == b"*1\r\n$1\r\nv\r\n"

    assert refusals(side) == []
    assert link.ask("SELECT", 1).startswith(b"-NOPERM ")
    assert refusals(side) == [(b"narrow", b"select")]
