"""Frames of ``nearhit top``, of what a proxy has said once."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from nearhit.proxy.cli.top_frame import COLUMNS, JOBS_MOST, NODES_MOST, View
from nearhit.proxy.cli.top_reading import Reading
from nearhit.proxy.stats.counters import READS, ROWS
from nearhit.proxy.stats.history import SUMS, Sample
from rich.console import Console

NODE = {
    "address": "127.0.0.1:27801",
    "role": "server",
    "slots": None,
    "down": None,
    "lanes": {"shared": 4, "warm": 4},
    "tracked_lanes": {"on": 1},
    "lane_queue": {"sent": 2, "unsent": 1},
}
PROXY: Mapping[str, Any] = {
    "version": "0.1.0",
    "build": "compiled",
    "workers": 1,
    "stats": {
        **{row.name: 0 for row in (*READS, *ROWS)},
        "loads": 4268,
        "near_entries": 311,
        "near_bytes": 1 << 20,
        "clients": 5,
        "upstream_connections": 8,
        "uptime_s": 484,
        "tracking": "on",
    },
    "near_budget": 4 << 20,
    "loads_running": 6,
    "loads_queued": 10,
    "leases_held": 1,
    "locks_renewing": 0,
    "pinned_waiters": 0,
    "down": None,
    "nodes": [NODE],
}
TIMES = {"p50_us": 10, "p90_us": 25, "p99_us": 459, "p999_us": 501, "max_us": 1501}
LATENCY = [
    {"class": "read", "tier": "all", "samples": 120, **TIMES},
    {"class": "read", "tier": "near", "samples": 116, **TIMES},
]
KEYS: Sequence[Mapping[str, Any]] = [
    {"key": "user:1", "reads": 36352, "hits": 36352, "misses": 0, "bytes": 27},
    {"key": "order:[red]9", "reads": 512, "hits": 256, "misses": 256, "bytes": 3000},
    {"key": "", "reads": 1024, "hits": None, "misses": None, "bytes": None},
]
JOB = {"command": "WARM", "state": "running", "total": 2500, "loaded": 1250, "error": None}
READING = Reading(PROXY, LATENCY, "hotkeys", KEYS)


def view(reading: Reading | None = READING, **more: Any) -> View:
    made = View("redis://127.0.0.1:6380", reading=reading, read_at="14:03:22", now=161.0, **more)
    for second in range(62):
        sums = dict.fromkeys(SUMS, 0.0) | {
            "commands": second * 1000.0,
            "hits": second * 90.0,
            "misses": second * 10.0,
            "near_hits": second * 50.0,  # five of them of what is not there
            "near_found": second * 45.0,
        }
        made.history.take(Sample(100.0 + second, sums, {}))
    return made


def frame(made: View, width: int = 80, *, color: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
    )
    console.print(made)
    return out.getvalue()


def told(reading: Reading, **changes: Any) -> Reading:
    """The reading with these in its proxy's map."""
    return replace(reading, proxy={**reading.proxy, **changes})


def row(text: str, head: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(head))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    text = frame(view(replace(READING, jobs=[JOB] * 3)), width)

    assert max(len(line) for line in text.splitlines()) <= width


def test_eighty_columns_show_all_of_it_one_under_the_other() -> None:
    text = frame(view(replace(READING, jobs=[JOB])))

    assert row(text, "nearhit").split() == [
        *("nearhit", "0.1.0", "redis://127.0.0.1:6380", "compiled", "14:03:22")
    ]
    assert "5 clients, 8 connections to servers" in row(text, "serving")
    assert "up for 8 min 4 s" in row(text, "serving")
    assert row(text, "requests").split()[3:5] == ["1,000", "1,000"]
    assert row(text, "hit ratio").split()[2:6] == ["90.0", "%", "90.0", "%"]
    assert row(text, "of hits").split()[3:5] == ["50.0", "%"]
    near = "near cache  ██░░░░░░░░  25.0 %, 1.0 MiB of 4.0 MiB, 311 values, 0 evicted"
    assert row(text, "near cache").rstrip() == near
    assert " ".join(row(text, "read").split()) == "read 120 10 µs 25 µs 459 µs 1.5 ms"
    assert "116" not in text
    assert row(text, "loads  ").startswith("loads   4,268 done, 0 failed, 6 running, 10 queued")
    assert " ".join(row(text, "127.").split()) == "127.0.0.1:27801 up - yes 4 0 4 3"
    assert row(text, "job").rstrip() == "job WARM  running  " + "█" * 10 + "░" * 10 + (
        "  1,250 of 2,500 keys"
    )
    assert " ".join(row(text, "user:1").split()) == "user:1 36,352 100.0 % 0 27 B"
    assert row(text, "(none)").split() == ["(none)", "1,024", *"---"]
    assert row(text, "Tab").rstrip() == "Tab other keys   s sort   r turn round   q quit"


def test_a_wide_terminal_has_numbers_beside_latencies_of_each_tier() -> None:
    text = frame(view(), 120)

    assert "latency" in row(text, "now")
    assert "116" in text


def test_without_colours_there_are_none_and_names_are_no_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "\x1b[" in frame(view(), color=True)

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in frame(view(), color=True)
    assert "order:[red]9" in frame(view())


