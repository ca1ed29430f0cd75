"""INFO's section of clients, with this proxy's numbers in it."""

from __future__ import annotations

from nearhit.proxy.session.client_counts import counts, with_counts
from nearhit.proxy.session.reasons import (
    HOLD_BLOCKED,
    HOLD_REPLICA,
    HOLD_TRACKING,
    HOLD_TUNNEL,
    HOLD_WATCH,
)
from nearhit.proxy.session.transaction import Transaction
from nearhit.proxy.session.waiting import Waiting
from nearhit.proxy.upstream.lane_key import LaneKey

from tests.people import Someone


def test_each_number_is_of_our_clients() -> None:
    people = [
        Someone(holds=HOLD_BLOCKED, blocking=1, waits=Waiting(b"", (b"q", b"r"), timed=False)),
        Someone(holds=HOLD_BLOCKED, blocking=1, waits=Waiting(b"", (b"q",), sees_end=True)),
        Someone(
            holds=HOLD_BLOCKED, blocking=1, waits=Waiting(b"", (b"q",)), lane_key=LaneKey(db=1)
        ),
        Someone(holds=HOLD_BLOCKED),  # in LOCK ACQUIRE ... WAIT
        Someone(holds=HOLD_TRACKING, subscriptions=(1, 0, 0)),
        Someone(holds=HOLD_WATCH, transaction=Transaction(watched={b"k", b"l"})),
        Someone(holds=HOLD_WATCH, transaction=Transaction(watched={b"k"})),
        Someone(holds=HOLD_BLOCKED, cut="CLIENT KILL"),
        Someone(waits=Waiting(b"", (b"long over",))),
        Someone(holds=HOLD_TUNNEL | HOLD_REPLICA),  # connected_slaves has it
    ]

    assert counts(people) == {
        b"connected_clients": 8,
        b"blocked_clients": 4,
        b"tracking_clients": 1,
        b"pubsub_clients": 1,
        b"watching_clients": 2,
        b"clients_in_timeout_table": 3,
        b"total_watched_keys": 2,
        b"total_blocking_keys": 3,
        b"total_blocking_keys_on_nokey": 1,
    }


def test_only_the_numbers_of_the_section_change() -> None:
    text = (
        b"# Server\r\nconnected_clients:1\r\n\r\n"
        b"# Clients\r\nconnected_clients:12\r\nmaxclients:10000\r\npaused_reason:none\r\n\r\n"
        b"# Memory\r\nblocked_clients:7\r\n"
    )

    changed, former = with_counts(text, {b"connected_clients": 3, b"blocked_clients": 0})

    assert changed == text.replace(b"clients:12", b"clients:3")
    assert former == {b"connected_clients": 12}


def test_a_section_alone_is_found_and_one_that_is_missing_is_none() -> None:
    alone = b"# Clients\r\nblocked_clients:7\r\n"

    assert with_counts(alone, {b"blocked_clients": 0})[0] == alone.replace(b"7", b"0")
    assert with_counts(b"# CPU\r\na:1\r\n", {b"a": 0}) == (b"# CPU\r\na:1\r\n", {})
    assert with_counts(b"", {b"a": 0}) == (b"", {})
