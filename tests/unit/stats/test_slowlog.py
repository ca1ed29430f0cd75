"""The slowest commands are kept, and each has its line in the log, within bounds."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from nearhit.proxy.stats.slowlog import KEPT, LINES, Slow, SlowLog

ONE = Slow(1000.9, 0.25, 0.05, 0.1, 0.1, "GET k", "10.0.0.1:5", "app", 3, 7)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    assert {record.getMessage() for record in caplog.records} == {"slow command"}
    return [vars(record)["nearhit_fields"] for record in caplog.records]


def test_a_slow_command_has_a_line_with_where_its_time_went(
    caplog: pytest.LogCaptureFixture,
) -> None:
    SlowLog().note(ONE)

    assert lines(caplog) == [
        {
            "command": "GET k",
            "ms": 250,
            "queue_ms": 50,
            "upstream_ms": 100,
            "load_ms": 100,
            "client": 7,
            "peer": "10.0.0.1:5",
            "client_name": "app",
            "db": 3,
        }
    ]
    assert caplog.records[0].levelno == logging.WARNING


def test_so_many_lines_are_written_in_a_second_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    slow = SlowLog(now=clock)
    for _ in range(LINES + 5):
        slow.note(ONE)
    clock.now += 1
    slow.note(ONE)
    slow.note(ONE)

    assert [line.get("untold") for line in lines(caplog)] == [None] * LINES + [5, None]
    assert slow.count == LINES + 7


def test_the_slowest_are_kept() -> None:
    slow = SlowLog()
    for n in range(KEPT + 10):
        slow.note(replace(ONE, seconds=float(n)))

    assert [one.seconds for one in slow.slowest] == [float(KEPT + 9 - n) for n in range(KEPT)]
    slow.reset()
    assert slow.slowest == []


def test_it_is_told_in_microseconds() -> None:
    assert ONE.reply() == {
        "time": 1000,
        "duration_us": 250000,
        "queue_us": 50000,
        "upstream_us": 100000,
        "load_us": 100000,
        "command": b"GET k",
        "client": 7,
        "addr": b"10.0.0.1:5",
        "name": b"app",
        "db": 3,
    }


def test_without_a_threshold_nothing_is_slow() -> None:
    assert repr(SlowLog()) == "<SlowLog 0 of inf s>"
    assert repr(SlowLog(threshold=0.1)) == "<SlowLog 0 of 0.1 s>"
