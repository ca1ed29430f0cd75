"""Whether the near cache pays, by what is read; as compiled and as plain Python."""

from __future__ import annotations

import random
from itertools import count, pairwise
from typing import Any

import nearhit.proxy.near.worth
import pytest
from nearhit.proxy.near.worth import FILL, LOOK, PART_MAX, RECENT, START
from nearhit.proxy.resp.kernel import mix

from tests.plain import plain

MODULES = {"as installed": nearhit.proxy.near.worth, "plain": plain("near", "worth")}
ROOM = 250_000


@pytest.fixture(params=list(MODULES))
def worth(request: pytest.FixtureRequest) -> Any:
    return MODULES[request.param].Worth()


def bypass(worth: Any, misses: int = START + 1) -> None:
    worth.look(0, misses, 0, 0, ROOM)
    assert not worth.pays


def read_until_it_pays(worth: Any, keys: Any, most: int, at_once: int = 1) -> int:
    """How many reads of these keys it takes, where a request reads so many."""
    for reads in range(most):
        if worth.pays:
            return reads
        worth.note(mix(b"key:%d" % next(keys)), at_once)
    return most


def evenly(count: int, seed: int = 1) -> Any:
    rng = random.Random(seed)
    while True:
        yield rng.randrange(count)


def three_of_five_again() -> Any:
    """The same three keys, and two others each time."""
    for number in count(4, 2):
        yield from (1, 2, 3, number, number + 1)


def test_reads_that_are_saved_pay_for_misses_and_fills(worth: Any) -> None:
    for looks in range(1, 200):
        worth.look(600 * looks, 400 * looks, 80 * looks, 1000, ROOM)

    assert worth.pays
    assert worth.credit == START + FILL * 1000
    assert worth.next_look == 1000 * 199 + LOOK


@pytest.mark.parametrize(("misses", "fills", "why"), [(1000, 10, "misses"), (1000, 500, "fills")])
def test_what_costs_more_than_it_saves_is_bypassed_when_its_credit_is_spent(
    worth: Any, misses: int, fills: int, why: str
) -> None:
    looks = 0
    while worth.pays:
        looks += 1
        worth.look(0, misses * looks, fills * looks, 0, ROOM)

    assert START / (misses + FILL * fills) <= looks <= START / (misses + FILL * fills) + 1
    assert (worth.why, worth.switches) == (why, 1)


def test_a_hot_set_that_moves_does_not_end_it(worth: Any) -> None:
    worth.look(1_000_000, 0, 0, 10_000, ROOM)

    worth.look(1_000_000, 20_000, 10_000, 10_000, ROOM)

    assert worth.pays


