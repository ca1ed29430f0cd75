"""How CLIENT LIST and INFO show a client."""

from __future__ import annotations

import pytest
from nearhit.proxy.session.client_lines import (
    FIELDS,
    argv_bytes,
    command_name,
    fields_of,
    head_of,
    line,
    shows_query,
    watched,
)
from nearhit.proxy.session.clients import Traffic
from nearhit.proxy.session.reasons import HOLD_WATCH
from nearhit.proxy.session.waiting import Waiting
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.people import Someone

KNOWN = {
    b"BLPOP": (),
    b"CLIENT": {b"LIST", b"SETINFO"},
    b"GET": frozenset[bytes](),
    b"PING": (),
    b"LOCK": {b"ACQUIRE"},
}


def test_a_line_has_the_fields_of_redis_7_in_their_order() -> None:
    me = Someone(id=7, name=b"me", queued=2, flags="x", last=b"*1\r\n$4\r\nPING\r\n")
    me.lane_key = LaneKey(db=3, resp=3)
    me.active = 108.0

    assert line(me, 110.9, FIELDS, KNOWN.get) == (
        b"id=7 addr=10.0.0.1:5000 laddr=10.0.0.2:6380 fd=7 name=me age=10 idle=2 flags=x db=3 "
        b"sub=0 psub=0 ssub=0 multi=2 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 "
        b"oll=0 omem=0 tot-mem=2048 events=r cmd=ping user=default redir=-1 resp=3"
    )


def test_a_line_has_whatever_fields_the_upstream_has() -> None:
    me = Someone(id=7, library=(b"redis-py", b"6.0"), subscriptions=(1, 2, 3))

    assert (
        line(me, 100.0, [b"id", b"lib-name", b"lib-ver", b"ssub", b"new"], KNOWN.get)
        == b"id=7 lib-name=redis-py lib-ver=6.0 ssub=3 new=0"
    )


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


@pytest.mark.parametrize(
    ("last", "shown"),
    [
        (b"", "NULL"),
        (b"*2\r\n$3\r\nGeT\r\n$1\r\nk\r\n", "get"),
        (b"*1\r\n$4\r\nPING\r\n", "ping"),
        (b"*2\r\n$4\r\nNOPE\r\n$1\r\nk\r\n", "NULL"),
        (b"*1\r\n$6\r\nCLIENT\r\n", "client"),
        (b"*2\r\n$6\r\nCLIENT\r\n$4\r\nlist\r\n", "client|list"),
        (b"*2\r\n$6\r\nCLIENT\r\n$4\r\nnope\r\n", "NULL"),
        (b"*2\r\n$4\r\nlock\r\n$7\r\nAcquire\r\n$1", "lock|acquire"),
        (b"*9\r\n$3\r\nGET\r\n$4096\r\nabc", "get"),
        (b"client LIST\r\n", "client|list"),
        (b"ping\r\n", "ping"),
    ],
)
def test_the_last_command_is_named_as_the_server_names_it(last: bytes, shown: str) -> None:
    assert command_name(last, KNOWN.get) == shown
    assert line(Someone(last=last), 100.0, [b"cmd"], KNOWN.get) == b"cmd=%b" % shown.encode()


def test_of_a_request_the_first_words_are_read_as_far_as_they_are_there() -> None:
    assert head_of(b"*3\r\n$3\r\nSET\r\n$100\r\nab") == [b"SET", b"ab"]
    assert head_of(b"*1\r\n$3") == []
    assert head_of(b"set k v\r\n") == [b"set", b"k"]


def test_the_bytes_of_words_are_counted_without_their_framing() -> None:
    assert argv_bytes(b"*2\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n") == 10
    assert argv_bytes(b"CLIENT LIST\r\n") == 10


def test_a_blocked_client_shows_what_it_waits_in_whatever_came_behind() -> None:
    blpop = b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n"
    me = Someone(last=b"*1\r\n$4\r\nPING\r\n", waits=Waiting(blpop), blocking=1)

    shown = [b"cmd", b"argv-mem"]
    assert line(me, 100.0, shown, KNOWN.get) == b"cmd=blpop argv-mem=7"

    me.blocking = 0
    assert line(me, 100.0, shown, KNOWN.get) == b"cmd=ping argv-mem=0"


def test_who_asks_has_its_request_in_its_buffer() -> None:
    asking = b"*2\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n"

    shown = line(Someone(), 100.0, [b"qbuf", b"argv-mem", b"tot-mem", b"cmd"], KNOWN.get, asking)

    assert shown == b"qbuf=26 argv-mem=10 tot-mem=2084 cmd=client|list"


def test_what_stands_in_the_buffers_is_shown() -> None:
    me = Someone(queued=2, queued_bytes=58)
    me.traffic = Traffic(
        received=100, sent=200, answered=3, unread=7, room=93, gathered=(50, 2), unsent=20_000
    )

    shown = line(me, 100.0, [*FIELDS, b"tot-net-in", b"tot-net-out", b"tot-cmds"], KNOWN.get)

    for field in (
        b"qbuf=7 qbuf-free=93 argv-mem=0 multi-mem=58 "
        b"rbs=50 rbp=50 obl=50 oll=4 omem=20000 tot-mem=22163 "
        b"tot-net-in=100 tot-net-out=200 tot-cmds=3"
    ).split():
        assert field in shown.split()


def test_watched_keys_are_counted_while_they_are_watched() -> None:
    me = Someone(holds=HOLD_WATCH)
    me.transaction.watched = {b"k", b"l"}

    assert watched(me) == 2
    assert line(me, 100.0, [b"watch"], KNOWN.get) == b"watch=2"

    me.holds = 0
    assert watched(me) == 0
    assert line(me, 100.0, [b"watch"], KNOWN.get) == b"watch=0"


def test_capabilities_are_empty_or_what_the_client_said() -> None:
    assert line(Someone(), 100.0, [b"capa"], KNOWN.get) == b"capa="
    assert line(Someone(capa="r"), 100.0, [b"capa"], KNOWN.get) == b"capa=r"


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (b"$9\r\nid=1 qbuf=26 qbuf-free=0 events=r cmd=client|info user=default\n\r\n", True),
        (b"=9\r\ntxt:id=1 qbuf=0 qbuf-free=0 events=r cmd=client|info user=default\n\r\n", False),
        (b"-NOPERM no\r\n", True),
    ],
)
def test_whether_who_asks_shows_its_request_is_the_servers_to_say(
    reply: bytes, shown: bool
) -> None:
    assert shows_query(reply) is shown
