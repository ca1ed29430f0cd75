"""The numbers of all workers, in memory that they share."""

from __future__ import annotations

import os

from nearhit.proxy.stats.counters import READS, ROWS, Stats
from nearhit.proxy.stats.families import Families
from nearhit.proxy.stats.shared import Board

BY_NAME = {row.name: row for row in (*READS, *ROWS)}


def test_counters_and_quantities_are_summed_and_of_the_rest_the_largest_holds() -> None:
    board = Board(2)
    first, second = Stats(), Stats()
    first.add("hits", 3)
    second.add("hits", 4)
    first.gauge("clients", lambda: 5)
    second.gauge("clients", lambda: 6)
    first.gauge("uptime_s", lambda: 100)
    second.gauge("uptime_s", lambda: 7)
    second.gauge("tracking", lambda: "on")

    board.place(0).publish(first)
    here = board.place(1)

    names = ("hits", "clients", "uptime_s", "tracking")
    assert [here.reading(second, BY_NAME[name]) for name in names] == [7, 11, 100, 1]
    assert repr(here) == "<Place 1 of <Board workers=2>>"


def test_a_worker_that_is_started_again_goes_on_with_the_counters_and_not_the_gauges() -> None:
    board = Board(1)
    before = Stats()
    before.add("loads", 5)
    before.gauge("clients", lambda: 9)
    board.place(0).publish(before)

    after, place = Stats(), board.place(0)
    after.add("loads", 1)

    assert place.reading(after, BY_NAME["loads"]) == 6
    assert place.reading(after, BY_NAME["loads"]) == 6
    assert place.reading(after, BY_NAME["clients"]) == 0


def test_a_forked_process_writes_what_the_others_read() -> None:
    board = Board(2)
    child = os.fork()
    if child == 0:
        stats = Stats()
        stats.add("hits", 2)
        board.place(1).publish(stats)
        os._exit(0)
    os.waitpid(child, 0)

    assert board.total(BY_NAME["hits"]) == 2


def labelled(commands: float, lanes: float) -> Families:
    families = Families()
    families.read("commands", lambda: [(("read", "near"), [commands])])
    families.read("lanes", lambda: [(("a:1", "shared"), [lanes])])
    return families


def test_what_has_labels_is_of_all_workers_too() -> None:
    board = Board(2)
    board.place(0).publish_series(labelled(3, 1))

    series = board.place(1).series(labelled(4, 2))

    assert series == {("commands", ("read", "near")): [7], ("lanes", ("a:1", "shared")): [3]}


def test_a_worker_that_is_started_again_goes_on_with_what_is_counted_with_labels() -> None:
    board = Board(1)
    board.place(0).publish_series(labelled(3, 1))

    place = board.place(0)
    place.publish_series(labelled(1, 2))

    assert place.series(labelled(1, 2)) == {
        ("commands", ("read", "near")): [4],
        ("lanes", ("a:1", "shared")): [2],
    }
