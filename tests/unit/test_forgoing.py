"""Whether what is asked can be done without."""

from __future__ import annotations

from nearhit.proxy.forgoing import forgoes, forgoing


def test_it_is_known_inside_alone() -> None:
    assert not forgoes()
    with forgoing(True):
        assert forgoes()
        with forgoing(False):
            assert not forgoes()
        assert forgoes()
    assert not forgoes()
