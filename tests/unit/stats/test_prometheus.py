from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from nearhit.proxy.stats.counters import READS, ROWS, Kind, Stats
from nearhit.proxy.stats.families import FAMILIES, Families, numbers_of
from nearhit.proxy.stats.prometheus import Metrics, name_of
from nearhit.proxy.stats.sampler import Histogram
from prometheus_client.parser import text_string_to_metric_families


def families(stats: Stats) -> dict[str, tuple[str, str, float]]:
    """(type, help, value) by the name of the sample."""
    text = Metrics(stats.reading, "1.2.3", "compiled").text().decode()
    return {
        sample.name: (family.type, family.documentation, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_row_is_a_metric_with_its_sentence() -> None:
    found = families(Stats())

    for row in (one for one in (*READS, *ROWS) if not one.labelled):
        name = name_of(row) + "_total" * (row.kind is Kind.COUNTER)
        kind, sentence, value = found[name]
        assert (kind, sentence, value) == (row.kind.name.lower(), row.help, 0)


def test_values_are_those_of_the_process() -> None:
    stats = Stats()
    stats.add("hits", 3)
    stats.gauge("tracking", lambda: "on")
    stats.gauge("uptime_s", lambda: 1.5)
    stats.gauge("near_stale_max_ms", lambda: 2500)
    stats.reset()

    found = families(stats)

    assert found["nearhit_hits_total"][2] == 3
    assert found["nearhit_tracking"][2] == 1
    assert found["nearhit_uptime_seconds"][2] == 1.5
    assert found["nearhit_near_stale_max_seconds"][2] == 2.5


def test_without_values_version_and_build_are_the_only_labels() -> None:
    text = Metrics(Stats().reading, "1.2.3", "compiled").text().decode()

    labels = [
        sample.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels
    ]
    assert labels == [{"version": "1.2.3", "build": "compiled"}]


def test_the_process_itself_is_measured() -> None:
    found = families(Stats())

    assert found["process_resident_memory_bytes"][2] > 0
    assert "process_cpu_seconds_total" in found


def filled() -> Families:
    """A value in each family."""
    families = Families()
    families.loaded("users", "success", 0.5)
    for row in FAMILIES:
        labels = tuple(f"some {label}" for label in row.labels)
        value = numbers_of(Histogram()) if row.kind is Kind.HISTOGRAM else [2.0]
        families.read(row.name, lambda labels=labels, value=value: [(labels, value)])  # type: ignore[misc]
    return families


def test_every_family_is_a_metric_with_its_labels() -> None:
    text = Metrics(Stats().reading, "0", "compiled", filled().series).text().decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}

    for row in FAMILIES:
        family = found[f"nearhit_{row.name}"]
        assert (family.type, family.documentation) == (row.kind.name.lower(), row.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(row.labels)


def test_a_histogram_has_its_sum_and_its_count() -> None:
    families = Families()
    families.loaded("users", "success", 0.5)
    families.loaded("users", "success", 1.5)

    text = Metrics(Stats().reading, "0", "compiled", families.series).text().decode()

    labels = '{loader="users",result="success"}'
    assert f"nearhit_load_duration_seconds_count{labels} 2.0" in text
    assert f"nearhit_load_duration_seconds_sum{labels} 2.0" in text


# As promtool has them: https://github.com/prometheus/client_golang, prometheus/testutil/promlint.
UNITS = (
    "s ms us ns sec min h hour d day b kb mb gb tb pb milliseconds microseconds minutes hours days"
)
RESERVED = {"_count", "_sum", "_bucket"}


def test_promtool_would_find_nothing_wrong() -> None:
    text = Metrics(Stats().reading, "0", "compiled", filled().series).text().decode()
    helps = re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE)
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)

    assert [name for name, _ in helps] == [name for name, _ in types]
    assert len(dict(types)) == len(types)
    for name, kind in types:
        assert re.fullmatch(r"(nearhit|process)(_[a-z0-9]+)+", name), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not any(name.endswith(ending) for ending in RESERVED), name
        assert not {*UNITS.split(), kind} & {*name.split("_")}, name
    for name, labels in re.findall(r"^(\w+)\{(.+)\} ", text, re.MULTILINE):
        words = re.findall(r'(\w+)="', labels)
        assert all(re.fullmatch(r"[a-z]+", word) for word in words), name
        assert ("le" in words) == name.endswith("_bucket"), name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong() -> None:
    text = Metrics(Stats().reading, "0", "compiled", filled().series).text()

    ran = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)

    assert (ran.returncode, ran.stdout + ran.stderr) == (0, b"")


def test_what_has_labels_is_shown_with_them_alone() -> None:
    text = Metrics(Stats().reading, "0", "compiled", filled().series).text().decode()

    for name in ("commands_total", "command_errors_total"):
        assert f"\nnearhit_{name}{{" in text
        assert f"\nnearhit_{name} " not in text
    assert {row.name for row in ROWS if row.labelled} <= {row.name for row in FAMILIES}
