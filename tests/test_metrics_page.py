"""docs/metrics.md, the rules for alerts and the dashboard: they name what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml
from nearhit.proxy.stats.counters import READS, ROWS, Kind
from nearhit.proxy.stats.families import FAMILIES, Family
from nearhit.proxy.stats.prometheus import name_of

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "metrics.md"
ALERTS = DOCS / "metrics" / "alerts.yaml"
DASHBOARD = DOCS / "metrics" / "dashboard.json"
# Of Prometheus' own library for Python, in each process.
PROCESS: Final = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
ADDED: Final = {"instance", "job", "le"}  # labels that Prometheus adds


def ending(kind: Kind) -> str:
    return "_total" if kind is Kind.COUNTER else ""


def labels() -> dict[str, set[str]]:
    """The labels of each sample that there is."""
    plain = [row for row in (*READS, *ROWS) if not row.labelled]
    names = {name_of(row) + ending(row.kind): set[str]() for row in plain}
    for row in FAMILIES:
        name = f"nearhit_{row.name}{ending(row.kind)}"
        endings = ("_bucket", "_sum", "_count") if row.kind is Kind.HISTOGRAM else ("",)
        names |= {name + one: set(row.labels) for one in endings}
    return names | {"nearhit_build_info": {"version", "build"}} | {one: set() for one in PROCESS}


SAMPLES = labels()


def table(head: str) -> list[str]:
    _, found, rest = PAGE.read_text().partition(head + "\n")
    assert found, f"no table {head}"
    return rest.partition("\n\n")[0].splitlines()[1:]


def test_the_page_has_each_row_as_the_code_has_it() -> None:
    assert table("| STATS | metric | type | meaning |") == [
        f"| `{row.name}` | `{name_of(row)}{ending(row.kind)}`{', with labels' * row.labelled} "
        f"| {row.kind.name.lower()} | {row.help} |"
        for row in (*READS, *ROWS)
    ]


def line(row: Family) -> str:
    named = f"{', '.join(f'`{label}`' for label in row.labels)} ".lstrip()
    kind = row.kind.name.lower()
    return f"| `nearhit_{row.name}{ending(row.kind)}` | {kind} | {named}| {row.help} |"


def test_the_page_has_each_family_as_the_code_has_it() -> None:
    assert table("| metric | type | labels | meaning |") == list(map(line, FAMILIES))


def test_the_page_explains_each_label() -> None:
    explained = {re.findall(r"`(\w+)`", row)[0] for row in table("| label | values |")}

    assert explained == {label for row in FAMILIES for label in row.labels}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return cast("list[dict[str, Any]]", group["rules"])


def expressions(found: object) -> Iterator[str]:
    """What is asked of Prometheus, anywhere in a rule or a dashboard."""
    if isinstance(found, dict):
        for name, value in cast("dict[str, object]", found).items():
            if name in ("expr", "definition") and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(found, list):
        for value in cast("list[object]", found):
            yield from expressions(value)


QUERIES = [
    *expressions(rules()),
    *expressions(json.loads(DASHBOARD.read_text())),
    *re.findall(r"^(?:sum|histogram_quantile)\(.+$", PAGE.read_text(), re.MULTILINE),
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_metrics_and_labels_that_there_are(query: str) -> None:
    names = re.findall(r"\b(?:nearhit|process)_\w+", query)
    mine = set[str]().union(*(SAMPLES[name] for name in names)) | ADDED

    for grouped in re.findall(r"by \(([^)]+)\)", query):
        assert set(grouped.split(", ")) <= mine, query
    for name, chosen in re.findall(r"\b(\w+)\{([^}]*)\}", query):
        for label, value in re.findall(r'(\w+)!?=~?"([^"]*)"', chosen):
            assert label in SAMPLES.get(name, set()) | ADDED, query
            assert label in ADDED or set(value.split("|")) <= VALUES[label], query
    assert query.count("(") == query.count(")")


VALUES: Final = {
    label: set(re.findall(r"`(\w+)`", " ".join(rest)))
    for label in ("class", "tier", "result", "tracking")
    for rest in [[row for row in table("| label | values |") if f"`{label}`" in row]]
}


def test_each_counter_in_a_query_is_asked_for_its_rate() -> None:
    for query in QUERIES:
        for name in re.findall(r"\b\w+_(?:total|bucket|count|sum)\b", query):
            assert re.search(rf"(?:rate|increase)\({name}\b", query), query


def test_each_alert_says_what_is_wrong_and_how_bad() -> None:
    found = rules()

    assert len({rule["alert"] for rule in found}) == len(found) > 8
    for rule in found:
        assert rule["alert"].startswith("Nearhit")
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")


def test_each_panel_has_a_place_and_a_name_of_its_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert len({panel["title"] for panel in panels}) == len(panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_the_rules() -> None:
    ran = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr
