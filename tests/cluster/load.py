"""Clients that write running numbers through the proxy while a test does things to the cluster.

    RPUSH list of the client's own <number>, INCR a counter of all ─ pipelines of 16 ─▶ proxy
    ``check``: each list is what was sent, in order; no counter lost or gained anything

A thread for each client; ``errors`` are the replies that were errors, ``waits`` the seconds that
each pipeline took."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.wire.link import Link, command

DEPTH = 16


class Client(threading.Thread):
    def __init__(self, port: int, number: int, tags: Sequence[bytes]) -> None:
        super().__init__(daemon=True)
        self.name = f"client-{number}"
        self.lists = [b"list:%d:{%b}" % (number, tag) for tag in tags]
        self.counters = [b"count:{%b}" % tag for tag in tags]
        self.sent: dict[bytes, list[bytes]] = defaultdict(list)
        self.unsure: dict[bytes, list[bytes]] = defaultdict(list)  # of these, ended by an error
        self.counted: dict[bytes, int] = defaultdict(int)
        self.maybe: dict[bytes, int] = defaultdict(int)
        self.errors: list[tuple[bytes, bytes]] = []  # key, reply
        # Of RPUSHes: when it was sent, seconds until it was answered, key, value.
        self.acked: list[tuple[float, float, bytes, bytes]] = []
        self.waits: list[tuple[float, float]] = []  # when, how long
        self.ended = False
        self._stop_at_once = threading.Event()
        self._port = port
        self._chance = random.Random(number)

    def run(self) -> None:
        link = Link(self._port)
        number = 0
        while not self._stop_at_once.is_set():
            batch: list[tuple[bytes, bytes]] = []
            for _ in range(DEPTH // 2):
                number += 1
                batch.append((self._chance.choice(self.lists), b"%d" % number))
                batch.append((self._chance.choice(self.counters), b""))
            began = time.monotonic()
            link.send(
                b"".join(
                    command("RPUSH", key, value) if value else command("INCR", key)
                    for key, value in batch
                )
            )
            replies = link.read(len(batch), 60)
            self.waits.append((began, time.monotonic() - began))
            if len(replies) < len(batch):
                self.ended = True
                break
            for (key, value), reply in zip(batch, replies, strict=True):
                self._note(key, value, reply)
                if value and reply.startswith(b":"):
                    self.acked.append((*self.waits[-1], key, value))
        link.close()

    def _note(self, key: bytes, value: bytes, reply: bytes) -> None:
        if not reply.startswith(b":"):
            self.errors.append((key, reply))
        if value:
            self.sent[key].append(value)
            if not reply.startswith(b":"):
                self.unsure[key].append(value)
        elif reply.startswith(b":"):
            self.counted[key] += 1
        else:
            self.maybe[key] += 1

    def finish(self) -> None:
        self._stop_at_once.set()
        self.join(70)
        assert not self.is_alive()


class Load:
    def __init__(self, clients: Sequence[Client]) -> None:
        self.clients = clients

    @property
    def errors(self) -> list[tuple[bytes, bytes]]:
        return [error for client in self.clients for error in client.errors]

    @property
    def requests(self) -> int:
        return DEPTH * sum(len(client.waits) for client in self.clients)

    def longest(self, share: float = 1.0) -> float:
        """Seconds that a pipeline took, at most or for this share."""
        waits = sorted(took for client in self.clients for _, took in client.waits)
        return waits[min(len(waits) - 1, int(len(waits) * share))]

    def between(self, begin: float, end: float) -> list[float]:
        """Seconds that the pipelines took that were sent then, sorted."""
        waits = [wait for client in self.clients for wait in client.waits]
        return sorted(took for when, took in waits if begin <= when < end)

    def first_success(self, after: float) -> float:
        """When the first write was answered, with success, that was sent behind that moment."""
        acked = [one for client in self.clients for one in client.acked]
        return min(when + took for when, took, _, _ in acked if when > after)

    def check(self, port: int, *, lost: bool = False, kept_since: float = float("inf")) -> None:
        """What the servers have, by way of the proxy. ``lost``: a failover may have lost what was
        acknowledged last, and sent before ``kept_since``; the rest is in order all the same."""
        link = Link(port)
        counters: dict[bytes, int] = defaultdict(int)
        maybe: dict[bytes, int] = defaultdict(int)
        for client in self.clients:
            assert not client.ended, "the proxy has closed a client"
            for key, sent in client.sent.items():
                found = values(link.ask("LRANGE", key, 0, -1))
                unsure = set(client.unsure[key])
                if not unsure and not lost:
                    assert found == sent, (key, found[-5:], sent[-5:])
                there = set(found)
                assert found == [value for value in sent if value in there], (key, "order")
                if not lost:
                    assert set(sent) - there <= unsure, (key, "acknowledged, and not there")
            for key in client.counters:
                counters[key] += client.counted[key]
                maybe[key] += client.maybe[key]
            late = [(key, value) for when, _, key, value in client.acked if when > kept_since]
            kept = {key: values(link.ask("LRANGE", key, 0, -1)) for key in dict(late)}
            have = {key: frozenset(found) for key, found in kept.items()}
            assert all(value in have[key] for key, value in late), "acknowledged, and lost"
        for key, count in counters.items():
            (value,) = values(b"*1\r\n" + link.ask("GET", key)) or [b"0"]
            if lost:
                assert int(value) <= count + maybe[key]
            else:
                assert count <= int(value) <= count + maybe[key], key
        link.close()


def values(reply: bytes) -> list[bytes]:
    """Of an array of bulk strings."""
    return reply.split(b"\r\n")[2::2] if reply.startswith(b"*") else []


@contextmanager
def load(port: int, tags: Sequence[bytes], count: int = 6) -> Iterator[Load]:
    """So many clients that write to keys of these tags, until the block is left."""
    clients = [Client(port, number, tags) for number in range(count)]
    for client in clients:
        client.start()
    try:
        yield Load(clients)
    finally:
        for client in clients:
            client.finish()