@pytest.mark.parametrize(
    ("column", "rising", "names"),
    [
        ("reads", False, ["user:1", "(none)", "order:[red]9"]),
        ("reads", True, ["order:[red]9", "(none)", "user:1"]),
        ("found", False, ["user:1", "order:[red]9", "(none)"]),
        ("misses", False, ["order:[red]9", "user:1", "(none)"]),
        ("bytes", False, ["order:[red]9", "user:1", "(none)"]),
        ("name", False, ["(none)", "order:[red]9", "user:1"]),
        ("name", True, ["user:1", "order:[red]9", "(none)"]),
    ],
)
def test_keys_are_sorted_by_a_column(column: str, rising: bool, names: list[str]) -> None:
    assert column in COLUMNS

    text = frame(view(column=column, rising=rising))

    heading = row(text, "Hot keys")
    found = text[text.index(heading) :].splitlines()[1:4]
    assert [line.split("  ")[0] for line in found] == names
    assert ("▴" if rising is not (column == "name") else "▾") in heading


def test_prefixes_have_their_own_heading() -> None:
    row_of = {"prefix": "user:", "reads": 5, "hits": 5, "misses": 0, "bytes": 9}

    text = frame(view(replace(READING, view="prefixes", keys=[row_of])))

    assert row(text, "Prefixes")
    assert row(text, "user:").split()[:2] == ["user:", "5"]


def test_what_is_not_there_is_said() -> None:
    text = frame(view(told(replace(READING, latency=(), keys=()), near_budget=None)))

    assert row(text, "near cache").rstrip() == "near cache  off"
    assert row(text, "nothing was timed")
    assert row(text, "none was seen")


def test_of_many_servers_those_that_are_away_come_first() -> None:
    nodes = [
        {**NODE, "address": f"10.0.0.{n}:1", "role": "replica", "lanes": {}, "tracked_lanes": {}}
        for n in range(NODES_MOST + 2)
    ]
    nodes[-1] |= {"down": "UPSTREAM gone", "slots": 16384, "tracked_lanes": {"off": 1}}

    text = frame(view(told(READING, nodes=nodes)))

    lines = text[text.index("server ") :].splitlines()[1:]
    assert lines[0].split()[:5] == ["10.0.0.13:1", "replica", "away", "16,384", "no"]
    assert "unused" in lines[1]
    assert row(text, "and 2 more")


def test_a_long_name_of_a_server_takes_no_place_from_its_numbers() -> None:
    nodes = [{**NODE, "address": "mymaster at some.where.example:6379"}]

    text = frame(view(told(READING, nodes=nodes)))

    assert row(text, "server").rstrip().endswith("in flight")
    assert row(text, "some.where.example:6379")


def test_jobs_that_run_come_first_and_the_last_ones_are_shown() -> None:
    done = {**JOB, "state": "done", "loaded": 2500}
    failed = {**JOB, "state": "failed", "total": None, "failed": 3, "error": "UPSTREAM gone"}

    text = frame(view(replace(READING, jobs=[done, JOB, *[done] * 4, failed])))

    lines = [line for line in text.splitlines() if line.startswith("job")]
    assert len(lines) == JOBS_MOST
    assert "running" in lines[0]
    assert "1,253 keys, 3 failed  UPSTREAM gone" in lines[1]


def test_workers_sentinels_and_lock_servers_are_told_where_they_are() -> None:
    stats = {**PROXY["stats"], "sentinels": 3, "master_moves": 1, "lock_servers_up": 5}

    text = frame(view(told(READING, workers=2, stats=stats, down="UPSTREAM gone")), 120)

    assert "compiled, 2 workers" in text
    assert (
        row(text, "UPSTREAM gone")
        .split("servers, ")[1]
        .startswith("3 Sentinels, 1 move, 5 lock servers")
    )


def test_trouble_says_of_when_the_numbers_are() -> None:
    text = frame(view(trouble="it is away."), 120)
    assert row(text, "no numbers")
    assert row(text, "it is away.").rstrip() == (
        "it is away. Below is how it was at 14:03:22. It is asked again."
    )

    first = frame(view(None, trouble="it is away."))
    assert row(first, "it is away.").rstrip() == "it is away. It is asked again."
    assert row(first, "Tab")


def test_a_mean_is_of_all_the_time_however_long_each_interval_was() -> None:
    made = View("u", reading=READING, now=10.0)
    for at, asked in ((0.0, 0.0), (0.5, 500.0), (10.0, 2000.0)):
        sums = dict.fromkeys(SUMS, 0.0) | {"commands": asked}
        made.history.take(Sample(at, sums, {}))

    assert row(frame(made), "requests").split()[3:5] == ["158", "200"]


def test_of_one_interval_there_is_no_trend() -> None:
    made = View("u", reading=READING, help=False)
    for second in range(2):
        made.history.take(Sample(float(second), dict.fromkeys(SUMS, second * 7.0), {}))

    text = frame(made)

    assert row(text, "requests").split()[3:] == ["7", "7"]
    assert "lately" not in text
    assert "Tab" not in text


@pytest.mark.parametrize(("height", "gone"), [(40, ""), (24, ""), (23, "locks"), (17, "latency")])
def test_a_low_terminal_loses_what_matters_least_and_keeps_its_keys(height: int, gone: str) -> None:
    text = frame(view(replace(READING, jobs=[JOB] * 2), height=height))

    assert len(text.splitlines()) <= height
    assert row(text, "user:1")
    assert row(text, "Tab")
    assert row(text, "requests")
    if gone:
        assert gone not in text
    else:
        assert row(text, "locks")
