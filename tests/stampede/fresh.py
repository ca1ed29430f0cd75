"""Loaders whose values go stale, and crowds that read them at a pace for a while.

A loader notes when each of its calls begins and ends: whether two ran at once is seen from that,
across processes and kill -9."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import hiredis

from .scene import Callers, Scene

# Each kind of loader twice: for CI, and as the bar of issue 13 has it (long).
SETTINGS: Final = """
[loaders.{name}]
match = "{name}:{{id}}"
call = "fresh:{function}"
ttl = "{ttl}"
timeout = "{timeout}"
lease = "{timeout}"
backoff = "{backoff}"
grace = "60s"
read_through = true
"""
EARLY: Final = """
[loaders.early]
match = "early:{id}"
call = "fresh:quick"
ttl = "500ms"
early = true

[loaders.longearly]
match = "longearly:{id}"
call = "fresh:quick"
ttl = "5s"
early = true

[loaders.rare]
match = "rare:{id}"
call = "fresh:quick"
ttl = "150s"
early = true

[loaders.soft]
match = "soft:{id}"
call = "fresh:quick"
ttl = "200ms"
grace = "60s"
soft_timeout = "10s"
"""
FUNCTIONS: Final = """
import asyncio, os, random, time

count = 0

def note(*words):
    out = os.open(os.environ["LOADS"] + ".fresh", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(out, " ".join(map(str, words)).encode() + b"\\n")
    os.close(out)

async def timed(id, seconds, then):
    global count
    count += 1
    name = f"{os.getpid()}-{count}"
    note("begins", id, name, time.monotonic())
    try:
        await asyncio.sleep(seconds)
        return await then(id, name)
    finally:
        note("ends", id, name, time.monotonic())

async def right(id, name):
    return name

def again(id):
    with open(os.environ["LOADS"] + ".fresh") as lines:
        return any(line.startswith(f"ends {id} ") for line in lines)

async def half(id, name):
    if again(id) and random.random() < 0.5:
        raise ValueError("no database")
    return name

async def never(id, name):
    if again(id):
        await asyncio.sleep(3600)
    return name

async def calm(id):
    return await timed(id, 0.3, right)

async def moody(id):
    return await timed(id, 0.1, half)

async def stuck(id):
    return await timed(id, 0.05, never)

async def quick(id):
    return await timed(id, 0.02, right)

async def longcalm(id):
    return await timed(id, 1, right)

async def longmoody(id):
    return await timed(id, 1, half)

async def longstuck(id):
    return await timed(id, 1, never)
"""
KINDS: Final = ("calm", "moody", "stuck")


def prepare(folder: Path) -> None:
    """Before the proxies start."""
    (folder / "fresh.py").write_text(FUNCTIONS)
    text = EARLY
    for kind in KINDS:
        short = {"ttl": "150ms", "timeout": "600ms", "backoff": "100ms"}
        long = {"ttl": "2s", "timeout": "3s", "backoff": "1s"}
        text += SETTINGS.format(name=kind, function=kind, **short)
        text += SETTINGS.format(name=f"long{kind}", function=f"long{kind}", **long)
    with (folder / "nearhit.toml").open("a") as file:
        file.write(text)


@dataclass(frozen=True)
class Call:
    """One call of a loader; ``ends`` is never for one that was killed."""

    name: str
    begins: float
    ends: float


def calls(here: Scene, id: str) -> list[Call]:
    """Those for one id, in the order in which they began."""
    path = here.folder / "loads.fresh"
    lines = [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []
    ends = {name: float(at) for what, of, name, at in lines if (what, of) == ("ends", id)}
    begun = [(name, float(at)) for what, of, name, at in lines if (what, of) == ("begins", id)]
    return [Call(name, at, ends.get(name, float("inf"))) for name, at in begun]


def overlapping(found: Sequence[Call]) -> int:
    """How many calls began while the one before them still ran."""
    return sum(one.ends > other.begins for one, other in pairwise(found))


@dataclass
class Crowd:
    """What readers saw."""

    answers: int = 0
    waited: list[float] = field(default_factory=list)  # seconds, each read behind the first
    errors: list[str] = field(default_factory=list)
    lost: int = 0  # readers whose proxy was killed


async def read_for(
    ports: Sequence[int], count: int, words: Sequence[str], seconds: float, pause: float
) -> Crowd:
    """So many readers, by turns over the ports, who read as often, each ``pause`` seconds: at first
    all at once, and what they waited for then is not counted."""
    seen = Crowd()
    until = time.monotonic() + seconds

    async def read(one: Any, at: int) -> None:
        await one.ask(*words)
        await asyncio.sleep(pause * at / count)
        while (begun := time.monotonic()) < until:
            answer = await one.ask(*words)
            if answer is one.lost:
                seen.lost += 1
                return
            seen.waited.append(time.monotonic() - begun)
            if isinstance(answer, hiredis.ReplyError) or answer is None:
                seen.errors.append(str(answer))
            seen.answers += 1
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - begun)))

    async with Callers([ports[at % len(ports)] for at in range(count)]) as callers:
        await asyncio.gather(*(read(one, at) for at, one in enumerate(callers)))
    return seen


async def read_past_a_kill(here: Scene, key: str, seconds: float) -> tuple[Crowd, list[Call]]:
    """40 readers of one value, of whose proxies one is killed as it refreshes it: what they saw,
    and the calls of the other proxy."""
    ports, id = [proxy.port for proxy in here.proxies], key.partition(":")[2]
    reading = asyncio.create_task(read_for(ports, 40, ("GETORSET", key), seconds, 0.1))
    async with asyncio.timeout(10):
        while len(calls(here, id)) < 2:
            await asyncio.sleep(0.005)
    name = calls(here, id)[-1].name
    dead = next(proxy for proxy in here.proxies if name.startswith(f"{proxy.pid}-"))
    dead.kill()
    seen = await reading
    return seen, [one for one in calls(here, id) if not one.name.startswith(f"{dead.pid}-")]


def longest(seen: Crowd, share: float = 1.0) -> float:
    """Milliseconds that this share of the reads took at most."""
    waited = sorted(seen.waited)
    return 1000 * waited[min(len(waited) - 1, int(share * len(waited)))]
