"""Requests that wait for a connection keep their order and know when they are too many."""

from __future__ import annotations

from nearhit.proxy.upstream.offline import Offline

from tests.fakes import Tray


def test_requests_come_out_in_the_order_in_which_they_came() -> None:
    offline = Offline(100)
    first, second = Tray(), Tray()
    offline.append(b"1", first)
    offline.append(b"2", second)

    assert [data for data, _ in offline] == [b"1", b"2"]
    assert list(offline.take()) == [(b"1", first), (b"2", second)]


def test_what_was_taken_waits_no_more() -> None:
    offline = Offline(0)
    offline.append(b"1", Tray())

    offline.take()

    assert not offline
    assert not offline.over
    assert not offline.take()


def test_the_queue_is_over_when_more_bytes_wait_than_its_bound() -> None:
    offline = Offline(4)
    offline.append(b"1234", Tray())
    assert not offline.over

    offline.append(b"5", Tray())

    assert offline.over


def test_parts_belong_to_the_last_request_and_count() -> None:
    offline = Offline(3)
    slot = Tray()
    offline.append(b"1", Tray())
    offline.append(b"2", slot)

    offline.extend_last(b"34")

    assert offline.over
    assert offline.take()[-1] == (b"234", slot)


def test_what_did_not_leave_stands_before_what_came_later() -> None:
    offline = Offline(4)
    offline.append(b"late", Tray())

    offline.put_back([(b"1", Tray()), (b"2", Tray())])

    assert offline.over
    assert [data for data, _ in offline.take()] == [b"1", b"2", b"late"]


def test_the_queue_says_how_full_it_is() -> None:
    offline = Offline(10)
    offline.append(b"123", Tray())

    assert repr(offline) == "<Offline 1 bytes=3/10>"


def test_the_oldest_may_be_dropped() -> None:
    offline = Offline(2)
    first, second = Tray(), Tray()
    offline.append(b"11", first)
    offline.append(b"22", second)

    assert offline.drop(1) == [first]

    assert not offline.over
    assert offline.drop(9) == [second]
    assert not offline


def test_some_need_not_wait_and_the_others_keep_their_order() -> None:
    offline = Offline(3)
    slots = [Tray() for _ in range(4)]
    for at, slot in enumerate(slots):
        offline.append(b"%d" % at, slot)

    assert offline.let_go(lambda slot: slot in slots[1:3]) == slots[1:3]

    assert not offline.over
    assert [data for data, _ in offline] == [b"0", b"3"]
    assert offline.let_go(lambda slot: False) == []
