"""The fuzzing targets of decoders.py: a short random run each, and what longer ones have found."""

from __future__ import annotations

import pytest

pytest.importorskip("nearhit.proxy.resp._kernel", reason="nothing compiled to compare with")

from tests.fuzz.decoders import SEEDS, TARGETS, at_random  # it needs the compiled


@pytest.mark.parametrize("side", TARGETS)
def test_the_decoders_agree_about_bytes_at_random(side: str) -> None:
    assert at_random(side, 20, most=1000)


@pytest.mark.parametrize(("side", "data"), [(s, d) for s in SEEDS for d in SEEDS[s]])
def test_the_decoders_agree_about_what_is_well_formed(side: str, data: bytes) -> None:
    TARGETS[side](data)
    TARGETS[side](b"".join(SEEDS[side]))


@pytest.mark.parametrize(
    ("side", "data"),
    [
        ("client", b"*-"),  # the twin waited for the rest of a count that no request has
        ("client", b"*04"),
        ("upstream", b"+\r\n*2147483648147483648\r\n"),  # nor did it break as early
        ("upstream", b"*0\rN'\n*-"),
        ("upstream", b"+\r\n*" + 55 * b"0" + b"\n"),  # it broke at so many zeros, not at the end
        ("upstream", b"*" + 9999 * b"1" + b"\r\n"),
        ("upstream", b"$-0\r\n+\r\n"),  # nil to all but the twin that put replies together
        ("upstream", b"|-1\r\n+\r\n"),  # one place took it for two words, another for none
        ("client", b"*0\r\n"),  # no words at all: the twin of what reads MGET took the first
        ("upstream", b"+\r\n*-" + 55 * b"0" + b"1\r\n+\r\n$" + 99 * b"0" + b"3\r\nabc\r\n"),
    ],
)
def test_what_was_found_stays_mended(side: str, data: bytes) -> None:
    TARGETS[side](data)
