"""What Sentinels say, and which of several answers holds."""

from __future__ import annotations

import pytest
from nearhit.proxy.settings.address import Tcp
from nearhit.proxy.upstream.sentinel.answers import (
    CHANGES,
    Change,
    Event,
    Naming,
    address_of,
    decided,
    naming_of,
    others_of,
    pairs_of,
    told_of,
)

A, B = Tcp("10.0.0.1", 6379), Tcp("10.0.0.2", 6379)
A1, A2, B1, B2 = Naming(A, 1), Naming(A, 2), Naming(B, 1), Naming(B, 2)


# --- Answers


def test_a_naming_is_an_address_and_an_epoch() -> None:
    found = naming_of([b"10.0.0.1", b"6379"], [b"name", b"m", b"config-epoch", b"7"])

    assert found == Naming(A, 7)
    assert str(found) == "10.0.0.1:6379"


def test_a_master_that_is_not_known_is_none() -> None:
    assert naming_of(None, None) is None


@pytest.mark.parametrize(
    ("address", "master"),
    [
        (b"10.0.0.1", [b"config-epoch", b"1"]),
        ([b"10.0.0.1"], [b"config-epoch", b"1"]),
        ([b"", b"6379"], [b"config-epoch", b"1"]),
        ([b"h\n", b"6379"], [b"config-epoch", b"1"]),
        ([b"h", b"0"], [b"config-epoch", b"1"]),
        ([b"h", b"65536"], [b"config-epoch", b"1"]),
        ([b"h", b"x"], [b"config-epoch", b"1"]),
        ([b"h", 6379], [b"config-epoch", b"1"]),
        ([b"h", b"6379"], [b"name", b"m"]),
        ([b"h", b"6379"], [b"config-epoch", b"-1"]),
        ([b"h", b"6379"], [b"config-epoch", b"1" * 20]),
        ([b"h", b"6379"], [b"config-epoch"]),
        ([b"h", b"6379"], [b"config-epoch", 1]),
        ([b"h", b"6379"], b"-ERR"),
    ],
)
def test_what_makes_no_sense_is_a_value_error(address: object, master: object) -> None:
    with pytest.raises(ValueError, match="no"):
        naming_of(address, master)


def test_pairs_and_addresses_are_read() -> None:
    assert pairs_of([b"a", b"1", b"b", b"2"]) == {b"a": b"1", b"b": b"2"}
    assert address_of(b"::1", b"7") == Tcp("::1", 7)


def test_other_sentinels_are_read_and_nonsense_among_them_is_passed_over() -> None:
    good = [b"ip", b"10.0.0.1", b"port", b"6379", b"runid", b"x"]

    assert others_of([good, [b"ip"], b"no", [b"ip", b"h", b"port", b"x"]]) == [(A, b"x")]
    assert others_of(b"-ERR") == []
    assert others_of([good[:4]]) == [(A, b"")]


# --- Which holds


@pytest.mark.parametrize(
    ("answers", "current", "all_in", "found"),
    [
        ([], None, True, None),
        ([A1], None, False, None),  # one of three
        ([A1, A1], None, False, A1),  # more than half
        ([A1], None, True, A1),  # the only one that answers
        ([A1, B2], None, True, B2),  # the newer one
        ([A1, A1], A1, False, A1),
        ([B1, B1], A2, False, None),  # they are late
        ([B1, B1, A2], A2, True, A2),
        ([A1, B2], A1, True, B2),  # of a minority, and newer
        ([B2], A1, True, B2),
        ([B1], A2, True, None),  # cut off since
        ([A1, B1], A1, True, A1),  # equal: stay
        ([A1, B1], B1, True, B1),
        ([B1, B1, B1], A2, True, B1),  # set up anew
        ([B1, B1], A2, True, B1),
        ([A1, A2, B1], A1, True, A2),
    ],
)
def test_the_epoch_decides_then_the_count(
    answers: list[Naming], current: Naming | None, all_in: bool, found: Naming | None
) -> None:
    assert decided(answers, 3, current, all_in=all_in) == found


# --- Events


@pytest.mark.parametrize(
    ("channel", "text", "event"),
    [
        (
            "+switch-master",
            "m 10.0.0.1 6379 10.0.0.2 6379",
            Event(Change.MOVED, "m", B),
        ),
        ("+try-failover", "master m 10.0.0.1 6379", Event(Change.BEGINS, "m")),
        (
            "-failover-abort-no-good-slave",
            "master m 10.0.0.1 6379",
            Event(Change.ABORTED, "m"),
        ),
        (
            "+promoted-slave",
            "slave 10.0.0.2:6379 10.0.0.2 6379 @ m 10.0.0.1 6379",
            Event(Change.LOOK, "m"),
        ),
        ("+sdown", "master other 10.0.0.1 6379 #quorum 2/2", Event(Change.LOOK, "other")),
        (
            "+sentinel",
            "sentinel abc 10.0.0.9 26379 @ m 10.0.0.1 6379",
            Event(Change.LOOK, "m"),
        ),
        ("+tilt", "#tilt mode entered", None),
        ("+switch-master", "m 10.0.0.1 6379 10.0.0.2", None),
        ("+switch-master", "m 10.0.0.1 6379 10.0.0.2 x", None),
        ("+sdown", "nonsense", None),
        ("+sdown", "slave a b c", None),
    ],
)
def test_an_event_is_read_by_its_name(channel: str, text: str, event: Event | None) -> None:
    assert told_of(channel.encode(), text.encode()) == event


def test_every_channel_means_something() -> None:
    assert {Change.MOVED, Change.LOOK, Change.BEGINS, Change.ABORTED} == set(CHANGES.values())
