"""The words behind ``warm`` and ``invalidate``: what they become, and how a wrong one is told."""

from __future__ import annotations

import pytest
from nearhit.proxy.cli.bulk_words import DEFAULT, parser


def test_values_are_read_as_settings_are() -> None:
    words = ["a", "--ttl", "1m", "--concurrency", "3", "--pattern", "p", "b", "--pattern", "q"]

    given = parser("warm").parse_intermixed_args(words)

    assert given.keys == [b"a", b"b"]
    assert (given.ttl, given.concurrency, given.refresh) == (60.0, 3, False)
    assert given.pattern == ["p", "q"]


@pytest.mark.parametrize("command", ["warm", "invalidate"])
def test_a_proxy_nearby_is_asked_unless_another_is_named(command: str) -> None:
    given = parser(command).parse_args(["k"])

    assert (given.proxy, given.upstream, given.config, given.source) == (DEFAULT, None, None, None)


def test_keys_may_be_any_bytes() -> None:
    given = parser("invalidate").parse_args(["a b", "\udcff"])

    assert given.keys == [b"a b", b"\xff"]


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
        parser(command).parse_intermixed_args(words)

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
        parser(command).parse_args(["--help"])

    said = capsys.readouterr().out
    assert f"\n  nearhit {command} --pattern 'user:" in said
    assert (
        "\n  6  warm, invalidate, top --once, check --upstream, check --connect: the proxy" in said
    )
