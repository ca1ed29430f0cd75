"""No reader goes back in versions or misses a write that its proxy has acknowledged, and foreign
writes show in time: under load, with everything in between failing.

One server of each kind with two proxies serves all scenarios; ``near`` is linked through the fault
relay, ``far`` is not. NEARHIT_COHERENCE_S is the length of a scenario in CI, NEARHIT_SOAK_S that of
the whole soak."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.servers import HOST, Kind, Process, nearhit, server_binary, upstream

from .hashes import HashLoad
from .history import BOUND, LATE, SILENT_BOUND, History, Reader
from .links import Links, links
from .load import Gone, Link, Load, failed

PLAYS = itertools.count()
SECONDS = float(os.environ.get("NEARHIT_COHERENCE_S", "1"))
SOAK = float(os.environ.get("NEARHIT_SOAK_S", "600"))


@dataclass
class Stage:
    kind: Kind
    server: Process
    relay: Links
    near: Process
    far: Process

    @property
    def ports(self) -> dict[str, int]:
        return {"near": self.near.port, "far": self.far.port}


@pytest.fixture(scope="module", params=["redis", "valkey"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server")
    with (
        upstream(kind, "--hz", "100") as server,
        links(server.port) as relay,
        nearhit(f"redis://{HOST}:{relay.port}") as near,
        nearhit(f"redis://{HOST}:{server.port}") as far,
    ):
        yield Stage(kind, server, relay, near, far)


@pytest.fixture(scope="module")
def flapping(stage: Stage) -> Iterator[Stage]:
    """The same, with proxies whose near cache is bypassed and read again all the time."""
    flaps = {"PYTHONPATH": str(Path(__file__).with_name("flapping"))}
    with (
        nearhit(f"redis://{HOST}:{stage.relay.port}", env=flaps) as near,
        nearhit(f"redis://{HOST}:{stage.server.port}", env=flaps) as far,
    ):
        yield replace(stage, near=near, far=far)


@dataclass
class Scenario:
    keys: int = 10
    config: dict[str, tuple[str, str]] = field(default_factory=dict)  # of the server: then, after
    ttls: tuple[int, ...] = ()
    fleeting: bool = False
    trouble: Callable[[Stage, Load], Coroutine[Any, Any, None]] | None = None
    proxies: tuple[str, ...] = ("near", "far")
    probes: bool = True
    longer: float = 1.0
    bound: float = BOUND
    readers: int = 3


# --- Troubles ---------------------------------------------------------------------------------


async def every(load: Load, seconds: float, act: Callable[[], Awaitable[Any]]) -> None:
    while load.going:
        await asyncio.sleep(min(seconds, max(0.0, load.until - time.monotonic())))
        if load.going:
            with contextlib.suppress(Gone):
                await act()


async def kill_tracked(stage: Stage, load: Load) -> None:
    """CLIENT KILL of every client with the flag t."""
    direct = Link(stage.server.port)

    async def act() -> None:
        for row in (await direct.one("CLIENT", "LIST")).decode().splitlines():
            facts = dict(fact.split("=", 1) for fact in row.split() if "=" in fact)
            if "t" in facts["flags"]:
                await direct.one("CLIENT", "KILL", "ID", facts["id"])

    await every(load, 0.2, act)


async def cut_links(stage: Stage, load: Load) -> None:
    turn = 0

    async def act() -> None:
        nonlocal turn
        turn += 1
        stage.relay.cut_tracked() if turn % 3 else stage.relay.cut()

    await every(load, 0.25, act)


async def slow_link(stage: Stage, load: Load) -> None:
    """The tracked lane hears of everything late."""
    stage.relay.delay = 0.02
    await every(load, 100, lambda: asyncio.sleep(0))
    stage.relay.delay = 0


async def half_open(stage: Stage, load: Load) -> None:
    """The tracked lane says nothing for longer than it is believed, and its requests wait."""
    stage.relay.hush()
    await asyncio.sleep(max(0.0, load.until - time.monotonic() - 0.3))
    stage.relay.tell()


SWAP = "return redis.call('SWAPDB', 0, 1)"
SWAPS: Sequence[tuple[object, ...]] = (
    ("SWAPDB", 0, 1),
    ("EVAL", SWAP, 0),
    ("EVALSHA", hashlib.sha1(SWAP.encode()).hexdigest(), 0),
    ("FCALL", "swap", 0),
)
LIBRARY = f"#!lua name=swap\nredis.register_function('swap', function() {SWAP} end)"


async def flush(stage: Stage, load: Load) -> None:
    """FLUSHALL, FLUSHDB and SWAPDB through a proxy, also in scripts."""
    link, history = Link(stage.near.port), load.history
    assert await link.one("FUNCTION", "LOAD", "REPLACE", LIBRARY) == b"swap"
    other = Link(stage.server.port, db=1)
    keys = list(history.keys)
    turn = 0

    async def act() -> None:
        nonlocal turn
        turn += 1
        async with history.writing(*keys):
            if turn % 3:
                writes = [history.issue(key, nil=True) for key in keys]
                done = await link.ask(("FLUSHALL" if turn % 3 == 1 else "FLUSHDB",))
            else:
                writes = [history.issue(key) for key in keys]
                pairs = [
                    word
                    for key, write in zip(keys, writes, strict=True)
                    for word in (key, b"%d" % write.version)
                ]
                await other.one("MSET", *pairs)
                done = await link.ask(SWAPS[turn // 3 % len(SWAPS)])
            assert done == [b"OK"], done
            for key, write in zip(keys, writes, strict=True):
                history.acknowledge(key, write, "near")

    await every(load, 0.1, act)


# How a client makes its connection odd, and how many replies it gets to that.
PRELUDES: Sequence[Sequence[tuple[object, ...]]] = (
    (("MULTI",), ("HELLO", "3"), ("EXEC",)),
    (("REPLCONF", "capa", "x"),),
    (("REPLCONF", "ACK", "1"), ("PING",)),  # the first is not answered
    (("MULTI",), ("PSUBSCRIBE", "nothing*"), ("EXEC",), ("PUNSUBSCRIBE",)),
)


async def tunnels(stage: Stage, load: Load) -> None:
    """Clients whose connections are no requests and replies any more, and who write there."""
    stage.relay.delay = 0.02  # the tracked lane hears of it late
    turn = itertools.count()
    keys = list(load.history.keys)
    beside, reader = Link(stage.near.port), Reader("beside the tunnels", "near")

    async def act() -> None:
        prelude = PRELUDES[next(turn) % len(PRELUDES)]
        link = Link(stage.near.port)
        await link.tell(prelude, replies=len(prelude) - (prelude[0][:2] == ("REPLCONF", "ACK")))
        for _ in range(3):
            key = load.random.choice(keys)
            async with load.history.writing(key):
                for _ in range(3):  # so that it is read near, where it may be
                    await load.pair(beside, reader, key)
                await load.write(link, key, "near", proxied=False)
                await load.pair(beside, reader, key)
        link.close()

    await every(load, 0.03, act)
    stage.relay.delay = 0


async def restart(stage: Stage, load: Load) -> None:
    """kill -9, and the same server again with nothing in it."""
    await asyncio.sleep(0.4 * SECONDS)
    load.history.grace = time.monotonic() + 3600
    await asyncio.to_thread(stage.server.kill)
    load.history.ended()
    await asyncio.to_thread(stage.server.start)
    load.history.ended()  # what was written meanwhile never was
    load.history.grace = time.monotonic() + 5


SCENARIOS = {
    "1 key": Scenario(keys=1),
    "10 keys": Scenario(keys=10),
    "1000 keys": Scenario(keys=1000),
    "a slow tracked lane": Scenario(keys=3, trouble=slow_link),
    "CLIENT KILL of the tracked lane": Scenario(keys=5, trouble=kill_tracked),
    "cut links": Scenario(keys=5, trouble=cut_links),
    "FLUSHALL, FLUSHDB, SWAPDB": Scenario(keys=5, trouble=flush, proxies=("near",), probes=False),
    "eviction": Scenario(
        keys=300,
        fleeting=True,
        probes=False,
        config={"maxmemory-policy": ("allkeys-lru", "noeviction"), "maxmemory": ("+60000", "0")},
    ),
    "TTLs of 1 ms to 1 s, active expire off": Scenario(
        keys=10,
        ttls=(1, 3, 10, 30, 100, 300, 1000),
        config={"DEBUG": ("0", "1")},
    ),
    "TTLs of 1 ms to 1 s": Scenario(keys=10, ttls=(1, 3, 10, 30, 100, 300, 1000)),
    "tracking-table-max-keys 10": Scenario(
        keys=100, config={"tracking-table-max-keys": ("10", "1000000")}
    ),
    "a half-open tracked lane": Scenario(keys=5, trouble=half_open, longer=2.2, bound=SILENT_BOUND),
    "tunnels": Scenario(keys=10, trouble=tunnels, longer=1.5),
    "kill -9 and restart": Scenario(keys=5, trouble=restart, longer=1.5, bound=SILENT_BOUND),
}


async def _configure(stage: Stage, scenario: Scenario, at: int) -> None:
    direct = Link(stage.server.port)
    for name, values in scenario.config.items():
        value = values[at]
        if name == "DEBUG":
            assert await direct.one("DEBUG", "SET-ACTIVE-EXPIRE", value) == b"OK"
            continue
        if value.startswith("+"):  # above what is used now
            rows = (await direct.one("INFO", "memory")).decode().splitlines()
            used = dict(row.split(":", 1) for row in rows if ":" in row)["used_memory"]
            value = str(int(used) + int(value))
        assert await direct.one("CONFIG", "SET", name, value) == b"OK"
    direct.close()


async def figures(stage: Stage) -> dict[str, dict[bytes, Any]]:
    found = {}
    for name, port in stage.ports.items():
        link = Link(port)
        flat = await link.one("STATS")
        found[name] = dict(zip(flat[::2], flat[1::2], strict=True))
        link.close()
    return found


async def near_hits(stage: Stage) -> dict[str, int]:
    return {name: int(told[b"near_hits"]) for name, told in (await figures(stage)).items()}


async def played(
    stage: Stage, scenario: Scenario, seconds: float, seed: int, kind: type[Load] = Load
) -> Load:
    """One scenario from an empty server."""
    direct = stage.server.port
    emptied = Link(direct)
    await emptied.one("FLUSHALL")
    emptied.close()
    await _configure(stage, scenario, 0)
    # Keys that were never used before: a proxy may still hold those of the last scenario.
    play = next(PLAYS)
    names = [b"%d:k%d" % (play, n) for n in range(scenario.keys)]
    history = History(names, fleeting=scenario.fleeting, bound=scenario.bound)
    load = kind(history, ttls=scenario.ttls, seed=seed)
    clients: list[Coroutine[Any, Any, None]] = []
    # Nobody tells of a SWAPDB but the proxy that it passed, so nobody else writes there then.
    load.pace = 0.006
    for name in scenario.proxies:
        port = stage.ports[name]
        clients += [load.reader(port, name, n, 2 + n % 2) for n in range(scenario.readers)]
        clients += [load.writer(port, name, proxied=True, resp=2)]
        if scenario.probes:
            clients.append(load.prober(port, direct, b"probe-" + name.encode()))
    clients.append(load.writer(direct, "nobody's proxy", proxied=False))
    if scenario.trouble is not None:
        clients.append(scenario.trouble(stage, load))
    try:
        await load.run(seconds * scenario.longer, *clients)
    finally:
        stage.relay.tell()
        stage.relay.delay = 0
        await _configure(stage, scenario, 1)
    return load


def _first(broken: BaseException) -> BaseException:
    while isinstance(broken, BaseExceptionGroup):
        broken = broken.exceptions[0]
    return broken


@pytest.mark.parametrize("name", SCENARIOS)
async def test_versions_never_go_back(
    stage: Stage, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = await near_hits(stage)
    try:
        load = await played(stage, SCENARIOS[name], SECONDS, seed=len(name))
    except BaseExceptionGroup as group:
        raise _first(group) from None
    after = await near_hits(stage)
    hits = {proxy: after[proxy] - before[proxy] for proxy in SCENARIOS[name].proxies}
    with capsys.disabled():
        print(f"\n    {stage.kind}, {name}: {load.told()}; near hits {hits}")
    assert all(hits.values()), f"nothing was read near: {hits}"
    assert load.history.reads > 100 * SECONDS


@pytest.mark.parametrize("name", ["10 keys", "a slow tracked lane", "cut links", "eviction"])
async def test_versions_never_go_back_where_reads_begin_and_cease_to_pass(
    flapping: Stage, name: str
) -> None:
    before = await near_hits(flapping)
    try:
        await played(flapping, SCENARIOS[name], SECONDS, seed=len(name))
    except BaseExceptionGroup as group:
        raise _first(group) from None
    after = await near_hits(flapping)

    # A slow tracked lane is never as new as what was read elsewhere in between.
    assert after["far"] > before["far"]
    seen: set[bool] = set()
    async with asyncio.timeout(10):
        while seen != {False, True}:
            seen.add(int((await figures(flapping))["near"][b"near_bypass"]) > 0)


@pytest.fixture(scope="module")
def any_reads(stage: Stage) -> Iterator[Stage]:
    """The same, with proxies that answer reads of hashes near too."""
    flags = ("--near-reads", "all")
    with (
        nearhit(f"redis://{HOST}:{stage.relay.port}", *flags) as near,
        nearhit(f"redis://{HOST}:{stage.server.port}", *flags) as far,
    ):
        yield replace(stage, near=near, far=far)


HASHED = ("1 key", "10 keys", "a slow tracked lane", "cut links")


@pytest.mark.parametrize("name", HASHED)
async def test_versions_in_hashes_never_go_back(any_reads: Stage, name: str) -> None:
    scenario = replace(SCENARIOS[name], probes=False)
    before = await near_hits(any_reads)

    load = await played(any_reads, scenario, SECONDS, seed=7, kind=HashLoad)

    assert load.history.reads > 100, load.told()
    assert sum((await near_hits(any_reads)).values()) > sum(before.values()), load.told()


async def test_a_swap_that_did_not_pass_is_noticed_within_a_second(stage: Stage) -> None:
    direct, other = Link(stage.server.port), Link(stage.server.port, db=1)
    link = Link(stage.near.port)
    try:
        assert await direct.one("SET", "swapped", "old") == b"OK"
        assert await other.one("SET", "swapped", "new") == b"OK"
        before = (await near_hits(stage))["near"]
        async with asyncio.timeout(20):  # what was played before may have had it bypassed
            while (await near_hits(stage))["near"] == before:
                for _ in range(100):
                    assert await link.one("GET", "swapped") == b"old"
        assert await direct.one("SWAPDB", 0, 1) == b"OK"
        swapped = time.monotonic()

        while await link.one("GET", "swapped") == b"old":
            assert time.monotonic() < swapped + 1.5, "read for more than a second"
            await asyncio.sleep(0.01)
    finally:
        Link.close_all()


async def test_behind_a_half_open_tracked_lane_nobody_waits_long(stage: Stage) -> None:
    """Three seconds until it is known, and a moment until a new connection has told."""
    link, waiter = Link(stage.near.port), Link(stage.near.port)
    try:
        assert await link.one("SET", "half-open", "v") == b"OK"
        for _ in range(4):
            assert await link.one("GET", "half-open") == b"v"
        await link.one("LOCK", "ACQUIRE", "half-open", "PX", 60_000, "TOKEN", "t")
        waiting = asyncio.ensure_future(waiter.ask(("LOCK", "ACQUIRE", "half-open", "WAIT", 9000)))
        await asyncio.sleep(0.1)
        stage.relay.hush()
        await link.one("DEL", "half-open:other")  # by another lane
        began, longest, answers = time.monotonic(), 0.0, []
        while time.monotonic() < began + 4.5:
            asked = time.monotonic()
            answers.append(await link.one("GET", f"half-open:{len(answers)}"))
            longest = max(longest, time.monotonic() - asked)
            await asyncio.sleep(0.01)
        stage.relay.tell()
        await Link(stage.far.port).one("LOCK", "RELEASE", "half-open", "t")

        assert longest < 4.2
        assert answers[-1] is None
        assert [failed(answer) for answer in answers].count(True) <= 1
        await waiting  # a lock, or an error: within its time
        assert time.monotonic() < began + 9
    finally:
        stage.relay.tell()
        Link.close_all()


async def test_a_key_that_ends_in_silence_is_not_read_longer_than_it_lived(stage: Stage) -> None:
    """Nobody but near reads touches it, and the server tells of no end that it has not noticed."""
    direct, link = Link(stage.server.port), Link(stage.near.port)
    assert await direct.one("DEBUG", "SET-ACTIVE-EXPIRE", 0) == b"OK"
    try:
        for number, ttl in enumerate((50, 200, 500)):
            key = b"silent:%d" % number
            await link.ask(("GET", key), ("GET", key))
            assert await direct.one("SET", key, "v", "PX", ttl) == b"OK"
            ends = time.monotonic() + ttl / 1000
            while await link.one("GET", key) is None and time.monotonic() < ends:
                pass  # the push of the SET is on its way
            while await link.one("GET", key) == b"v":
                last = time.monotonic()
                assert last < ends + LATE, f"{key!r} of {ttl} ms: read {LATE} s behind its end"
    finally:
        await direct.one("DEBUG", "SET-ACTIVE-EXPIRE", 1)
        Link.close_all()


@pytest.mark.soak
@pytest.mark.timeout(SOAK + 300)
async def test_versions_never_go_back_for_long(
    stage: Stage, flapping: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """All scenarios over and over, longer and with other dice, each of both ways in turn."""
    ends, seed = time.monotonic() + SOAK / 2, 1000
    while time.monotonic() < ends:
        for name, scenario in SCENARIOS.items():
            seed += 1
            try:
                load = await played((stage, flapping)[seed % 2], scenario, 4 * SECONDS, seed)
            except BaseExceptionGroup as group:
                raise _first(group) from None
            with capsys.disabled():
                print(f"\n    {stage.kind}, {name}, seed {seed}: {load.told()}")
            if time.monotonic() > ends:
                break
