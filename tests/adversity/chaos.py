"""Two proxies of two workers, each behind a relay of its own, and one server that keeps all it has
acknowledged: faults at random, one after another, each followed by a time in which all must be
served again.

    clients (checkers.py) ─▶ proxy A ─▶ relay A ─┬─▶ server (appendfsync always)
                          ─▶ proxy B ─▶ relay B ─┘

``python -m tests.adversity.chaos SECONDS CLIENTS SEED`` runs it; test_chaos.py has a short form."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from tests.servers import HOST, Process, any_kind, nearhit, upstream

from .checkers import Club
from .fault import Fault, fault

COMMAND_TIMEOUT = 4
DEADLINE = 10.0  # seconds for any command: its timeout, a stop of its worker, and a busy machine
FLAGS = ("--workers", "2", "--command-timeout", f"{COMMAND_TIMEOUT}s", "--upstream-timeout", "2s")


class Chaos:
    def __init__(self, server: Process, proxies: list[Process], relays: list[Fault]) -> None:
        self.server, self.proxies, self.relays = server, proxies, relays
        self.recoveries: list[tuple[float, str]] = []
        self.faults = deque[str](maxlen=8)  # the last ones, by the clock of the logs

    def workers(self) -> list[int]:
        """Of both proxies, as they are now."""
        return [pid for proxy in self.proxies for pid in children(proxy.pid)]

    async def one(self, rng: random.Random, club: Club, limit: float) -> None:
        """A fault, and until all are served again."""
        name, end = rng.choice(
            [
                ("server killed", self.server_killed),
                ("server stopped", self.server_stopped),
                ("worker killed", self.worker_killed),
                ("worker stopped", self.worker_stopped),
                ("worker ended", self.worker_ended),
                ("links cut", self.links_cut),
                ("replies held", self.replies_held),
                ("links dead", self.links_dead),
            ]
        )
        begin = time.time()
        async with end(rng):
            await asyncio.sleep(rng.uniform(0.1, 1.5))
        self.faults.append(f"{begin:.3f}..{time.time():.3f} {name}")
        since = time.monotonic()
        self.recoveries.append((await club.recovered(since, limit), name))
        await asyncio.sleep(rng.uniform(0, 0.3))

    @contextlib.asynccontextmanager
    async def server_killed(self, rng: random.Random) -> AsyncGenerator[None]:
        await asyncio.to_thread(self.server.kill)
        yield
        await asyncio.to_thread(self.server.start)

    @contextlib.asynccontextmanager
    async def server_stopped(self, rng: random.Random) -> AsyncGenerator[None]:
        self.server.signal(signal.SIGSTOP)
        yield
        self.server.signal(signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def worker_killed(self, rng: random.Random) -> AsyncGenerator[None]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(self.workers()), signal.SIGKILL)
        yield

    @contextlib.asynccontextmanager
    async def worker_ended(self, rng: random.Random) -> AsyncGenerator[None]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(self.workers()), signal.SIGTERM)
        yield

    @contextlib.asynccontextmanager
    async def worker_stopped(self, rng: random.Random) -> AsyncGenerator[None]:
        pid = rng.choice(self.workers())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        yield
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def links_cut(self, rng: random.Random) -> AsyncGenerator[None]:
        relay = rng.choice(self.relays)
        for _ in range(rng.randint(1, 3)):
            relay.cut()
            await asyncio.sleep(rng.uniform(0, 0.1))
        yield

    @contextlib.asynccontextmanager
    async def replies_held(self, rng: random.Random) -> AsyncGenerator[None]:
        relay = rng.choice(self.relays)
        relay.stall()
        yield
        relay.flow()

    @contextlib.asynccontextmanager
    async def links_dead(self, rng: random.Random) -> AsyncGenerator[None]:
        """Black holes: those that there are say nothing more, until the proxy gives them up."""
        relay = rng.choice(self.relays)
        relay.half_open()
        yield
        # Nobody tells the proxy: it notices by itself. From then on it must be well in time.
        await asyncio.sleep(COMMAND_TIMEOUT)


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
        return [int(word) for word in text.split()]
    return []


@contextlib.contextmanager
def scene() -> Generator[Chaos]:
    with contextlib.ExitStack() as stack:
        # Rewritten often: it is read at each start, which has 15 s for it.
        small = ("--auto-aof-rewrite-percentage", "100", "--auto-aof-rewrite-min-size", "4mb")
        kept = ("--appendonly", "yes", "--appendfsync", "always", *small)
        server = stack.enter_context(upstream(any_kind(), *kept))
        relays = [stack.enter_context(fault(server.port)) for _ in range(2)]
        proxies = [
            stack.enter_context(nearhit(f"redis://{HOST}:{relay.port}", *FLAGS)) for relay in relays
        ]
        yield Chaos(server, proxies, relays)


async def run(chaos: Chaos, *, seconds: float, clients: int, seed: int, limit: float) -> Club:
    """Faults for so long; then all is looked at."""
    rng = random.Random(seed)
    ports = [proxy.port for proxy in chaos.proxies]
    club = Club(ports, count=clients, deadline=DEADLINE, seed=seed)
    running = asyncio.ensure_future(club.run())
    await club.recovered(time.monotonic(), 20)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not club.wrong and not running.done():
        await chaos.one(rng, club, limit)
    club.over = True
    await running
    await club.verify(chaos.server.port)
    return club


def report(chaos: Chaos, club: Club) -> str:
    worst = sorted(chaos.recoveries, reverse=True)[:5]
    return (
        f"faults={len(chaos.recoveries)} outcomes={dict(club.outcomes)} "
        f"slowest command={club.slowest:.2f} s, slowest recoveries: "
        + ", ".join(f"{seconds:.2f} s ({name})" for seconds, name in worst)
    )


def main() -> int:
    seconds, clients, seed = (int(word) for word in sys.argv[1:4])
    with scene() as chaos:
        club = asyncio.run(run(chaos, seconds=seconds, clients=clients, seed=seed, limit=10))
        sys.stdout.write(report(chaos, club) + "\n" + "".join(f"{one}\n" for one in club.wrong))
        if club.wrong:
            sys.stdout.write(f"{time.time():.3f} now, {'; '.join(chaos.faults)}\n")
            for one in (chaos.server, *chaos.proxies):
                sys.stdout.write(one.log.read_text()[-100_000:])
    return bool(club.wrong)


if __name__ == "__main__":
    sys.exit(main())
