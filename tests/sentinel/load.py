"""Clients that count: what was acknowledged, what was not, and for how long nothing was."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from redis.exceptions import RedisError, ResponseError

from tests.sentinel.trio import Link, link

UNKNOWN = "may or may not have been executed"


@dataclass
class Count:
    """One client's: INCRs of a key of its own."""

    key: str
    acked: int = 0
    errors: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # of what was acknowledged

    def work(self, port: int, over: threading.Event) -> None:
        client = link(port)
        while not over.is_set():
            try:
                client.incr(self.key)
            except (RedisError, OSError) as error:
                self.errors.append(str(error))
                if not isinstance(error, ResponseError):
                    client.close()
                    client = link(port)
                continue
            self.acked += 1
            self.times.append(time.monotonic())
            over.wait(0.001)
        client.close()


@dataclass
class Load:
    counts: list[Count]

    @property
    def acked(self) -> int:
        return sum(one.acked for one in self.counts)

    @property
    def errors(self) -> list[str]:
        return [error for one in self.counts for error in one.errors]

    def stored(self, client: Link) -> int:
        return sum(int(client.get(one.key) or 0) for one in self.counts)

    def lost(self, client: Link) -> int:
        """Acknowledged, and not there."""
        lost = 0
        for one in self.counts:
            # An error leaves open whether it was done: it may have been.
            lost += max(0, one.acked - int(client.get(one.key) or 0))
        return lost

    def first_after(self, moment: float) -> float:
        """Seconds until each client had an acknowledgement again, the slowest's."""
        return max(min(t for t in one.times if t > moment) for one in self.counts) - moment

    @property
    def longest_stall(self) -> float:
        return max(
            (b - a for one in self.counts for a, b in zip(one.times, one.times[1:], strict=False)),
            default=0.0,
        )


@contextlib.contextmanager
def load(port: int, clients: int = 6, name: str = "n") -> Iterator[Load]:
    """Clients that go on until the block ends."""
    over = threading.Event()
    made = Load([Count(f"{name}:{number}") for number in range(clients)])
    threads = [
        threading.Thread(target=one.work, args=(port, over), daemon=True) for one in made.counts
    ]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
