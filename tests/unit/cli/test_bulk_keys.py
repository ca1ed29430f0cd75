"""Where the keys of ``warm`` and ``invalidate`` come from."""

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
from nearhit.proxy.cli.bulk_keys import Keys, Loaders, Mistake, keys_of
from nearhit.proxy.process.embedded import Embedded, find_server

from tests.unit.process.test_embedded import ask

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


def test_a_wild_pattern_is_looked_up_in_the_server_of_its_loader(
    stack: contextlib.ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("NEARHIT_")]:
        monkeypatch.delenv(name)
    server = stack.enter_context(Embedded(find_server()))
    ask(server, b"MSET user:1 a user:2 b order:1 c")
    file = tmp_path / "nearhit.toml"
    file.write_text(f'[loaders.old]\nmatch = "user:{{id}}"\nredis = "{server.url}"\n')

    found = keys_of([], None, ["user:*"], Loaders(str(file), None), stack)

    assert found.count is None
    assert sorted(found.stream) == [b"user:1", b"user:2"]
