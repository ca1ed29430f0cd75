"""The summary of ``nearhit warm`` and ``nearhit invalidate``."""

from __future__ import annotations

import pytest
from nearhit.proxy.cli.bulk_tally import SHOWN, Tally


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


def test_keys_that_were_found_stand_before_failures() -> None:
    tally = Tally("dry run:", requested=100, failed=1)
    tally.show([b"%d" % number for number in range(SHOWN - 1)])
    tally.show([b"x", b"y", b"z"])
    tally.fail(b"t", "no")

    _, *rest = tally.lines()

    assert rest[SHOWN - 2 :] == ["  '18'", "  'x'", "  and 2 more", "  't': no"]
