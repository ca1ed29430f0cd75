"""The numbers of the modes, which the compiled path compares and by which it finds its maps."""

from __future__ import annotations

from nearhit.proxy.hot.modes import HOMES
from nearhit.proxy.resp.modes import Mode


def test_modes_are_numbered_without_a_gap() -> None:
    assert [int(mode) for mode in Mode] == list(range(len(Mode)))


def test_a_home_stands_before_what_passes() -> None:
    passing = {Mode.SCRIPTING, Mode.TRACKED, Mode.OWN}

    assert max(HOMES) < min(passing)
    assert set(Mode) == HOMES | passing | {Mode.INSIDE}
