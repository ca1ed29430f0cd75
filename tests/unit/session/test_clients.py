"""What CLIENT LIST, INFO and KILL see of the proxy's own clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from nearhit.proxy.errors import BadFilter
from nearhit.proxy.session.clients import (
    FIELDS,
    Clients,
    fields_of,
    filters,
    line,
)
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, User


@dataclass(eq=False)
class Someone:
    """What a session shows of itself."""

    id: int = 0
    lane_key: LaneKey = field(default_factory=LaneKey)
    name: bytes = b""
    library: tuple[bytes, bytes] = (b"", b"")
    peer: str = "10.0.0.1:5000"
    local: str = "10.0.0.2:6380"
    born: float = 100.0
    active: float = 100.0
    last: bytes = b""
    lane: Lane | None = None
    blocking: int = 0
    queued: int = -1
    mute: int = 0
    redirect: int = -1
    flags: str = "N"
    subscriptions: tuple[int, int, int] = (0, 0, 0)
    ended: bool = False
    cut: str = ""

    @property
    def user(self) -> bytes:
        return self.lane_key.user.name if self.lane_key.user else b"default"

    @property
    def identity(self) -> Any:
        """Its own: the fake is flat."""
        return self

    @property
    def berth(self) -> Any:
        return self

    def stall(self, reason: int) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def drain(self) -> bool:
        return True

    def abort(self, why: str) -> None:
        self.cut = why


@pytest.fixture
def clients() -> Clients:
    clients: Clients = Clients(10, lambda: None)
    for one in (
        Someone(name=b"a"),
        Someone(name=b"b", peer="10.0.0.9:1", subscriptions=(1, 0, 0), born=150.0, active=200.0),
        Someone(lane_key=LaneKey(user=User(b"alice", b"p")), local="10.0.0.3:1"),
    ):
        assert clients.join(one)
    return clients


def chosen(clients: Clients, words: bytes, by: int = 1) -> list[int]:
    me = clients.get(by)
    assert me is not None
    tests = filters(words.split(), me)
    return [one.id for one in clients if all(test(one) for test in tests)]


# --- Joining and leaving


def test_ids_only_grow() -> None:
    clients: Clients = Clients(10, lambda: None)
    first, second = Someone(), Someone()

    clients.join(first)
    clients.leave(first)
    clients.join(second)

    assert (first.id, second.id) == (1, 2)
    assert clients.get(1) is None
    assert clients.get(2) is second
    assert len(clients) == 1


def test_past_the_limit_nobody_joins() -> None:
    clients: Clients = Clients(1, lambda: None)
    late = Someone()
    clients.join(Someone())

    assert not clients.join(late)

    clients.leave(late)  # its connection ends, too
    assert len(clients) == 1
    assert repr(clients) == "<Clients 1/1>"


def test_clients_may_leave_while_they_are_counted_through(clients: Clients) -> None:
    for one in clients:
        clients.leave(one)

    assert len(clients) == 0


# --- Filters


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (b"", [2, 3]),
        (b"SKIPME no", [1, 2, 3]),
        (b"skipme YES", [2, 3]),
        (b"ID 2", [2]),
        (b"ID 1", []),
        (b"ID 1 2 3", [2, 3]),
        (b"ID 1 2 SKIPME NO", [1, 2]),
        (b"ID 99", []),
        (b"ADDR 10.0.0.9:1", [2]),
        (b"ADDR 10.0.0.9", []),
        (b"LADDR 10.0.0.3:1", [3]),
        (b"TYPE normal", [3]),
        (b"TYPE pubsub", [2]),
        (b"TYPE replica", []),
        (b"TYPE master SKIPME NO", []),
        (b"USER default SKIPME NO", [1, 2]),
        (b"USER alice", [3]),
        (b"TYPE normal USER alice", [3]),
        (b"TYPE pubsub USER alice", []),
    ],
)
def test_filters_choose_as_those_of_redis(clients: Clients, words: bytes, ids: list[int]) -> None:
    assert chosen(clients, words) == ids


def test_maxage_chooses_the_old_ones(clients: Clients) -> None:
    assert chosen(clients, b"MAXAGE 60 SKIPME NO", by=2) == [1, 3]
    assert chosen(clients, b"MAXAGE 50 SKIPME NO", by=2) == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (b"ID", b"-ERR syntax error\r\n"),
        (b"FOO 1", b"-ERR syntax error\r\n"),
        (b"SKIPME maybe", b"-ERR syntax error\r\n"),
        (b"ID 1 FOO", b"-ERR syntax error\r\n"),
        (b"ID 0", b"-ERR client-id should be greater than 0\r\n"),
        (b"ID -1", b"-ERR client-id should be greater than 0\r\n"),
        (b"ID abc", b"-ERR client-id should be greater than 0\r\n"),
        (b"ID 1 0", b"-ERR client-id should be greater than 0\r\n"),
        (b"TYPE x", b"-ERR Unknown client type 'x'\r\n"),
        (b"MAXAGE x", b"-ERR maxage is not an integer or out of range\r\n"),
    ],
)
def test_a_bad_filter_is_refused_in_the_words_of_redis(words: bytes, line: bytes) -> None:
    with pytest.raises(BadFilter) as caught:
        filters(words.split(), Someone())

    assert caught.value.line == line


# --- KILL


def test_kill_cuts_the_chosen_and_counts_them(clients: Clients) -> None:
    me, other = clients.get(1), clients.get(2)
    assert me is not None
    assert other is not None

    assert clients.kill(filters([b"ID", b"2"], me), me) == 1

    assert other.cut == "CLIENT KILL"
    assert not me.cut


def test_who_kills_itself_is_counted_but_gets_its_answer_first(
    clients: Clients,
) -> None:
    me = clients.get(1)
    assert me is not None

    assert clients.kill(filters([b"SKIPME", b"no"], me), me) == 3

    assert not me.cut
    assert not me.ended  # it ends itself, behind its answer


# --- Lines


def test_a_line_has_the_fields_of_redis_7_in_their_order() -> None:
    me = Someone(id=7, name=b"me", queued=2, flags="x", last=b"*1\r\n$4\r\nPING\r\n")
    me.lane_key = LaneKey(db=3, resp=3)
    me.active = 108.0

    assert line(me, 110.9, FIELDS) == (
        b"id=7 addr=10.0.0.1:5000 laddr=10.0.0.2:6380 fd=7 name=me age=10 idle=2 flags=x db=3 "
        b"sub=0 psub=0 ssub=0 multi=2 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 "
        b"oll=0 omem=0 tot-mem=0 events=r cmd=ping user=default redir=-1 resp=3"
    )


def test_a_line_has_whatever_fields_the_upstream_has() -> None:
    me = Someone(id=7, library=(b"redis-py", b"6.0"), subscriptions=(1, 2, 3))

    assert (
        line(me, 100.0, [b"id", b"lib-name", b"lib-ver", b"ssub", b"new"])
        == b"id=7 lib-name=redis-py lib-ver=6.0 ssub=3 new=0"
    )


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        (b"", b"cmd=NULL"),
        (b"*2\r\n$3\r\nGeT\r\n$1\r\nk\r\n", b"cmd=get"),
        (b"*1\r\n$4\r\nPING\r\n", b"cmd=ping"),
    ],
)
def test_the_last_command_is_named(last: bytes, shown: bytes) -> None:
    assert line(Someone(last=last), 100.0, [b"cmd"]) == shown
    assert line(Someone(last=last), 100.0, [b"cmd"], "client|list") == b"cmd=client|list"


@pytest.mark.parametrize(
    "reply",
    [
        b"$20\r\nid=1 addr=a:1 new=\r\n\r\n",
        b"=24\r\ntxt:id=1 addr=a:1 new=\n\r\n",
        b"$9\r\nid=1 addr=a:1 new=5\nid=2 addr=\n\r\n",
    ],
)
def test_the_fields_of_the_upstream_are_read_off_its_lines(reply: bytes) -> None:
    assert fields_of(reply) == (b"id", b"addr", b"new")


@pytest.mark.parametrize("reply", [b"-NOPERM\r\n", b"-UPSTREAM no\r\n", b"$0\r\n\r\n", b""])
def test_without_a_line_the_fields_are_those_of_redis_7(reply: bytes) -> None:
    assert fields_of(reply) == FIELDS


def test_a_password_is_not_shown() -> None:
    assert repr(User(b"alice", b"sesame")) == "<User b'alice'>"
