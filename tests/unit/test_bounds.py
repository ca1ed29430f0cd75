"""A bounded number of callers wait at once; the next one is told so."""

from __future__ import annotations

import pytest
from nearhit.proxy.bounds import WaitingRoom
from nearhit.proxy.errors import CacheBusy


def test_who_comes_into_a_full_room_gets_the_error() -> None:
    room = WaitingRoom(1, "loads", CacheBusy)

    with room, pytest.raises(CacheBusy) as caught, room:
        raise AssertionError("entered a full room")

    assert caught.value.line == (
        b"-CACHEBUSY 1 callers wait for loads already (max_waiters); try again later\r\n"
    )


def test_who_leaves_makes_room_for_the_next() -> None:
    room = WaitingRoom(1, "loads", CacheBusy)

    with room:
        assert room.waiting == 1
    with room:
        assert room.waiting == 1

    assert room.waiting == 0


def test_an_error_leaves_the_room_too() -> None:
    room = WaitingRoom(1, "loads", CacheBusy)

    with pytest.raises(KeyError), room:
        raise KeyError

    assert room.waiting == 0


def test_a_room_without_places_lets_nobody_in() -> None:
    room = WaitingRoom(0, "loads", CacheBusy)

    with pytest.raises(CacheBusy), room:
        raise AssertionError("entered a full room")


def test_a_room_says_how_full_it_is() -> None:
    room = WaitingRoom(3, "loads", CacheBusy)

    with room:
        assert repr(room) == "<WaitingRoom 1/3>"
