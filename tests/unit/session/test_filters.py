"""Whom the filters of CLIENT LIST and KILL choose."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import BadFilter
from nearhit.proxy.session.clients import Clients
from nearhit.proxy.session.filters import filters, ids_end
from nearhit.proxy.session.reasons import HOLD_REPLICA, HOLD_SUBSCRIBED, HOLD_TUNNEL
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.people import Someone


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


@pytest.fixture
def crowd() -> Clients:
    clients: Clients = Clients(10, lambda: None)
    for one in (
        Someone(name=b"x", library=(b"lib", b"1"), flags="N", active=200.0, born=100.0),
        Someone(peer="[::1]:7", flags="xP", lane_key=LaneKey(db=3), capa="r", born=150.0),
    ):
        assert clients.join(one)
    return clients


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("LIB-NAME lib", [1]),
        ("NOT-LIB-NAME lib", [2]),
        ("LIB-VER 1", [1]),
        ("NOT-LIB-VER 1", [2]),
        ("NAME x", [1]),
        ("NOT-NAME x", [2]),
        ("IP 10.0.0.1", [1]),
        ("IP ::1", [2]),
        ("IP 10.0.0", []),
        ("NOT-IP ::1", [1]),
        ("NOT-ADDR [::1]:7", [1]),
        ("NOT-LADDR 10.0.0.2:6380", []),
        ("DB 3", [2]),
        ("NOT-DB 3", [1]),
        ("DB 3 DB 0", [1]),
        ("DB 3 NOT-DB 3", []),
        ("FLAGS N", [1]),
        ("FLAGS P", [2]),
        ("FLAGS Px", [2]),
        ("FLAGS PxN", []),
        ("NOT-FLAGS N", [2]),
        ("CAPA r", [2]),
        ("NOT-CAPA r", [1]),
        ("IDLE 100", [2]),
        ("IDLE 101", []),
        ("MAXAGE 51", [1]),
        ("USER default", [1, 2]),
        ("NOT-USER default", []),
        ("NOT-TYPE normal", []),
        ("NOT-TYPE replica", [1, 2]),
        ("NOT-ID 1", [2]),
        ("NOT-ID 1 2", []),
        ("NOT-ID 1 2 IP ::1", []),
        ("NOT-ID 9 IP ::1", [2]),
    ],
)
def test_the_newer_filters_choose_as_those_of_valkey(
    crowd: Clients, words: str, ids: list[int]
) -> None:
    me = crowd.get(1)
    assert me is not None

    tests = filters(words.encode().split(), me, skip_me=False)

    assert [one.id for one in crowd if all(test(one) for test in tests)] == ids


@pytest.mark.parametrize(
    ("name", "ids"),
    [("normal", [1]), ("pubsub", [2]), ("replica", [3]), ("SLAVE", [3]), ("master", [])],
)
def test_each_client_is_of_one_type(name: str, ids: list[int]) -> None:
    people: Clients = Clients(10, lambda: None)
    for one in (
        Someone(holds=HOLD_TUNNEL),
        Someone(holds=HOLD_SUBSCRIBED, subscriptions=(0, 1, 0)),
        Someone(holds=HOLD_TUNNEL | HOLD_REPLICA),
    ):
        assert people.join(one)

    (test,) = filters([b"TYPE", name.encode()], Someone(), skip_me=False)

    assert [one.id for one in people if test(one)] == ids


@pytest.mark.parametrize("option", [b"NAME", b"LIB-NAME", b"LIB-VER"])
def test_no_name_is_no_empty_one(crowd: Clients, option: bytes) -> None:
    me, other = crowd.get(1), crowd.get(2)
    assert me is not None
    assert other is not None

    (wanted,) = filters([option, b""], me, skip_me=False)
    (unwanted,) = filters([b"NOT-" + option, b""], me, skip_me=False)

    assert not wanted(other)
    assert unwanted(other)


@pytest.mark.parametrize(("unite", "ids"), [(True, [1, 2]), (False, [2])])
def test_ids_said_twice_add_up_where_the_server_has_it_so(
    crowd: Clients, unite: bool, ids: list[int]
) -> None:
    me = crowd.get(1)
    assert me is not None

    (test,) = filters([b"ID", b"1", b"id", b"2"], me, skip_me=False, unite=unite)

    assert [one.id for one in crowd if test(one)] == ids


def test_the_numbers_of_an_id_end_where_a_word_begins() -> None:
    assert ids_end([b"ID", b"1", b"2", b"SKIPME"], 2) == 3
    assert ids_end([b"ID", b"1"], 2) == 2


def test_a_bad_filter_is_one_line_whatever_the_client_said() -> None:
    with pytest.raises(BadFilter) as caught:
        filters([b"TYPE", b"x\r\n+OK"], Someone())

    assert caught.value.line == b"-ERR Unknown client type 'x  +OK'\r\n"