@pytest.mark.parametrize(
    ("count", "most"),
    [(1, 1500), (10, 3000), (RECENT // 2, 30_000), (1000, 20_000), (5000, 60_000)],
)
def test_a_hot_set_pays_again_soon(worth: Any, count: int, most: int) -> None:
    bypass(worth)

    reads = read_until_it_pays(worth, evenly(count), 100_000)

    assert worth.pays
    assert worth.why == ""
    assert reads <= most
    assert worth.credit >= START


@pytest.mark.parametrize("count", [1_000_000, 10_000_000])
def test_reads_that_seldom_repeat_never_pay(worth: Any, count: int) -> None:
    bypass(worth)

    assert read_until_it_pays(worth, evenly(count), 400_000) == 400_000


def test_a_scan_never_pays(worth: Any) -> None:
    bypass(worth)

    assert read_until_it_pays(worth, iter(range(300_000)), 200_000) == 200_000


@pytest.mark.parametrize(("at_once", "pays"), [(1, True), (5, False)])
def test_keys_read_at_once_earn_as_often_as_all_of_them_would_be_there(
    worth: Any, at_once: int, pays: bool
) -> None:
    bypass(worth)

    reads = read_until_it_pays(worth, three_of_five_again(), 20_000, at_once)

    assert (reads < 20_000) is pays


@pytest.mark.parametrize(("count", "most"), [(10, 20_000), (1000, 40_000)])
def test_a_hot_set_that_is_read_many_at_once_pays_again_soon(
    worth: Any, count: int, most: int
) -> None:
    bypass(worth)

    assert read_until_it_pays(worth, evenly(count), most, 10) < most


def test_who_turned_out_not_to_pay_must_earn_twice_as_much_each_time(worth: Any) -> None:
    needed = []
    for _ in range(4):
        bypass(worth, worth.next_look + 100 * START)
        needed.append(read_until_it_pays(worth, evenly(500), 1_000_000))

    assert all(1.2 * before < after for before, after in pairwise(needed))

    worth.look(100 * START, 0, 0, 0, ROOM)  # it does pay, after all
    bypass(worth, 200 * START)

    assert read_until_it_pays(worth, evenly(500), 1_000_000) < needed[1]


def test_what_the_fills_will_cost_is_not_taken_back_and_proves_nothing(worth: Any) -> None:
    bypass(worth)
    first = read_until_it_pays(worth, evenly(3000), 1_000_000)
    credit = worth.credit
    reads = worth.next_look

    worth.look(0, reads + 500, 500, 500, ROOM)  # with the first fills

    assert credit - START > 3000 * FILL // 2
    assert worth.credit < credit
    bypass(worth, reads + 100 * START)
    assert read_until_it_pays(worth, evenly(3000), 1_000_000) > 1.2 * first


@pytest.mark.parametrize("others", [(1 << 33, 2 << 33), (1 << 33, 2 << 33 | 1)])
def test_two_keys_of_one_place_do_not_drive_each_other_out(worth: Any, others: Any) -> None:
    """Beside an empty one, whichever of both their hashes name."""
    bypass(worth)

    for _ in range(200):
        for other in others:
            worth.note(other)

    assert worth.pays


def test_a_hot_set_that_just_fits_pays_again(worth: Any) -> None:
    bypass(worth)

    assert read_until_it_pays(worth, evenly(100_000), 600_000) < 600_000


def test_what_must_be_earned_has_a_bound(worth: Any) -> None:
    for _ in range(12):
        bypass(worth, worth.next_look + 100 * START)
        assert read_until_it_pays(worth, evenly(10), 1_000_000) < LOOK * PART_MAX * 2


def test_keys_that_are_written_between_their_reads_do_not_pay(worth: Any) -> None:
    bypass(worth)
    keys = evenly(1000)

    for _ in range(50_000):
        mixed = mix(b"key:%d" % next(keys))
        worth.note(mixed)
        worth.wrote(mixed)

    assert not worth.pays


def read_and_written_until_it_pays(worth: Any, keys: Any, written: float, most: int) -> int:
    """How many requests it takes, of which such a share writes."""
    rng = random.Random(2)
    for requests in range(most):
        if worth.pays:
            return requests
        mixed = mix(b"key:%d" % next(keys))
        if rng.random() < written:
            worth.wrote(mixed)
        else:
            worth.note(mixed)
    return most


# None of the few keys is of the sample, or one, or many are: what is read and written at random
# must be looked at alike. At 10 %, of 100 requests some 80 are hits that save 160, and 10 are
# filled again for 80.
@pytest.mark.parametrize("count", [1, 3, 10, 100])
@pytest.mark.parametrize("written", [0.01, 0.03, 0.1])
def test_a_hot_set_that_is_written_now_and_then_pays_again_soon(
    worth: Any, count: int, written: float
) -> None:
    bypass(worth)

    assert read_and_written_until_it_pays(worth, evenly(count), written, 100_000) < 25_000


@pytest.mark.parametrize("count", [1, 3, 10, 100])
def test_a_set_that_is_written_more_often_than_it_is_read_never_pays(
    worth: Any, count: int
) -> None:
    bypass(worth)

    assert read_and_written_until_it_pays(worth, evenly(count), 0.6, 100_000) == 100_000


def test_it_says_what_it_is(worth: Any) -> None:
    assert repr(worth) == f"<Worth pays credit={START}>"

    bypass(worth)

    assert repr(worth) == "<Worth bypassed credit=-1>"
