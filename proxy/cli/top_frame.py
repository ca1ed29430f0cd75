"""One frame of ``nearhit top``, by rich (extra ``cli``): what was read, and the rates of a while.

    Reading, History ─▶ head ─ now, near cache, loads │ latencies ─ servers ─ jobs ─ keys ─ help
                                      80 columns: one under the other, 110: side by side

Pure: asks nobody and writes nowhere. The keys take the lines that are left. What comes from
elsewhere is shown as text, never read as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..stats.history import History
from .amounts import NONE, count, duration, part, size, span, trend
from .top_reading import Reading

MINUTE: Final = 60.0
WIDE: Final = 110  # columns from which on two panels stand side by side
_NEAR_WIDTH: Final = 78  # from which on the near cache needs one line
NODES_MOST: Final = 12
JOBS_MOST: Final = 4
KEYS_LEAST, KEYS_MOST = 3, 16  # rows; so many where the height is no matter
VIEWS: Final = {"hotkeys": "Hot keys", "prefixes": "Prefixes", "bigkeys": "Big keys"}
# By which column keys are sorted, and its heading.
COLUMNS: Final = {
    "reads": "reads",
    "found": "found",
    "misses": "misses",
    "bytes": "size",
    "name": "name",
}
_DROPPED: Final = ("runs", "latency", "jobs", "servers")  # where lines are few, in this order
_QUIET, _STRONG, _GOOD, _BAD = "dim", "bold", "green", "red"
# How much of a job is done, by the words of WARM and of INVALIDATE.
_DONE: Final = ("loaded", "skipped", "not_found", "failed", "removed")


@dataclass(slots=True)
class View:
    """All that a frame is made of. ``trouble``: why the last reading is an old one; ``height``:
    lines of the terminal, None: as many as it takes."""

    name: str  # of the proxy: its URL without the password
    history: History = field(default_factory=History)
    reading: Reading | None = None
    read_at: str = ""  # the time of day
    now: float = 0.0
    trouble: str = ""
    view: str = "hotkeys"
    column: str = "reads"
    rising: bool = False
    help: bool = True
    height: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        last = [_help()] if self.help else []
        reading = self.reading
        if reading is None:
            yield Group(_head(self), *last)
            return
        parts = {"head": _head(self), **_panels(self, reading, options.max_width)}
        parts["servers"] = _nodes(reading)
        if reading.jobs:
            parts["jobs"] = _jobs(reading)
        heights = {
            name: len(console.render_lines(part, options, pad=False))
            for name, part in parts.items()
        }
        loose, room = _fit(parts, heights, self.height, 1 + len(last))
        shown = [*parts.values(), _keys(self, reading, room), *last]
        above = (1 if loose else 0, 0, 0, 0)
        yield Group(shown[0], *(Padding(one, above) for one in shown[1:]))


def _fit(
    parts: dict[str, RenderableType], heights: Mapping[str, int], height: int | None, others: int
) -> tuple[bool, int]:
    """Whether there are lines enough for one between each two parts, and how many are for keys;
    parts that find no place are dropped. ``others``: lines that are taken besides."""
    if height is None:
        return True, KEYS_MOST
    for name in _DROPPED:
        if sum(heights[one] for one in parts) + others + KEYS_LEAST > height:
            parts.pop(name, None)
    left = height - others - sum(heights[one] for one in parts)
    between = len(parts) + 1
    loose = left >= between + 2 * KEYS_LEAST
    return loose, max(KEYS_LEAST, left - between if loose else left)


def _grid(*justify: JustifyMethod, expand: bool = False, pad: int = 2) -> Table:
    """Columns without lines."""
    grid = Table.grid(padding=(0, pad, 0, 0), expand=expand)
    for one in justify:
        grid.add_column(justify=one, no_wrap=True)
    return grid


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=_QUIET)
    table.add_column(first, no_wrap=True, overflow="ellipsis", ratio=1)
    for one in others:
        table.add_column(one, justify="right", no_wrap=True)
    return table


def _bar(fill: float, width: int) -> Text:
    full = round(max(0.0, min(1.0, fill)) * width)
    return Text.assemble(("█" * full, "cyan"), ("░" * (width - full), _QUIET))


# --- The head ---------------------------------------------------------------------------------


def _head(view: View) -> RenderableType:
    lines = _grid("left", "right", expand=True, pad=0)
    if view.reading is None:
        lines.add_row(Text.assemble(("nearhit", _STRONG), f"  {view.name}"), view.read_at)
    else:
        proxy, stats = view.reading.proxy, view.reading.proxy["stats"]
        workers = f", {proxy['workers']} workers" if proxy["workers"] > 1 else ""
        title = Text.assemble(
            (f"nearhit {proxy['version']}", _STRONG), f"  {view.name}  {proxy['build']}{workers}"
        )
        lines.add_row(title, view.read_at)
        state = Text("serving", _GOOD)
        if view.trouble or proxy["down"]:
            state = Text("no numbers" if view.trouble else proxy["down"], _BAD)
        state.append(_clients(stats), "default")
        lines.add_row(state, f"up for {span(stats['uptime_s'])}")
    if not view.trouble:
        return lines
    old = "" if view.reading is None else f" Below is how it was at {view.read_at}."
    return Group(lines, Text(f"{view.trouble}{old} It is asked again.", f"{_STRONG} {_BAD}"))


def _clients(stats: Mapping[str, Any]) -> str:
    lanes = _of(stats["upstream_connections"], "connection")
    told = f"  {_of(stats['clients'], 'client')}, {lanes} to servers"
    if stats["sentinels"]:
        told += f", {_of(stats['sentinels'], 'Sentinel')}, {_of(stats['master_moves'], 'move')}"
    if stats["lock_servers_up"]:
        told += f", {_of(stats['lock_servers_up'], 'lock server')}"
    return told


def _of(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


# --- Numbers ----------------------------------------------------------------------------------


def _panels(view: View, reading: Reading, width: int) -> Mapping[str, RenderableType]:
    wide = width >= WIDE
    half = (width - 3) // 2 if wide else width
    now, near = _now(view, half), _near(reading, half)
    latency, runs = _latency(reading, every=wide), _runs(reading)
    if not wide:
        return {"now": now, "near": near, "latency": latency, "runs": runs}
    both = Table.grid(padding=(0, 3, 0, 0), pad_edge=False)
    both.add_column(width=half)
    both.add_column(width=half)
    both.add_row(Group(now, Text(), near), Group(latency, Text(), runs))
    return {"both": both}


def _now(view: View, width: int) -> RenderableType:
    """The last interval, the last minute, and how it went."""
    rates = view.history.columns(view.now)
    # How long each interval was, where it belongs to the last minute: they are not alike.
    lasted = [
        long if at is not None and long is not None and at >= -MINUTE else 0.0
        for at, long in zip(rates["at"], rates["seconds"], strict=True)
    ]

    def mean(numbers: Sequence[float | None]) -> float | None:
        counts = [(one or 0.0) * long for one, long in zip(numbers, lasted, strict=True)]
        return sum(counts) / sum(lasted) if any(lasted) else None

    hits, misses = rates["hits"], rates["misses"]
    reads = [(hit or 0.0) + (miss or 0.0) for hit, miss in zip(hits, misses, strict=True)]
    rows: Sequence[tuple[str, Sequence[float | None], Sequence[float | None] | None]] = (
        ("requests a second", rates["commands"], None),
        ("errors a second", rates["command_errors"], None),
        ("loads a second", rates["loads"], None),
        ("hit ratio", hits, reads),
        ("of hits, near", rates["near_found"], hits),
    )
    grid = _table("", "now", "minute")
    went = len(lasted) > 1
    grid.add_column("lately" if went else "", no_wrap=True)
    room = min(int(MINUTE), width - 44)
    for title, above, below in rows:
        if below is None:
            told, numbers, minute, most = count, list(above), mean(above), None
        else:
            told, most = part, 1.0
            numbers = [_ratio(*pair) for pair in zip(above, below, strict=True)]
            minute = _ratio(mean(above), mean(below))
        now = numbers[-1] if numbers else None
        grid.add_row(
            title, told(now), told(minute), Text(trend(numbers, room, most) if went else "", "cyan")
        )
    return grid


def _ratio(above: float | None, below: float | None) -> float | None:
    return min(1.0, (above or 0.0) / below) if below else None


def _near(reading: Reading, width: int) -> RenderableType:
    stats, budget = reading.proxy["stats"], reading.proxy["near_budget"]
    if budget is None:
        return Text("near cache  off", _QUIET)
    fill = stats["near_bytes"] / budget if budget else 0.0
    told = f"{part(fill)}, {size(stats['near_bytes'])} of {size(budget)}"
    holds = f"{_of(stats['near_entries'], 'value')}, {count(stats['near_evictions'])} evicted"
    narrow = width < _NEAR_WIDTH
    line = Text.assemble(
        "near cache  ", _bar(fill, 10), "  ", told, "\n" if narrow else ", ", holds
    )
    line.no_wrap = True
    return line


def _latency(reading: Reading, *, every: bool) -> RenderableType:
    """By class; ``every``: also by who answered."""
    table = _table("latency", "timed", "p50", "p90", "p99", "most")
    for row in reading.latency:
        whole = row["tier"] == "all"
        if not (whole or every):
            continue
        table.add_row(
            Text(row["class"] if whole else f"  {row['tier']}", "" if whole else _QUIET),
            count(row["samples"]),
            *(duration(row[name]) for name in ("p50_us", "p90_us", "p99_us", "max_us")),
        )
    if not reading.latency:
        table.add_row(Text("nothing was timed", _QUIET))
    return table


def _runs(reading: Reading) -> RenderableType:
    """What has run, runs and waits."""
    proxy, stats = reading.proxy, reading.proxy["stats"]
    lanes = [node["lanes"] for node in proxy["nodes"]]

    def told(**numbers: int) -> Text:
        return Text(
            ", ".join(f"{count(one)} {name.replace('_', ' ')}" for name, one in numbers.items())
        )

    grid = _grid("left", "left")
    grid.columns[1].no_wrap = False
    grid.add_row(
        "loads",
        told(
            done=stats["loads"],
            failed=stats["load_failures"],
            running=proxy["loads_running"],
            queued=proxy["loads_queued"],
            waiting=stats["waiting"],
            stale=stats["stale_served"],
        ),
    )
    grid.add_row("leases", told(granted=stats["leases"], held=proxy["leases_held"]))
    grid.add_row(
        "locks",
        told(
            granted=stats["locks_acquired"],
            contended=stats["locks_contended"],
            waiting=stats["lock_waiters"],
            renewed=proxy["locks_renewing"],
            lost=stats["locks_lost"],
        ),
    )
    grid.add_row(
        "lanes",
        told(
            **{use: sum(one.get(use, 0) for one in lanes) for use in ("shared", "pinned", "warm")},
            waiting_for_one=proxy["pinned_waiters"],
        ),
    )
    return grid


# --- Servers and jobs -------------------------------------------------------------------------


def _nodes(reading: Reading) -> RenderableType:
    """Those that are away first."""
    nodes = sorted(reading.proxy["nodes"], key=lambda node: node["down"] is None)
    table = _table("server", "state", "slots", "tells", "shared", "pinned", "warm", "in flight")
    table.columns[0].no_wrap = False
    table.columns[1].justify = "left"
    for node in nodes[:NODES_MOST]:
        lanes, tracked, queue = node["lanes"], node["tracked_lanes"], node["lane_queue"]
        away = node["down"] is not None
        state = "away" if away else "up" if sum(lanes.values()) else "unused"
        role = "" if node["role"] == "server" else f" {node['role']}"
        tells = "yes" if tracked.get("on") else "no" if tracked.get("off") else NONE
        table.add_row(
            Text.assemble(node["address"], (role, _QUIET)),
            Text(state, _BAD if away else _GOOD if state == "up" else _QUIET),
            NONE if node["slots"] is None else count(node["slots"]),
            tells,
            *(count(lanes.get(use, 0)) for use in ("shared", "pinned", "warm")),
            count(sum(queue.values())),
        )
    if len(nodes) > NODES_MOST:
        table.add_row(Text(f"and {len(nodes) - NODES_MOST} more", _QUIET))
    return table


def _jobs(reading: Reading) -> RenderableType:
    """Those that run, and what ended last."""
    grid = _grid("left", "left", "left", "left")
    grid.columns[3].overflow = "ellipsis"
    latest = list(reversed(reading.jobs))
    jobs = sorted(latest, key=lambda job: job["state"] != "running")
    for job in jobs[:JOBS_MOST]:
        done, total = sum(job.get(name) or 0 for name in _DONE), job["total"]
        of = "" if total is None else f" of {count(total)}"
        failed = f", {count(job['failed'])} failed" if job.get("failed") else ""
        running = job["state"] == "running"
        bar = _bar(done / total if total else 0.0, 20)
        grid.add_row(
            f"job {job['command']}",
            Text(job["state"], _BAD if job["error"] else ""),
            bar if running else "",
            Text(
                f"{count(done)}{of} keys{failed}{'' if not job['error'] else '  ' + job['error']}"
            ),
        )
    return grid


# --- Keys -------------------------------------------------------------------------------------


def name_of(row: Mapping[str, Any]) -> str:
    """Of a key or a prefix."""
    return str(row.get("key", row.get("prefix")))


def found_of(row: Mapping[str, Any]) -> float | None:
    """The part of its reads that found a value."""
    return None if row["hits"] is None else _ratio(row["hits"], row["hits"] + row["misses"])


def _rank(row: Mapping[str, Any], column: str) -> Any:
    if column == "name":
        return name_of(row)
    number = found_of(row) if column == "found" else row[column]
    return -1 if number is None else number


def ordered(view: View, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """By the column; names from a on, numbers from the largest on, or the other way round."""
    names = view.column == "name"
    return sorted(rows, key=lambda row: _rank(row, view.column), reverse=names is view.rising)


def _keys(view: View, reading: Reading, room: int) -> RenderableType:
    arrow = "▴" if (view.column == "name") is not view.rising else "▾"
    heads = {
        column: f"{title} {arrow}" if column == view.column else title
        for column, title in COLUMNS.items()
    }
    first = VIEWS[reading.view] + (f" {arrow}" if view.column == "name" else "")
    table = _table(first, *(heads[column] for column in COLUMNS if column != "name"))
    table.expand = True
    for row in ordered(view, reading.keys)[:room]:
        table.add_row(
            Text(name_of(row) or "(none)"),
            count(row["reads"]),
            part(found_of(row)),
            count(row["misses"]),
            size(row["bytes"]),
        )
    if not reading.keys:
        table.add_row(Text("none was seen", _QUIET))
    return table


def _help() -> RenderableType:
    keys = (("Tab", "other keys"), ("s", "sort"), ("r", "turn round"), ("q", "quit"))
    told = [part for key, what in keys for part in ((key, _STRONG), (f" {what}   ", _QUIET))]
    return Text.assemble(*told)
