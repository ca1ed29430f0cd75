"""Until when the server has our clients wait."""

from __future__ import annotations

from nearhit.proxy.upstream.pause import Pause


def test_nothing_is_paused_at_first() -> None:
    assert not Pause().any(0.0)
    assert not Pause().writes(0.0)


def test_a_pause_of_writes_is_over_in_its_time() -> None:
    pause = Pause()

    pause.begin(10.0, writes=True)

    assert (pause.any(9.9), pause.writes(9.9)) == (True, True)
    assert (pause.any(10.0), pause.writes(10.0)) == (False, False)


def test_a_pause_of_all_is_none_of_writes_alone() -> None:
    pause = Pause()
    pause.begin(5.0, writes=True)

    pause.begin(10.0, writes=False)

    assert (pause.any(4.0), pause.writes(4.0)) == (True, False)
    assert (pause.any(6.0), pause.writes(6.0)) == (True, False)


def test_a_write_that_outlasts_a_pause_of_all_waits_apart_from_the_beginning() -> None:
    """On a shared lane it would hold up everybody once the rest is served again."""
    pause = Pause()
    pause.begin(5.0, writes=False)

    pause.begin(10.0, writes=True)

    assert (pause.any(4.0), pause.writes(4.0)) == (True, True)
    assert (pause.any(6.0), pause.writes(6.0)) == (True, True)
    assert (pause.any(10.0), pause.writes(10.0)) == (False, False)


def test_what_ends_first_is_told() -> None:
    pause = Pause()
    assert pause.next_end(0.0) is None

    pause.begin(10.0, writes=True)
    pause.begin(5.0, writes=False)

    assert (pause.next_end(0.0), pause.next_end(5.0), pause.next_end(10.0)) == (5.0, 10.0, None)


def test_a_pause_only_grows_until_it_is_ended() -> None:
    pause = Pause()
    pause.begin(10.0, writes=True)

    pause.begin(5.0, writes=True)
    assert pause.writes(9.0)
    pause.end()

    assert not pause.any(0.0)
