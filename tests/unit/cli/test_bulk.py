"""``nearhit warm`` and ``nearhit invalidate`` without a proxy: how keys are sent, what is told, how
it ends. With real ones: tests/commands."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from nearhit.proxy.cli import bulk
from nearhit.proxy.cli.bar import Bar
from nearhit.proxy.cli.bulk import BATCH_MOST, Batches, Invalidate, Warm
from nearhit.proxy.cli.bulk_keys import Mistake
from nearhit.proxy.cli.bulk_words import parser
from nearhit.proxy.cli.progress import Line
from nearhit.proxy.cli.reach import Refused
from nearhit.proxy.errors import ExitCode, StartError

# --- How they are sent ------------------------------------------------------------------------


def test_batches_grow_while_they_are_quick_and_shrink_when_they_are_slow() -> None:
    batches = Batches(iter(()), 8)

    assert batches.size == 32
    for _ in range(10):
        batches.adapt(0.01)
    assert batches.size == BATCH_MOST
    batches.adapt(0.5)
    assert batches.size == BATCH_MOST
    for _ in range(10):
        batches.adapt(5)
    assert batches.size == 8  # every worker still has a key


class FakeLink:
    """Answers from a table, by the first key."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[tuple[bytes, ...]] = []
        self.answers = answers

    def ask(self, *words: bytes) -> Any:
        self.asked.append(words)
        answer = self.answers[words[0].decode().lower()]
        if isinstance(answer, Exception):
            raise answer
        if words[1] == b"ASYNC":
            return b"id"
        return removed(answer) if words[1] == b"STATUS" else answer


def removed(count: int, state: bytes = b"done", error: bytes | None = None) -> dict[bytes, Any]:
    """STATUS of a job."""
    return {b"state": state, b"removed": count, b"error": error}


def warmed(**counts: Any) -> dict[bytes, Any]:
    names = ("requested", "loaded", "skipped", "not_found", "failed", "elapsed_ms")
    return {name.encode(): counts.get(name, 0) for name in names} | {
        b"errors": counts.get("errors", [])
    }


def work(job: Warm | Invalidate, link: Any) -> None:
    with contextlib.ExitStack() as stack:
        job.open(stack)
        job.work(link, stack.enter_context(Line("test", job.total)))


def test_the_options_stand_before_the_keys() -> None:
    words = ["--ttl", "1.5s", "--loader", "old", "--refresh", "a", "--concurrency", "3", "b"]
    link = FakeLink(warm=warmed(requested=2, loaded=1, not_found=1))
    job = Warm(parser("warm").parse_intermixed_args(words))

    work(job, link)

    assert link.asked == [
        (b"WARM", b"PX", b"1500", b"LOADER", b"old", b"CONCURRENCY", b"3", b"REFRESH",
         b"KEYS", b"a", b"b"),
    ]  # fmt: skip
    assert (job.tally.requested, job.tally.failed) == (2, 0)
    assert job.tally.counts == {"loaded": 1, "skipped": 0, "not_found": 1}


def test_a_request_that_is_refused_is_a_mistake() -> None:
    job = Warm(parser("warm").parse_args(["--loader", "x", "a"]))

    with pytest.raises(Mistake, match="no loader is called 'x'"):
        work(job, FakeLink(warm=Refused("no loader is called 'x'")))


def test_keys_are_invalidated_and_then_each_pattern() -> None:
    link = FakeLink(invalidate=2)
    job = Invalidate(
        parser("invalidate").parse_args(["KEYS", "--pattern", "p*", "--pattern", "q*"])
    )

    work(job, link)

    assert link.asked == [
        (b"INVALIDATE", b"KEYS", b"KEYS"),
        (b"INVALIDATE", b"ASYNC", b"PATTERN", b"p*"),
        (b"INVALIDATE", b"STATUS", b"id"),
        (b"INVALIDATE", b"ASYNC", b"PATTERN", b"q*"),
        (b"INVALIDATE", b"STATUS", b"id"),
    ]
    assert job.tally.counts == {"removed": 6}


