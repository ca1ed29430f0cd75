"""What a client wrote of late is known by slot, for a while, within a bound."""

from __future__ import annotations

from nearhit.proxy.cluster.written import SLOTS_MAX, WINDOW_S, Written


def test_a_write_counts_until_it_is_answered_and_for_a_while_behind() -> None:
    written = Written()
    written.wrote([1])
    assert written.touches([0, 1], 1000.0)
    assert not written.touches([0], 1000.0)

    written.answered(1000.0)

    assert written.touches([1], 1000.0 + WINDOW_S / 2)
    assert not written.touches([1], 1000.0 + WINDOW_S)


def test_what_nobody_looked_into_counts_for_all_slots() -> None:
    written = Written()
    written.wrote_any()
    assert written.touches([7], 5.0)

    written.answered(5.0)

    assert written.touches([7], 5.5)
    assert not written.touches([7], 5.0 + WINDOW_S)


def test_more_slots_than_are_kept_count_as_all() -> None:
    written = Written()

    written.wrote(range(SLOTS_MAX + 1))

    assert written.touches([16383], 0.0)
    written.answered(0.0)
    assert not written.touches([0], WINDOW_S)


def test_slots_of_many_runs_are_bounded_too() -> None:
    written = Written()

    for begin in range(0, SLOTS_MAX + 64, 64):
        written.wrote(range(begin, begin + 64))
        written.answered(0.0)

    assert written.touches([16383], WINDOW_S / 2)
    assert "of_late=0" in repr(written)


def test_old_slots_make_room_for_new_ones() -> None:
    written = Written()
    written.wrote(range(SLOTS_MAX))
    written.answered(0.0)

    written.wrote([9000])
    written.answered(WINDOW_S)

    assert written.touches([9000], WINDOW_S)
    assert not written.touches([0, 16383], WINDOW_S)
