"""SWAPDB by others is noticed by the server's count of it."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.process.swaps import RIGHTS, SWAPS, Swaps, calls_of
from nearhit.proxy.upstream.ask import Done

INFO = (
    b"$200\r\n# Commandstats\r\n%bcmdstat_get:calls=5,usec=9,usec_per_call=1.80,rejected_calls=0,"
    b"failed_calls=0\r\n\r\n"
)
LINE = b"cmdstat_swapdb:calls=%d,usec=%d,usec_per_call=4.00,rejected_calls=7,failed_calls=0\r\n"


def info(calls: int, usec: int = 4) -> bytes:
    return INFO % (LINE % (calls, usec) if calls else b"")


class Bench:
    def __init__(self) -> None:
        self.needed = True
        self.swapped = self.rights = 0
        self.asked: list[Done] = []
        self.swaps = Swaps(
            self._ask,
            needed=lambda: self.needed,
            swapped=self._swapped,
            new_rights=self._new_rights,
        )

    def _ask(self, done: Done, *words: bytes) -> None:
        assert words == (b"INFO", b"commandstats")
        self.asked.append(done)

    def _swapped(self) -> None:
        self.swapped += 1

    def _new_rights(self) -> None:
        self.rights += 1

    def tick(self, reply: bytes) -> None:
        self.swaps.tick()
        self.asked.pop()(reply)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("reply", "calls"),
    [
        (info(3, 12), b"calls=3,usec=12"),
        (info(0), b""),
        (b"-NOPERM no\r\n", b""),
        (info(1) + b"cmdstat_acl|setuser:calls=2,usec=3,usec_per\r\n", b"calls=1,usec=4"),
        (b"=9\r\ntxt:" + info(1), b"calls=1,usec=4"),
    ],
)
def test_the_count_is_what_the_server_says(reply: bytes, calls: bytes) -> None:
    assert calls_of(SWAPS, reply) == calls


def test_new_rights_are_told_apart_from_swaps(bench: Bench) -> None:
    rights = b"cmdstat_acl|setuser:calls=2,usec=3,usec_per\r\ncmdstat_acl|load:calls=1,usec=9,\r\n"
    assert calls_of(RIGHTS, info(1) + rights) == b"calls=2,usec=3 calls=1,usec=9"

    bench.tick(info(0) + rights)

    assert (bench.swapped, bench.rights) == (0, 1)


def test_each_change_of_the_count_is_told_once(bench: Bench) -> None:
    for calls, swapped in ((0, 0), (1, 1), (1, 1), (3, 2), (3, 2)):
        bench.tick(info(calls))
        assert bench.swapped == swapped


def test_a_count_that_was_there_at_the_first_look_may_be_newer_than_what_is_kept(
    bench: Bench,
) -> None:
    bench.tick(info(2))

    assert bench.swapped == 1


def test_a_count_that_begins_anew_is_no_swap_and_the_next_one_is(bench: Bench) -> None:
    bench.tick(info(1, 4))
    bench.tick(info(0))
    assert bench.swapped == 1

    bench.tick(info(1, 4))
    assert bench.swapped == 2


def test_nobody_asks_where_nothing_depends_on_it_or_an_answer_is_still_to_come(
    bench: Bench,
) -> None:
    bench.needed = False
    bench.swaps.tick()
    assert not bench.asked

    bench.needed = True
    bench.swaps.tick()
    bench.swaps.tick()
    assert len(bench.asked) == 1


def test_who_may_not_ask_asks_once_for_each_connection(bench: Bench) -> None:
    bench.tick(b"-NOPERM no\r\n")
    bench.swaps.tick()
    assert not bench.asked
    assert repr(bench.swaps) == "<Swaps refused>"

    bench.swaps.again()
    bench.tick(info(1))
    assert repr(bench.swaps) == "<Swaps calls=1,usec=4>"


def test_a_lost_answer_is_asked_for_again(bench: Bench) -> None:
    bench.swaps.tick()
    bench.asked.pop()(UpstreamLost("gone"))

    bench.tick(info(0))

    assert bench.swapped == 0
    assert repr(bench.swaps) == "<Swaps none>"