class JobLink(FakeLink):
    """Shows a job as it comes on."""

    def __init__(self, *shown: Any) -> None:
        super().__init__()
        self.shown = list(shown)

    def ask(self, *words: bytes) -> Any:
        self.asked.append(words)
        if words[1] == b"ASYNC":
            return b"id"
        if words[1] == b"CANCEL":
            return 1
        shown = self.shown.pop(0)
        if isinstance(shown, BaseException):
            raise shown
        return shown


def test_a_pattern_is_followed_as_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    advanced: list[int] = []
    monkeypatch.setattr(bulk.time, "sleep", slept.append)
    monkeypatch.setattr(Line, "advance", lambda self, count, remark: advanced.append(count))
    running = [removed(10 * number, b"running") for number in range(10)]
    job = Invalidate(parser("invalidate").parse_args(["--pattern", "p*"]))

    work(job, JobLink(*running, removed(95)))

    assert advanced == [0, *[10] * 9, 5]
    assert slept[:2] == [0.002, 0.004]
    assert slept[-1] == bulk.SHORT
    assert (job.tally.requested, job.tally.counts, job.tally.failed) == (95, {"removed": 95}, 0)


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (removed(3, b"failed", b"NOPERM no"), "NOPERM no"),
        (removed(3, b"cancelled"), "it was cancelled"),
        (None, "its job is gone: the proxy was started again"),
    ],
)
def test_a_job_that_does_not_come_to_its_end_is_a_failure_of_its_pattern(
    shown: Any, why: str
) -> None:
    job = Invalidate(parser("invalidate").parse_args(["--pattern", "p*"]))

    work(job, JobLink(shown))

    assert job.tally.failures == [f"'p*': {why}"]
    assert job.tally.counts == {"removed": 3 if shown else 0}


def test_the_job_ends_with_us() -> None:
    job = Invalidate(parser("invalidate").parse_args(["--pattern", "p*"]))
    link = JobLink(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        work(job, link)

    assert link.asked[-1] == (b"INVALIDATE", b"CANCEL", b"id")


def test_a_refused_invalidation_is_a_failure_of_its_keys() -> None:
    job = Invalidate(parser("invalidate").parse_args(["a", "b"]))

    work(job, FakeLink(invalidate=Refused("NOPERM no")))

    assert job.tally.failed == 2
    assert job.tally.failures == ["'a': NOPERM no", "'b': NOPERM no"]


# --- What is told -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["--soft", "k"], (b"INVALIDATE", b"SOFT", b"KEYS", b"k")),
        (["--tag", "team"], (b"INVALIDATE", b"ASYNC", b"TAG", b"team")),
        (["--soft", "--tag", "team"], (b"INVALIDATE", b"ASYNC", b"SOFT", b"TAG", b"team")),
        (["--soft", "--pattern", "p*"], (b"INVALIDATE", b"ASYNC", b"SOFT", b"PATTERN", b"p*")),
    ],
)
def test_soft_and_tags_are_asked_for(words: list[str], form: tuple[bytes, ...]) -> None:
    link = FakeLink(invalidate=2)
    job = Invalidate(parser("invalidate").parse_args(words))

    work(job, link)

    assert link.asked[0] == form
    name = "removed_or_made_stale" if "--soft" in words else "removed"
    assert job.tally.counts == {name: 2}


