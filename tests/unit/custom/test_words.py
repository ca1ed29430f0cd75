"""How options, numbers and times are read, and refused in Redis's words."""

from __future__ import annotations

from typing import Any, cast

import pytest
from nearhit.proxy.custom.spec import CommandSpec, Expiry, Subcommand
from nearhit.proxy.custom.words import (
    EXPIRIES,
    EXPIRY,
    MS_MAX,
    TTL,
    WAIT_MAX,
    Options,
    expiry,
    integer,
    milliseconds,
    subcommand,
    waiting,
)
from nearhit.proxy.errors import BadInput, WrongArity

TTL_MAX = MS_MAX - WAIT_MAX  # what counts from now must end before time does

SPEC = CommandSpec(
    name=b"CALL",
    arity=-2,
    summary="",
    group="",
    complexity="",
    parse=lambda words: words,
    run=cast(Any, None),
    subcommands=(Subcommand("ONE", "", 3), Subcommand("MORE", "", -3)),
)


def options(*words: bytes) -> Options:
    return Options(words, 0)


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63)])
def test_a_whole_number_is_read(number: int) -> None:
    assert integer(b"%d" % number) == number


@pytest.mark.parametrize("word", [b"", b"x", b"1.5", b"+1", b" 1", b"01", b"%d" % 2**63])
def test_what_redis_takes_for_no_number_is_refused(word: bytes) -> None:
    with pytest.raises(BadInput, match="value is not an integer or out of range"):
        integer(word)


@pytest.mark.parametrize(
    ("option", "number"),
    [
        (b"EX", 1),
        (b"EX", TTL_MAX // 1000),
        (b"PX", TTL_MAX),
        (b"EXAT", MS_MAX // 1000),
        (b"PXAT", MS_MAX),
    ],
)
def test_a_time_that_there_is_may_be_given(option: bytes, number: int) -> None:
    given = expiry(option, b"%d" % number, "set")

    assert given == Expiry(option, number)
    assert given.words == (option, b"%d" % number)


@pytest.mark.parametrize(
    ("option", "number"),
    [
        (b"EX", 0),
        (b"PX", -1),
        (b"EX", TTL_MAX // 1000 + 1),
        (b"PX", TTL_MAX + 1),
        (b"EXAT", MS_MAX // 1000 + 1),
    ],
)
def test_a_time_that_there_is_not_is_refused(option: bytes, number: int) -> None:
    with pytest.raises(BadInput, match="invalid expire time in 'set' command"):
        expiry(option, b"%d" % number, "set")


def test_a_length_of_time_is_in_milliseconds() -> None:
    assert milliseconds(b"EX", b"5", "lock") == 5000
    assert milliseconds(b"PX", b"5", "lock") == 5


def test_a_wait_is_bounded_and_not_negative() -> None:
    assert (waiting(b"0"), waiting(b"7"), waiting(b"%d" % MS_MAX)) == (0, 7, WAIT_MAX)
    with pytest.raises(BadInput, match="timeout is negative"):
        waiting(b"-1")


@pytest.mark.parametrize(
    "words", [[b"CALL", b"one", b"x"], [b"CALL", b"More", b"x"], [b"CALL", b"MORE", b"x", b"y"]]
)
def test_a_subcommand_is_found_in_any_case(words: list[bytes]) -> None:
    assert subcommand(SPEC, words) == words[1].decode().upper()


@pytest.mark.parametrize("words", [[b"CALL", b"one"], [b"CALL", b"ONE", b"x", b"y"]])
def test_a_subcommand_with_too_few_or_too_many_words_is_refused(words: list[bytes]) -> None:
    with pytest.raises(WrongArity) as refused:
        subcommand(SPEC, words)

    assert str(refused.value) == "ERR wrong number of arguments for 'call|one' command"


def test_an_unknown_subcommand_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        subcommand(SPEC, [b"CALL", b"\xff"])

    assert str(refused.value).endswith(". Try CALL HELP.")


def test_options_are_read_from_left_to_right() -> None:
    given = Options([b"CMD", b"px", b"5", b"FENCE"], 1)

    assert given.name(b"PX", b"FENCE") == b"PX"
    assert given.value() == b"5"
    assert given.more()
    assert given.name(b"PX", b"FENCE") == b"FENCE"
    assert not given.more()


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(BadInput, match="syntax error"):
        options(b"NX").name(b"PX")


def test_an_option_stands_once() -> None:
    given = options(b"PX", b"px")
    given.name(b"PX")

    with pytest.raises(BadInput, match="syntax error"):
        given.name(b"PX")


def test_options_that_exclude_each_other_are_refused() -> None:
    given = options(b"PX", b"EXAT")
    given.name(*EXPIRIES, also=EXPIRIES)

    with pytest.raises(BadInput, match="syntax error"):
        given.name(*EXPIRIES, also=EXPIRIES)


def test_an_option_without_its_word_is_refused() -> None:
    given = options(b"PX")
    given.name(b"PX")

    with pytest.raises(BadInput, match="syntax error"):
        given.value()


def test_the_facts_name_every_option_that_is_read() -> None:
    assert {one.token.encode() for one in EXPIRY.arguments} == set(EXPIRIES)
    assert {one.token for one in TTL.arguments} == {"EX", "PX"}
