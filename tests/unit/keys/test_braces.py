"""Braces in patterns of keys, against bash where there is one."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from nearhit.proxy.keys.braces import expand

EXPANDED = [
    ("user:1", "user:1"),
    ("user:{1..3}", "user:1 user:2 user:3"),
    ("{3..1}", "3 2 1"),
    ("{1..7..3}", "1 4 7"),
    ("{7..1..3}", "7 4 1"),
    ("{08..11}", "08 09 10 11"),
    ("{-1..1}", "-1 0 1"),
    ("{a..c}", "a b c"),
    ("{a,b}:{1..2}", "a:1 a:2 b:1 b:2"),
    ("x{a,b{1..2},}y", "xay xb1y xb2y xy"),
    ("{{a,b},c}", "a b c"),
    ("{user}:1", "{user}:1"),
    ("{user}:{1..2}", "{user}:1 {user}:2"),
    ("{1..}", "{1..}"),
    ("{a", "{a"),
    ("a}", "a}"),
    ("{1..1}", "1"),
]


@pytest.mark.parametrize(("pattern", "keys"), EXPANDED)
def test_a_pattern_stands_for_these_keys(pattern: str, keys: str) -> None:
    expanded = expand(pattern)

    assert list(expanded) == keys.split()
    assert expanded.count == len(keys.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on PATH")
@pytest.mark.parametrize(("pattern", "keys"), EXPANDED)
def test_bash_has_the_same(pattern: str, keys: str) -> None:
    done = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True)

    assert done.stdout.split() == keys.split()


@pytest.mark.parametrize(
    ("pattern", "key"), [(r"\{1..3\}", "{1..3}"), (r"{a\,b}", "{a,b}"), (r"a\*", r"a\*")]
)
def test_a_backslash_takes_the_meaning_of_braces_and_commas(pattern: str, key: str) -> None:
    assert list(expand(pattern)) == [key]


def test_a_billion_keys_are_counted_and_begun_at_once() -> None:
    expanded = expand("{1..1000}:{1..1000}:{1..1000}")

    assert expanded.count == 10**9
    assert list(itertools.islice(expanded, 2)) == ["1:1:1", "1:1:2"]
