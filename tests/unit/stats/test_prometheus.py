from __future__ import annotations

from nearhit.proxy.stats.counters import READS, ROWS, Kind, Stats
from nearhit.proxy.stats.prometheus import Metrics
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

    for row in (*READS, *ROWS):
        name = f"nearhit_{row.name}_total" if row.kind is Kind.COUNTER else f"nearhit_{row.name}"
        kind, sentence, value = found[name.replace("uptime_s", "uptime_seconds")]
        assert (kind, sentence, value) == (row.kind.name.lower(), row.help, 0)


def test_values_are_those_of_the_process() -> None:
    stats = Stats()
    stats.add("hits", 3)
    stats.gauge("tracking", lambda: "on")
    stats.gauge("uptime_s", lambda: 1.5)
    stats.reset()

    found = families(stats)

    assert found["nearhit_hits_total"][2] == 3
    assert found["nearhit_tracking"][2] == 1
    assert found["nearhit_uptime_seconds"][2] == 1.5


def test_version_and_build_are_labels_and_the_only_ones() -> None:
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
