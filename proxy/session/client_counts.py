"""What INFO's section of clients says: of this proxy's, as CLIENT LIST does.

The server's text stays as it is but for the numbers that are changed; those that stood there are
told apart, for they are of lanes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from .clients import Client
from .reasons import HOLD_BLOCKED, HOLD_REPLICA, HOLD_TRACKING, HOLD_WATCH

_SECTION: Final = re.compile(rb"(?:\A|(?<=\r\n))# Clients\r\n(?:[^#\r\n][^\r\n]*\r\n)*")
_ROW: Final = re.compile(rb"(?<=\n)(\w+):(\d+)(?=\r\n)")


def counts(clients: Iterable[Client], *, paused: bool = False) -> Mapping[bytes, int]:
    """The numbers by their names in Redis and Valkey; a client that is being cut is gone.
    ``paused``: writes are, so that some may wait for the end of that."""
    here = [client for client in clients if not client.cut]
    # Most hold nothing: INFO is asked often, and of ten thousand.
    holding = [client for client in here if client.berth.holds]
    held = [client.berth.holds for client in holding]
    blocked = [client for client in holding if client.berth.holds & HOLD_BLOCKED]
    postponed = sum(
        client.berth.postponed and not client.berth.holds & HOLD_BLOCKED
        for client in (here if paused else ())
    )
    # Commands of our own are blocked without a request at the server, and all end by themselves.
    waits = [client.identity.waits for client in blocked if client.berth.blocking]
    timed = len(blocked) - sum(not wait.timed for wait in waits)
    dbs = [client.berth.lane_key.db for client in blocked if client.berth.blocking]
    keys = {(db, key) for db, wait in zip(dbs, waits, strict=True) for key in wait.keys}
    ends = {
        (db, key) for db, wait in zip(dbs, waits, strict=True) for key in wait.keys if wait.sees_end
    }
    watched = {
        (client.berth.lane_key.db, key)
        for client in holding
        if client.berth.holds & HOLD_WATCH
        for key in client.transaction.watched
    }
    # A server counts them apart, as connected_slaves.
    replicas = sum(bool(holds & HOLD_REPLICA) for holds in held)
    return {
        b"connected_clients": len(here) - replicas,
        b"blocked_clients": len(blocked) + postponed,
        b"tracking_clients": sum(bool(holds & HOLD_TRACKING) for holds in held),
        b"pubsub_clients": sum(any(client.berth.subscriptions) for client in holding),
        b"watching_clients": sum(bool(holds & HOLD_WATCH) for holds in held),
        b"clients_in_timeout_table": timed,
        b"total_watched_keys": len(watched),
        b"total_blocking_keys": len(keys),
        b"total_blocking_keys_on_nokey": len(ends),
    }


def with_counts(text: bytes, ours: Mapping[bytes, int]) -> tuple[bytes, Mapping[bytes, int]]:
    """INFO's text with our numbers in its section of clients, and those that stood there."""
    found = _SECTION.search(text)
    if found is None:
        return text, {}
    former: dict[bytes, int] = {}

    def change(row: re.Match[bytes]) -> bytes:
        name = row[1]
        if name not in ours:
            return row[0]
        former[name] = int(row[2])
        return b"%b:%d" % (name, ours[name])

    section = _ROW.sub(change, found[0])
    return text[: found.start()] + section + text[found.end() :], former
