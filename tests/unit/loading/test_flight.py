"""What is remembered of a load that failed, and who a flight says it is."""

from __future__ import annotations

from nearhit.proxy.errors import LoadError
from nearhit.proxy.loading.demo import DemoSource
from nearhit.proxy.loading.flight import REMEMBERED_MAX, Flight, remembered
from nearhit.proxy.loading.loaders import Loader
from nearhit.proxy.settings.loaders import DEMO


def test_a_failure_is_told_in_the_words_in_which_it_stands() -> None:
    line = b"LOADTIMEOUT loader 'users': no answer in 5 ms"

    assert remembered(line, "users").line == b"-" + line + b"\r\n"


def test_what_no_load_has_left_there_is_not_passed_on() -> None:
    assert isinstance(remembered(b"READONLY try another", "users"), LoadError)


def test_a_long_or_broken_failure_is_cut_to_one_line() -> None:
    told = remembered(b"LOADERR a\r\n-OK " + REMEMBERED_MAX * b"x", "users").line

    assert told.count(b"\n") == 1
    assert len(told) <= REMEMBERED_MAX + len(b"-\r\n")


def test_a_flight_says_whose_it_is() -> None:
    assert (
        repr(Flight(b"demo:1", Loader(DEMO, DemoSource()))) == "<Flight b'demo:1' demo waiters=0>"
    )
