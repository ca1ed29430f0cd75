"""The benchmarks' own parsing and tables: no server, no load."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from . import __main__ as bench
from . import bars, load, mgetorset, near, procfs, report, targets, transactions
from .load import Case
from .report import Row

CSV = """\
WARNING: Could not fetch server CONFIG
"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"SET","416666.66","1.710","0.272","1.471","2.775","6.575","6.687"
"GET","540540.56","1.223","0.264","1.175","2.143","2.287","2.383"
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4093 1 0
   1: 0100007F:18EB 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4094 1 0
   2: 00000000:18EC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 637 1 0
"""
CASE = Case("get", 50, 16, 64)


def row(target: str, throughput: float, proxy: float | None, upstream: float, case: Case) -> Row:
    return Row(target, case, throughput, 0.5, 1.0, proxy, upstream, "7", "8")


def test_the_row_of_the_command_is_read_from_the_csv() -> None:
    assert load.parse_csv(CSV, "get") == load.Timing(540540.56, 1.175, 2.287, 2.383)


@pytest.mark.parametrize("text", ["", "Could not connect\n", CSV.replace("GET", "LPUSH")])
def test_a_csv_without_the_command_is_an_error_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="redis-benchmark"):
        load.parse_csv(text, "get")


def test_sizes_change_slowest_in_the_matrix() -> None:
    cases = load.matrix(["get", "set"], [50], [1, 16], [64, 4096])

    assert len(cases) == 8
    assert [case.size for case in cases] == [64] * 4 + [4096] * 4


def test_a_run_is_as_long_as_asked_but_never_only_connecting() -> None:
    assert load.requests_for(CASE, 2, 100_000) == 200_000
    assert load.requests_for(Case("get", 500, 100, 64), 2, 10) == 200_000


@pytest.mark.parametrize(("pipeline", "least"), [(1, 200_000), (16, 1_000_000)])
def test_a_run_with_tls_measures_more_than_its_handshakes(pipeline: int, least: int) -> None:
    case = Case("get", 50, pipeline, 64)

    assert load.requests_for(case, 1, 100_000, case.past_handshakes) == least


def test_cpu_is_read_past_a_name_with_blanks_and_parentheses() -> None:
    stat = "42 (a) b (c) S 7 1 1 0 -1 4194560 1582 0 10 0 30 20 99 99 20 0 5 0 204705"

    parent, seconds = procfs.parse_stat(stat)

    assert parent == 7
    assert seconds == pytest.approx(50 * procfs.TICK)


def test_only_listening_sockets_of_the_port_are_found() -> None:
    assert procfs.parse_listening(TCP, 0x18EB) == {"4093"}
    assert procfs.parse_listening(TCP, 1) == set()


def test_memory_rows_are_bytes() -> None:
    status = "Name:\tx\nVmHWM:\t   14388 kB\nVmRSS:\t   100 kB\n"

    assert procfs.parse_status(status, "VmRSS") == 102_400
    with pytest.raises(ValueError, match="VmSwap"):
        procfs.parse_status(status, "VmSwap")


def test_this_process_is_in_its_own_tree() -> None:
    assert os.getpid() in procfs.tree({os.getppid()})
    assert procfs.cpu_seconds(frozenset({os.getpid()})) > 0


def test_the_median_is_taken_of_each_figure_and_skips_the_unknown() -> None:
    rounds = [row("nearhit", rate, cpu, 1, CASE) for rate, cpu in ((1, 9.0), (3, None), (2, 5.0))]

    middle = report.median(rounds)

    assert (middle.throughput, middle.proxy_cpu) == (2, 7.0)


def test_the_table_shows_ratios_to_direct_and_to_the_peer() -> None:
    rows = [
        row("direct", 200_000, None, 2.0, CASE),
        row("twemproxy", 100_000, 4.0, 1.0, CASE),
        row("nearhit", 300_000, 1.0, 0.5, CASE),
    ]

    last = report.table(rows, "twemproxy").splitlines()[-1]

    assert " ".join(last.split()) == (
        "nearhit GET 50 16 64 300,000 0.500 1.000 1.00 [7] 0.50 [8] 1.50 3.00 0.25 0.25 0.50"
    )


def test_a_ratio_to_nothing_is_a_dash() -> None:
    text = report.table([row("nearhit", 1, 1.0, 0.5, CASE)], None)

    assert text.splitlines()[1].split()[-2:] == ["-", "-"]


def test_columns_line_up() -> None:
    text = report.align([["name", "n"], ["direct", "1"], ["x", "1,000"]])

    assert text == "name        n\ndirect      1\nx       1,000"


def three(throughput: float, proxy_cpu: float, upstream_cpu: float) -> list[Row]:
    """Rows of one bars run: the others always cost 10 µs and serve 100 requests a second."""
    return [
        each
        for case in bars.CASES
        for each in (
            row("direct", 100, None, 10, case),
            row("twemproxy", 100, 10, 10, case),
            row("nearhit", throughput, proxy_cpu, upstream_cpu, case),
        )
    ]


def test_bars_are_met_at_the_bar_and_missed_beyond() -> None:
    assert bars.verdict(three(180, 3.5, 5))[1]
    for missed in (three(179, 3.5, 5), three(180, 3.6, 5), three(180, 3.5, 5.1)):
        text, met = bars.verdict(missed)
        assert not met
        assert "NO" in text


def test_a_bar_that_was_not_measured_is_not_met() -> None:
    text, met = bars.verdict([])

    assert not met
    assert text.count("NO") == len(bars.BARS)


def test_peers_and_pids_are_read_from_the_command_line() -> None:
    options = bench.parse(
        ["--peer", "envoy=10.0.0.1:6379", "--pid", "envoy=12", "--pipeline", "1,16"]
    )

    assert options.peer == [targets.Target("envoy", "10.0.0.1", 6379)]
    assert dict(options.pid) == {"envoy": 12}
    assert options.pipeline == [1, 16]


@pytest.mark.parametrize("flags", [["--peer", "envoy"], ["--pid", "x=y"], ["--command", "del"]])
def test_a_wrong_flag_is_refused(flags: list[str]) -> None:
    with pytest.raises(SystemExit):
        bench.parse(flags)


def test_the_bars_bring_their_own_cases_and_peer() -> None:
    options = bench.parse(["--bars"])

    assert options.twemproxy
    assert [case.pipeline for case in bench.cases(options)] == [1, 16, 100]


def test_tls_is_judged_by_the_pipeline() -> None:
    case = Case("get", 50, 16, 64)
    rows = [
        Row("nearhit", case, 1.0, 1.0, 1.0, 10.0, None),
        Row("nearhit tls", case, 1.0, 1.0, 1.0, 13.1, None),
    ]

    text, met = bars.tls_verdict(rows)

    assert "1.31x" in text
    assert not met


def test_a_run_with_tls_trusts_the_targets_certificate() -> None:
    argv = load.arguments("h", 1, Case("get", 50, 16, 64), 10, Path("/cert.pem"))

    assert argv[-3:] == ["--tls", "--cacert", "/cert.pem"]


def test_an_address_needs_a_port() -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        targets.address("localhost")


def test_a_target_names_its_first_process_and_counts_the_rest() -> None:
    assert targets.Target("x", "h", 1, frozenset({30, 20, 40})).named == "20+2"


def test_a_transaction_is_right_only_with_all_four_replies() -> None:
    replies: list[object] = [b"OK", b"QUEUED", b"QUEUED", [b"OK", 3]]

    assert transactions.right(replies)
    assert not transactions.right(replies[:3])
    assert not transactions.right([*replies[:3], None])


def sample(cpu: float, **figures: float) -> near.Sample:
    rest = dict.fromkeys(near.FIGURES, 1.0)
    return near.Sample(**(rest | {"proxy_cpu": cpu} | figures))


def test_commands_that_no_client_caused_are_left_out() -> None:
    info = {"cmdstat_get": "calls=5,usec=9", "cmdstat_ping": "calls=2,usec=1"}

    assert near.calls(info) == {"get": 5}


def test_a_bar_is_judged_by_the_median_of_the_rounds_own_ratios() -> None:
    samples = {
        "on": [sample(2), sample(40), sample(3)],
        "off": [sample(1), sample(10), sample(3)],
    }

    finding = near.Bar("x", (1,), "proxy_cpu", 1.9, against="off").finding(1, samples)

    assert finding.cells == ["x P=1: proxy_cpu of on x off", "2.00x", "<= 1.90x", "NO"]


def test_a_bar_without_another_side_is_judged_by_the_figure() -> None:
    samples = {"on": [sample(1, commands=1.01), sample(1, commands=1.03)]}

    finding = near.Bar("x", (1,), "commands", 1.02).finding(1, samples)

    assert finding.met
    assert finding.measured == pytest.approx(1.02)


def test_a_finding_meets_its_bar_up_to_the_bar() -> None:
    assert bars.Finding("x", 1.05, 1.05, at_least=True).met
    assert not bars.Finding("x", 1.04, 1.05, at_least=True).met
    assert not bars.Finding("x", None, 1.05).met


def test_every_bar_of_the_near_cache_names_a_case_and_its_sides() -> None:
    for bar in near.BARS:
        case = near.CASES[bar.case]
        sides = {"off", "on"} | ({"direct"} if case.direct else set())
        if case.also:
            sides |= {"off GETORSET", "on GETORSET"}
        assert {bar.side, bar.against} - {""} <= sides
        assert bar.figure in near.FIGURES


def test_runs_of_a_fresh_case_have_other_keys_that_are_there() -> None:
    case = near.CASES["uniform-100k"]

    first = [case.in_turn(turn).first for turn in range(100)]

    assert len(set(first)) == 100
    assert all(each % 100_000 == 0 and each < near.THERE for each in first)
    assert case.there == near.THERE
    assert near.CASES["absent-100k"].there == 0


def test_a_look_is_one_short_round() -> None:
    options = near.parse(["--quick", "--only", "hot", "scan"])

    assert (options.rounds, options.seconds, options.only) == (1, 0.5, ["hot", "scan"])


def test_mgetorset_is_judged_beside_its_load() -> None:
    one = mgetorset.Round(mget=100, load=1000, both=1130, few=50, many=150)

    assert (one.beside, one.whole) == (1.0, 1.0)


def test_what_mgetorset_asks_for_is_a_thousand_keys_of_which_a_hundred_are_new() -> None:
    numbers = iter(range(1000))
    made = mgetorset.requests(numbers)

    assert made["both"]().startswith(b"*1002\r\n$9\r\nMGETORSET\r\n$4\r\n1000\r\n")
    assert next(numbers) == 100
    assert made["load"]().count(b"new:") == made["few"]().count(b"absent:") == 100
    assert made["many"]().count(b"there:") == 900
    assert made["mget"]().count(b"there:") == 1000
