"""Five lock servers, two proxies that take their majority, and clients that check each other.

python -m tests.locks.quorum [SECONDS]     the checker alone, with figures"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tests.servers import HOST, Process, nearhit, server_binary, upstream

TTL_MS = 1_000
# A server that has forgotten everything stays away for longer than any lock lasts.
AWAY_S = 1.3


@dataclass
class Quorum:
    """The processes. Redis and Valkey vote together, where both are installed."""

    main: Process
    servers: list[Process]
    proxies: list[Process]


@contextmanager
def quorum(*flags: str, proxies: int = 2, count: int = 5) -> Iterator[Quorum]:
    kinds = [kind for kind in ("valkey", "redis") if server_binary(kind)]
    with ExitStack() as stack:
        main = stack.enter_context(upstream(kinds[0]))
        servers = [stack.enter_context(upstream(kinds[n % len(kinds)])) for n in range(count)]
        urls = ",".join(f"redis://{HOST}:{server.port}" for server in servers)
        url = f"redis://{HOST}:{main.port}"
        flags = ("--lock-servers", urls, *flags)
        yield Quorum(
            main, servers, [stack.enter_context(nearhit(url, *flags)) for _ in range(proxies)]
        )


@dataclass
class Checker:
    """Who is at a resource, by the holders' own word: it has no clock of its own."""

    inside: dict[int, float] = field(default_factory=dict)  # fence: until when it is good
    seen: int = 0
    entered: int = 0
    held: int = 0
    refused: int = 0
    killed: int = 0
    broken: list[str] = field(default_factory=list)

    def enter(self, fence: int, now: float, until: float) -> None:
        self.entered += 1
        for other, end in self.inside.items():
            if now < end:
                self.broken.append(f"{fence} came {end - now:.3f} s before {other} had to go")
        if fence <= self.seen:
            self.broken.append(f"{fence} is not greater than {self.seen}")
        self.seen = max(self.seen, fence)
        self.inside[fence] = until


async def _client(port: int, checker: Checker, chance: random.Random, ends: float) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    while time.monotonic() < ends:
        sent = time.monotonic()
        writer.write(b"LOCK ACQUIRE r PX %d WAIT %d FENCE\r\n" % (TTL_MS, chance.choice([0, 50])))
        head = await reader.readline()
        if head == b"*-1\r\n" or head == b"$-1\r\n":
            checker.held += 1
        elif head.startswith(b"-UPSTREAM"):
            checker.refused += 1
        else:
            assert head == b"*3\r\n", head
            await reader.readline()
            token = (await reader.readline()).strip()
            fence = int((await reader.readline())[1:])
            valid_ms = int((await reader.readline())[1:])
            now, until = time.monotonic(), sent + valid_ms / 1000
            if now < until:
                checker.enter(fence, now, until)
                stay = chance.choice([0, 0, 0.03, 0.1, until - now, until - now + 0.2])
                await asyncio.sleep(stay)
                del checker.inside[fence]
            if chance.random() < 0.8:
                writer.write(b"LOCK RELEASE r %b\r\n" % token)
                await reader.readline()
        await asyncio.sleep(chance.uniform(0, 0.1))
    writer.close()


async def _restarts(
    servers: list[Process], checker: Checker, chance: random.Random, ends: float
) -> None:
    """Kill one or two, and start them again empty when no lock of before can last."""
    while time.monotonic() < ends:
        down = chance.sample(servers, chance.choice([1, 1, 2]))
        for server in down:
            await asyncio.to_thread(server.kill)
            checker.killed += 1
        await asyncio.sleep(AWAY_S)
        for server in down:
            await asyncio.to_thread(server.start)
        # As long again, before the next ones forget what these have missed.
        await asyncio.sleep(AWAY_S)


async def check(found: Quorum, seconds: float, seed: int = 1) -> Checker:
    """Six clients of two proxies want one lock, while servers restart."""
    checker, chance = Checker(), random.Random(seed)
    ends = time.monotonic() + seconds
    clients = [_client(p.port, checker, chance, ends) for p in found.proxies for _ in range(3)]
    await asyncio.gather(_restarts(found.servers, checker, chance, ends), *clients)
    return checker


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    with quorum() as found:
        checker = asyncio.run(check(found, seconds))
    sys.stdout.write(
        f"{seconds:g} s: granted {checker.entered}, nil {checker.held}, refused {checker.refused}, "
        f"servers killed {checker.killed}, broken {len(checker.broken)}\n"
    )
    for line in checker.broken[:20]:
        sys.stdout.write(f"  {line}\n")


if __name__ == "__main__":
    main()
