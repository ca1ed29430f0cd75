"""What docs/operating.md tells people to look for when something fails is there to be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from nearhit.proxy.stats.counters import Stats
from nearhit.proxy.stats.prometheus import Metrics

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operating.md").read_text()
SOURCE = "\n".join(path.read_text() for path in (ROOT / "proxy").rglob("*.py"))
TABLE = PAGE.partition("## When something fails\n")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| ")
][1:]
EVENTS = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[2])})
METRICS = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[3])})


def test_each_failure_says_what_is_seen_and_what_to_do() -> None:
    assert len(ROWS) > 15
    for row in ROWS:
        assert len(row) == 5, row
        assert row[0], row
        assert row[1], row
        assert row[4], row


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_logged_somewhere_and_told_of(event: str) -> None:
    assert f'"{event}"' in SOURCE
    assert f"\n| `{event}` |" in PAGE


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_shown(metric: str) -> None:
    shown = Metrics(Stats().reading, "0", "compiled").text().decode()

    assert f"\n{metric} " in shown
