"""``nearhit warm`` and ``nearhit invalidate`` without a proxy: where keys come from, how they are
sent, what is told. With real ones: tests/commands."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nearhit.proxy.cli import bulk as shell
from nearhit.proxy.cli.bulk import BATCH_MOST, SHOWN, Batches, Invalidate, Tally, Warm
from nearhit.proxy.cli.bulk_keys import Keys, Loaders, Mistake, keys_of
from nearhit.proxy.cli.bulk_words import parser
from nearhit.proxy.cli.progress import Progress
from nearhit.proxy.cli.reach import Refused

CONFIG = """
[loaders.old]
match = "user:{id}"
redis = "redis://127.0.0.1:7000"
[loaders.older]
match = "user:vip:{id}"
redis = "redis://127.0.0.1:7001"
[loaders.made]
match = "page:{name}"
demo = true
"""


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("NEARHIT_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "nearhit.toml"
    file.write_text(CONFIG)
    return str(file)


def keys(
    stack: contextlib.ExitStack, *given: bytes, source: str | None = None, patterns: Any = ()
) -> Keys:
    return keys_of(given, source, patterns, Loaders(None, None), stack)


# --- Where keys come from ---------------------------------------------------------------------


def test_words_file_and_patterns_come_one_after_the_other(
    stack: contextlib.ExitStack, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(b"f1\n\nf 2\r\n\xff\nlast")

    found = keys(stack, b"w", source=str(file), patterns=["p{1..2}", "{a,b}"])

    assert found.count == 9
    assert list(found.stream) == [b"w", b"f1", b"f 2", b"\xff", b"last", b"p1", b"p2", b"a", b"b"]


def test_standard_input_has_keys_without_a_count(
    stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))

    found = keys(stack, source="-")

    assert found.count is None
    assert list(found.stream) == [b"a", b"b"]


def test_a_pipe_is_read_once(stack: contextlib.ExitStack, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a\nb\n",))
    writer.start()

    found = keys(stack, source=str(pipe))

    assert found.count is None
    assert list(found.stream) == [b"a", b"b"]
    writer.join()


def test_a_billion_keys_are_not_kept(stack: contextlib.ExitStack) -> None:
    found = keys(stack, patterns=["{1..1000000000}"])

    assert found.count == 10**9
    assert list(itertools.islice(found.stream, 2)) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("source", "patterns", "mistake"),
    [
        (None, (), "no keys: name some, or use --from FILE or --pattern PATTERN"),
        ("/nowhere", (), "--from: cannot read /nowhere: No such file or directory"),
        ("/", (), "--from: cannot read /: Is a directory"),
        (None, ["a*"], "--pattern a*: to look up keys, --config FILE must tell"),
    ],
)
def test_mistakes_are_told_before_the_first_key(
    stack: contextlib.ExitStack, source: str | None, patterns: Any, mistake: str
) -> None:
    with pytest.raises(Mistake) as told:
        keys(stack, source=source, patterns=patterns)

    assert str(told.value).startswith(mistake)


@pytest.mark.parametrize(
    ("pattern", "name", "url"),
    [
        ("user:*", None, "redis://127.0.0.1:7000"),
        ("user:1?", None, "redis://127.0.0.1:7000"),
        ("user:vip:*", None, "redis://127.0.0.1:7001"),
        ("*", "older", "redis://127.0.0.1:7001"),
    ],
)
def test_the_loader_that_matches_tells_the_server(
    config: str, pattern: str, name: str | None, url: str
) -> None:
    assert Loaders(config, name).server_of(pattern) == url


@pytest.mark.parametrize(
    ("pattern", "name", "mistake"),
    [
        ("page:*", None, "loader 'made' has its values from demo"),
        ("order:*", None, "no loader in .* is for such keys"),
        ("*", None, "no loader in .* is for such keys"),
        ("user:*", "none", "no loader in .* is called 'none'"),
    ],
)
def test_a_pattern_that_no_server_can_answer_is_a_mistake(
    config: str, pattern: str, name: str | None, mistake: str
) -> None:
    with pytest.raises(Mistake, match=mistake):
        Loaders(config, name).server_of(pattern)


def test_a_settings_file_with_mistakes_is_told_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("nonsense = 1\n")

    with pytest.raises(Mistake, match=r"bad.toml:1: .*nonsense"):
        Loaders(str(file), None).server_of("a*")


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
        return answer


def warmed(**counts: Any) -> dict[bytes, Any]:
    names = ("requested", "loaded", "skipped", "not_found", "failed", "elapsed_ms")
    return {name.encode(): counts.get(name, 0) for name in names} | {
        b"errors": counts.get("errors", [])
    }


def work(job: Warm | Invalidate, link: Any) -> None:
    with contextlib.ExitStack() as stack:
        job.open(stack)
        job.work(link, stack.enter_context(Progress("test", job.total)))


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
        (b"INVALIDATE", b"PATTERN", b"p*"),
        (b"INVALIDATE", b"PATTERN", b"q*"),
    ]
    assert job.tally.counts == {"removed": 6}


def test_a_refused_invalidation_is_a_failure_of_its_keys() -> None:
    job = Invalidate(parser("invalidate").parse_args(["a", "b"]))

    work(job, FakeLink(invalidate=Refused("NOPERM no")))

    assert job.tally.failed == 2
    assert job.tally.failures == ["'a': NOPERM no", "'b': NOPERM no"]


# --- What is told -----------------------------------------------------------------------------


def test_the_first_failures_are_told_and_how_many_more() -> None:
    tally = Tally("warmed", requested=100)
    tally.add(loaded=70, not_found=5)
    tally.failed = SHOWN + 5
    for number in range(SHOWN + 5):
        tally.fail(b"k%d\n" % number, "it broke")

    first, *rest = tally.lines()

    assert first.startswith("warmed 100 in ")
    assert first.endswith(": 70 loaded, 5 not found, 25 failed")
    assert rest[0] == "  'k0\\n': it broke"
    assert len(rest) == SHOWN + 1
    assert rest[-1] == "  and 5 more"


def test_of_nothing_done_nothing_is_told_but_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Tally("warmed").tell()
    assert capsys.readouterr().err == ""

    Tally("warmed").tell(always=True)
    assert capsys.readouterr().err.startswith("nearhit: warmed 0 in ")


@pytest.mark.parametrize(
    ("command", "words", "complaint"),
    [
        ("warm", ["--concurrency", "0", "a"], "0 is not a whole number from 1 to 1024"),
        ("warm", ["--ttl", "soon", "a"], "soon is not a duration"),
        ("warm", ["--proxy", "http://x", "a"], "http://x is not a redis://"),
        ("warm", ["--proxy", "redis://a", "--upstream", "redis://b", "k"], "not allowed with"),
        ("invalidate", ["--refresh"], "unrecognized arguments: --refresh"),
        ("invalidate", ["--proxy", "redis://:secret@x:y"], "redis://:***@x:y is not a redis://"),
    ],
)
def test_bad_usage_is_told_in_one_line(
    command: str, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        shell.run(command, words)

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert complaint in said
    assert said.count("\n") == 1
    assert "secret" not in said


@pytest.mark.parametrize("command", ["warm", "invalidate"])
def test_the_help_has_examples_and_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        shell.run(command, ["--help"])

    said = capsys.readouterr().out
    assert f"\n  nearhit {command} --pattern 'user:" in said
    assert "\n  6  warm, invalidate: the proxy or its upstream could not be reached" in said