def test_a_dry_run_invalidates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[bytes, list[bytes]]] = []

    def found_by(link: Any, form: bytes, names: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
        looked.append((form, names))
        if form == b"TAG":
            raise Refused("NOPERM no")
        yield 3, [b"a", b"b"]

    monkeypatch.setattr(bulk, "found_by", found_by)
    link = FakeLink()
    job = Invalidate(
        parser("invalidate").parse_args(["--dry-run", "k", "--pattern", "p*", "--tag", "t"])
    )

    work(job, link)

    assert link.asked == []
    assert looked == [(b"KEYS", [b"k"]), (b"PATTERN", [b"p*"]), (b"TAG", [b"t"])]
    first, *rest = job.tally.lines()
    assert first.startswith("dry run: 6 in ")
    assert first.endswith(": 4 would be removed, 1 failed")
    assert rest == ["  'a'", "  'b'", "  'a'", "  'b'", "  't': NOPERM no"]


# --- How it ends ------------------------------------------------------------------------------


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """The URLs that were reached; each is a link whose answers a test sets."""
    before = signal.getsignal(signal.SIGTERM)
    urls: list[object] = []

    @contextlib.contextmanager
    def linked(url: str, name: str | None = None) -> Iterator[FakeLink]:
        urls.append(url)
        yield FakeLink(
            warm=warmed(requested=1, loaded=1), invalidate=Refused("NOPERM no")
        )  # fmt: skip

    @contextlib.contextmanager
    def own_proxy(upstream: str, config: str | None) -> Iterator[str]:
        urls.append((upstream, config))
        yield "unix:///own"

    monkeypatch.setattr(bulk, "linked", linked)
    monkeypatch.setattr(bulk, "own_proxy", own_proxy)
    yield urls
    signal.signal(signal.SIGTERM, before)


def test_done_is_0_and_the_proxy_is_the_one_named(
    reached: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk.run("warm", ["--proxy", "redis://there", "k"]) == ExitCode.ALL_DONE

    assert reached == ["redis://there"]
    assert capsys.readouterr().err.startswith("nearhit: warmed 1 in ")


def test_an_upstream_gets_a_proxy_of_its_own(reached: list[object]) -> None:
    words = ["--upstream", "redis://db", "--config", "nearhit.toml", "k"]

    assert bulk.run("warm", words) == ExitCode.ALL_DONE

    assert reached == [("redis://db", "nearhit.toml"), "unix:///own"]


def test_some_failed_is_1(reached: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert bulk.run("invalidate", ["k"]) == ExitCode.SOME_FAILED

    assert "'k': NOPERM no" in capsys.readouterr().err


def test_a_mistake_is_2_and_nobody_is_asked(
    reached: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk.run("warm", []) == ExitCode.BAD_SETTINGS

    assert capsys.readouterr().err.startswith("nearhit: no keys: name some")
    assert reached == []


def test_a_proxy_that_cannot_be_reached_ends_it_with_its_code(
    reached: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def linked(url: str, name: str | None = None) -> NoReturn:
        raise StartError(f"{url}: nobody there", ExitCode.UNREACHABLE)

    monkeypatch.setattr(bulk, "linked", linked)

    assert bulk.run("warm", ["--proxy", "redis://gone", "k"]) == ExitCode.UNREACHABLE
    assert capsys.readouterr().err == "nearhit: redis://gone: nobody there\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_with_what_was_done(
    number: signal.Signals,
    reached: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def advance(self: Bar, count: int, remark: str = "") -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(Bar, "advance", advance)

    assert bulk.run("warm", ["k"]) == ExitCode.SOME_FAILED

    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("nearhit: warmed 1 in ")
    assert second == "nearhit: stopped before the end"


def test_a_link_that_is_lost_between_patterns_keeps_what_was_removed() -> None:
    class Lost(FakeLink):
        def ask(self, *words: bytes) -> Any:
            if b"q*" in words:
                raise StartError("it is gone", ExitCode.UNREACHABLE)
            return super().ask(*words)

    job = Invalidate(parser("invalidate").parse_args(["--pattern", "p*", "--pattern", "q*"]))

    with pytest.raises(StartError):
        work(job, Lost(invalidate=3))

    assert (job.tally.requested, job.tally.counts) == (3, {"removed": 3})
