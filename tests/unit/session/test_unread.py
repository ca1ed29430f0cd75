"""The bytes that clients have not read: too many of one, or of all."""

from __future__ import annotations

from nearhit.proxy.session.unread import UNREAD_MAX, UNREAD_TOTAL, Unread, overcome


def test_one_client_has_a_bound() -> None:
    unread = Unread()

    assert not unread.count(0, UNREAD_MAX)
    assert unread.count(UNREAD_MAX, UNREAD_MAX + 1)


def test_all_clients_together_have_one() -> None:
    unread = Unread()
    for _ in range(UNREAD_TOTAL // UNREAD_MAX):
        assert not unread.count(0, UNREAD_MAX)

    assert unread.count(0, 1)
    assert not unread.count(1, 0), "who reads is not to blame"


def test_what_is_read_makes_room() -> None:
    unread = Unread()
    unread.count(0, UNREAD_TOTAL)
    unread.count(UNREAD_TOTAL, 0)

    assert unread.total == 0
    assert not unread.count(0, 1)
    assert repr(unread) == "<Unread 1>"


def test_the_hard_bound_is_for_each_client() -> None:
    assert not Unread().passed(1 << 40)
    assert not Unread(hard=100).passed(99)
    assert Unread(hard=100).passed(100)


def test_the_words_are_those_of_redis_s_log() -> None:
    assert overcome(7, "x").startswith("overcoming of output buffer limits")
