"""The facts of a command as it is described."""

from __future__ import annotations

from typing import Any, cast

import pytest
from nearhit.proxy.custom.spec import CommandSpec, Expiry


def spec(arity: int = 1) -> CommandSpec:
    return CommandSpec(b"X", arity, "", "", "", lambda words: words, cast(Any, None))


@pytest.mark.parametrize(
    ("arity", "taken"),
    [(1, {1}), (3, {3}), (-1, {1, 2, 3, 4}), (-3, {3, 4})],
)
def test_an_arity_is_a_number_of_words_or_the_least_of_them(arity: int, taken: set[int]) -> None:
    assert {count for count in range(1, 5) if spec(arity).accepts(count)} == taken


def test_a_command_probes_nothing_and_waits_for_nobody_unless_it_says_so() -> None:
    assert spec().probe("any request") is None
    assert spec().waits("any request") is False


def test_an_expiry_is_sent_on_as_it_was_given() -> None:
    assert Expiry(b"EXAT", 5).words == (b"EXAT", b"5")
