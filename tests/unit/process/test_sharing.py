"""A worker shows the others what it counts, again and again."""

from __future__ import annotations

import asyncio

from nearhit.proxy.process.sharing import SHARE_S, share
from nearhit.proxy.stats.counters import READS, ROWS, Stats
from nearhit.proxy.stats.families import Families
from nearhit.proxy.stats.shared import Board

from .serving import until


async def test_what_a_worker_counts_is_shown_to_the_others_while_it_serves() -> None:
    board, stats, families = Board(2), Stats(), Families()
    (loads,) = (row for row in (*READS, *ROWS) if row.name == "loads")
    task = asyncio.ensure_future(share(board.place(0), stats, families))
    try:
        for count in (1, 2):
            stats.add("loads")
            families.loaded("users", "success", 0.5)

            await until(lambda count=count: board.get(0, loads) == count)
            load = ("load_duration_seconds", ("users", "success"))
            assert board.series()[load][0] == count * 0.5
    finally:
        task.cancel()


def test_what_is_shown_of_the_others_is_no_older_than_a_tenth_of_a_second() -> None:
    # docs/metrics.md and docs/status-page.md say so; a rate of a second is right to within that.
    assert SHARE_S <= 0.1
