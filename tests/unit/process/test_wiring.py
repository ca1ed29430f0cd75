"""What a process is made of: each part has its values, and they are joined as drawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nearhit.commands import COMMANDS
from nearhit.proxy.errors import ProxyError, ServerError, StartError, UpstreamDown, UpstreamRefused
from nearhit.proxy.process.keeping import swaps_of
from nearhit.proxy.process.wiring import Parts, Told, http_of, wire
from nearhit.proxy.settings.address import Tcp
from nearhit.proxy.settings.config import load
from nearhit.proxy.stats.counters import READS
from nearhit.proxy.upstream.ask import Done
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, Use, User
from nearhit.proxy.upstream.sentinel.answers import Change, Naming
from nearhit.proxy.upstream.sentinel.lane import MasterLane

from tests.fakes import Tasks

LOADERS = """
[loaders.users]
match = "user:{id}"
redis = "redis://127.0.0.1:1"
read_through = true
"""


@dataclass
class Process:
    """Makes parts, and keeps what they tell and start."""

    tasks: Tasks = field(default_factory=Tasks)
    work: Tasks = field(default_factory=Tasks)
    told: list[str] = field(default_factory=list)

    def wired(
        self, file: str = "", upstream: str = "unix:///nowhere/s?db=3", **given: str
    ) -> Parts:
        def tell(what: str) -> Callable[..., None]:
            return lambda *_: self.told.append(what)

        return wire(
            load({**given, "config": "nearhit.toml"}, {}, lambda path: file),
            upstream,
            loop=asyncio.get_running_loop(),
            start=self.tasks.start,
            start_work=self.work.start,
            told=Told(
                tell("left"), tell("ready"), tell("refused"), tell("unknown"), tell("cluster")
            ),
        )


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    process = Process()
    yield process
    await process.work.stop()
    await process.tasks.stop()


async def test_nothing_runs_and_nothing_is_connected_yet(process: Process) -> None:
    parts = process.wired()

    assert (process.tasks.running, process.work.running, process.told) == ([], [], [])
    assert len(parts.lanes) == 0
    assert parts.primary.key == LaneKey(db=3)


async def test_our_commands_stand_in_the_table_and_in_the_scopes(process: Process) -> None:
    parts = process.wired()

    names = {spec.name for spec in COMMANDS}
    assert set(parts.scopes.specs) == names
    assert parts.context.table.ours.commands == names
    assert parts.context.customs is parts.scopes.specs


async def test_values_of_the_settings_reach_their_parts(process: Process) -> None:
    parts = process.wired(max_clients="7", near_cache="1mb", max_waiters="5", env="production")
    pinned = process.wired(max_pinned="7", pinned_wait="1s", command_timeout="9s").lanes

    assert parts.context.clients.limit == 7
    assert parts.context.near is not None
    assert parts.context.table.ours.near
    assert parts.lanes.dial.retry.attempts == 20
    assert parts.lanes.dial.address == "/nowhere/s"
    assert (pinned.pinned_max, pinned._pinned_wait, pinned._most_s) == (7, 1.0, 9.0)
    slow = process.wired(command_timeout="9s", slow_command_timeout="20s").lanes
    scripts = slow.shared(LaneKey(use=Use.SCRIPTS))
    assert repr(scripts._deadline) == "<Deadline most=20.0 slow=20.0>"


async def test_without_a_near_cache_nothing_is_read_near(process: Process) -> None:
    parts = process.wired(near_cache="off")

    assert parts.context.near is None
    assert not parts.context.table.ours.near
    assert parts.scopes.scope(LaneKey()).tracked.near is None


async def test_loaders_decide_what_writes_and_reads_must_pass(process: Process) -> None:
    without = process.wired(env="production").context.table.ours
    parts = process.wired(LOADERS, env="production")

    assert (without.voids, without.reads_through) == (False, False)
    assert parts.context.table.ours.voids
    assert parts.context.table.ours.reads_through
    assert parts.context.loaders.manages(b"user:1")
    await parts.loaders.close()


async def test_development_has_a_loader_without_any_file(process: Process) -> None:
    assert repr(process.wired(env="development").loaders) == "<Loaders demo>"
    assert repr(process.wired(env="production").loaders) == "<Loaders none>"


async def test_http_makes_values_up_in_development_where_nobody_has_a_loader(
    process: Process,
) -> None:
    assert process.wired(env="development").http_demo
    assert not process.wired(env="production").http_demo
    parts = process.wired(LOADERS, env="development")
    assert not parts.http_demo
    await parts.loaders.close()


async def test_http_may_be_asked_under_the_names_that_it_listens_on(process: Process) -> None:
    parts = process.wired(
        http="nearhit:3000,unix:///s", http_hosts="cache.internal", protected_mode="off"
    )

    assert parts.http_hosts == ("cache.internal", "nearhit")


async def test_a_function_that_is_not_there_is_a_start_error(process: Process) -> None:
    with pytest.raises(StartError, match="no_such"):
        process.wired('[loaders.l]\nmatch = "user:{id}"\ncall = "json:no_such"\n')


async def test_a_db_has_its_own_lanes_and_waits_with_all_others(process: Process) -> None:
    parts = process.wired(max_waiters="1")
    here, there = parts.scopes.scope(LaneKey(db=1)), parts.scopes.scope(LaneKey(db=2))

    assert (here.tracked.key.db, there.tracked.key.db) == (1, 2)
    assert here.call.upstream is here.tracked.upstream
    assert here.call.leases is here.leases
    assert here.call.locks is here.locks
    assert here.flights is not there.flights


async def test_jobs_are_those_of_a_db_and_of_a_users_name(process: Process) -> None:
    parts = process.wired()
    scope = parts.scopes.scope
    ann = User(b"ann", b"pw")
    own = scope(LaneKey(db=1, user=ann)).call.jobs

    async def work() -> None:
        await asyncio.Event().wait()

    id = own.start("WARM", work, dict, total=None, size=0)

    assert scope(LaneKey(db=1, user=User(b"ann", b"new"))).call.jobs.ids("WARM") == [id]
    for key in (LaneKey(db=1), LaneKey(user=ann), LaneKey(db=1, user=User(b"bob", b"pw"))):
        assert scope(key).call.jobs.ids("WARM") == []
    assert parts.stats.own()["jobs_running"] == 1


async def test_reads_are_counted_once_for_the_process_and_the_fleet(process: Process) -> None:
    parts = process.wired(stats_key="off")

    parts.context.turn.hits += 2
    parts.stats.add("misses")

    assert [parts.stats.reading(row) for row in READS] == [2, 1]
    assert await parts.fleet.totals() == (2, 1)
    assert b"\r\nhits:2\r\nmisses:1\r\n" in parts.context.info()


@pytest.mark.parametrize(
    ("file", "given", "kept"),
    [("", {}, False), (LOADERS, {}, True), ("", {"stats_key": "ours"}, True)],
    ids=["passing on", "loaders", "a key"],
)
async def test_counts_go_to_the_server_from_the_first_use_on_or_where_settings_want_them(
    process: Process, file: str, given: dict[str, str], kept: bool
) -> None:
    parts = process.wired(file, **given)
    parts.stats.add("misses")

    parts.fleet.tick()
    assert bool(parts.primary.offline) is kept

    parts.scopes.parse([b"STATS"])
    parts.fleet.tick()
    assert parts.primary.offline
    await parts.loaders.close()


async def test_who_is_told_is_the_server(process: Process) -> None:
    parts = process.wired()
    lane: Lane = parts.primary

    parts.lanes.lane_ready(lane)
    parts.lanes.lane_refused(lane, UpstreamRefused(b"-WRONGPASS", True))
    parts.context.learn()

    assert process.told == ["ready", "refused", "unknown"]


async def test_a_session_asks_as_the_user_of_the_upstreams_url(process: Process) -> None:
    parts = process.wired()

    assert parts.session().context is parts.context


async def test_http_asks_in_the_db_of_the_upstreams_url(
    process: Process, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from nearhit.proxy.http import api

    made: list[api.Api] = []

    class Http(api.Http):
        def __init__(self, given: api.Api) -> None:
            made.append(given)

    monkeypatch.setattr(api, "Http", Http)
    parts = process.wired(near_cache="off")
    asked: list[tuple[bytes, ...]] = []
    failures = dict[tuple[bytes, ...], ProxyError]()

    async def ask(*words: bytes) -> bytes | None:
        asked.append(words)
        if words in failures:
            raise failures[words]
        return None if words == (b"GET", b"gone") else b"value"

    upstream = parts.scopes.scope(LaneKey(db=3)).tracked.upstream
    monkeypatch.setattr(upstream, "ask", ask)
    http_of(parts)
    (handed,) = made

    assert await handed.get(b"k") == b"value"
    assert await handed.get(b"gone") is None
    assert await handed.ping() == b"value"
    assert await handed.run([b"GETORSET", b"k"]) == b"value"
    assert asked == [(b"GET", b"k"), (b"GET", b"gone"), (b"PING",), (b"GET", b"k")]
    assert parts.stats.running("hits") == 2
    assert b"nearhit_hits_total 2" in handed.metrics()

    failures[b"GET", b"away"] = UpstreamDown("refused")
    failures[b"GET", b"list"] = ServerError(b"-WRONGTYPE no string")
    assert await handed.get(b"away") is None, "its loader is asked next"
    with pytest.raises(ServerError, match="WRONGTYPE"):
        await handed.get(b"list")

    parts.lanes._doubts.take(True)
    with pytest.raises(UpstreamDown, match="says nothing"):
        await handed.ping()


@pytest.mark.parametrize("env", ["development", "production"])
async def test_http_is_handed_what_makes_values_up_in_development_alone(
    process: Process, env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr("nearhit.proxy.http.api.Http", made.append)

    http_of(process.wired(env=env))

    (handed,) = made
    assert (handed.demo is not None) is (env == "development")
    if handed.demo is not None:
        value, ttl_ms = await handed.demo(b"k")
        assert b"k" in value
        assert ttl_ms > 0


INFO = b"$99\r\n# Commandstats\r\ncmdstat_%b:calls=%d,usec=9,usec_per_call=9.00\r\n\r\n"


@pytest.mark.parametrize(("name", "fired"), [(b"swapdb", True), (b"acl|setuser", False)])
async def test_a_swap_that_others_made_wakes_those_who_wait_and_empties_the_near_cache(
    process: Process, name: bytes, fired: bool
) -> None:
    """New rights empty it too; what waits for a lock has nothing to see there."""
    parts = process.wired(near_cache="1mb")
    near = parts.context.near
    assert near is not None
    space = near.space(3, None)
    asked: list[Done] = []
    parts.primary.ask = lambda done, *_: asked.append(done)  # type: ignore[method-assign]
    swaps = swaps_of(parts)
    with parts.scopes.scope(LaneKey(db=3)).tracked.watch(b"lock:{r}") as watch:
        swaps.tick()
        asked.pop()(INFO % (name, 1))
        watch.clear()
        ticket = space.reserve(b"k")
        assert ticket is not None

        swaps.tick()
        asked.pop()(INFO % (name, 2))

        assert watch.fired is fired
        assert not ticket.valid


SENTINELS = "redis-sentinel://127.0.0.1:1/m/3"


async def test_one_server_has_no_master_to_find(process: Process) -> None:
    parts = process.wired()

    assert parts.master is None
    assert type(parts.primary) is Lane


async def test_where_sentinels_name_it_lanes_dial_the_master(process: Process) -> None:
    parts = process.wired(upstream=SENTINELS, env="development")

    assert parts.master is not None
    assert parts.lanes.dial is parts.master.dial
    assert parts.lanes.dial.retry.attempts == 20  # a failover takes seconds
    assert type(parts.primary) is MasterLane
    assert parts.primary.key == LaneKey(db=3)
    assert b"\r\nmaster:no master m: no Sentinel has been asked yet\r\n" in parts.context.info()


async def test_a_failover_holds_clients_until_the_master_is_another(process: Process) -> None:
    parts = process.wired(upstream=SENTINELS, hold_writes_on_failover="10s")
    holding, master = parts.context.holding, parts.master
    assert master is not None
    master.watch._take(Naming(Tcp("a", 1), 1), "by a test")
    assert not holding.on

    master.watch.failover(Change.BEGINS)
    assert holding.on
    master.watch.failover(Change.ABORTED)
    assert not holding.on
    master.watch.failover(Change.BEGINS)
    parts.session()
    master.watch._take(Naming(Tcp("b", 1), 2), "by a test")

    assert not holding.on
    assert parts.stats.here()["master_moves"] == 1
