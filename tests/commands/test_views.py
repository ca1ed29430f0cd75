"""STATS HOTKEYS, BIGKEYS, PREFIXES, SLOWLOG and LATENCY before a real server, by one worker and by
two, and to users who may not see all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from tests.servers import HOST, Kind, Process, nearhit, server_binary, upstream, wait_for

from .behind import client_of

LOADERS = """
[loaders.slow]
match = "load:{id}"
call = "slow_loader:load"
ttl = "100s"
"""
CODE = """
import asyncio
async def load(id):
    await asyncio.sleep(0.15)
    return "loaded"
"""
FLAGS = ("--slowlog", "50ms", "--near-cache", "off", "--log-format", "json")


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"{kind} is not installed")
    with upstream(kind, "--enable-debug-command", "yes") as process:
        yield process


@pytest.fixture(scope="module")
def proxy(server: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("views")
    (folder / "nearhit.toml").write_text(LOADERS)
    (folder / "slow_loader.py").write_text(CODE)
    url, env = f"redis://{HOST}:{server.port}", {"PYTHONPATH": str(folder)}
    with nearhit(url, "--config", str(folder / "nearhit.toml"), *FLAGS, env=env) as process:
        yield process


@pytest.fixture
def client(server: Process, proxy: Process) -> Iterator[Redis]:
    with client_of(server.port) as direct, client_of(proxy.port, client_name="app") as client:
        direct.flushall()
        client.execute_command("STATS", "RESET")
        yield client


def told(client: Redis, *words: str) -> list[dict[str, Any]]:
    """The rows of a view, in either protocol."""
    rows: Any = client.execute_command("STATS", *words)
    maps = [
        row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
        for row in rows
    ]
    return [{name.decode(): value for name, value in row.items()} for row in maps]


def events(process: Process) -> list[dict[str, Any]]:
    lines = process.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def read(client: Redis, keys: list[str], times: int) -> None:
    for _ in range(times):
        for key in keys:
            client.get(key)


def read_until_told(client: Redis, keys: list[str], times: int) -> None:
    """So often, and then until each is one of the hot keys: which are sampled is left to chance."""
    names = {key.encode() for key in keys}

    def all_told() -> bool:
        nonlocal times
        read(client, keys, times)
        times = 500
        return {row["key"] for row in told(client, "HOTKEYS")} >= names

    wait_for(all_told, 60, "each key among the hot ones")


def test_hot_keys_are_found_with_their_sizes_and_hits(client: Redis) -> None:
    client.set("user:1", "v" * 5000)
    client.set("user:2", "v")

    read_until_told(client, ["user:1", "none:3"], 5000)

    assert len(told(client, "HOTKEYS", "1")) == 1
    keys = {row["key"]: row for row in told(client, "HOTKEYS")}
    first = keys[b"user:1"]
    assert 500 < first["reads"] < 12_000
    assert (first["hits"], first["misses"]) == (first["reads"], 0)
    assert first["bytes"] == 5009
    rows = {row["prefix"]: row for row in told(client, "PREFIXES")}
    assert rows[b"none:"]["misses"] == rows[b"none:"]["reads"] > 0
    assert [(row["key"], row["bytes"]) for row in told(client, "BIGKEYS")] == [(b"user:1", 5009)]


def test_each_db_and_user_is_told_of_what_is_theirs(
    server: Process, proxy: Process, client: Redis
) -> None:
    read_until_told(client, ["mine:a", "theirs:b"], 4000)
    with client_of(proxy.port, db=1) as other:
        assert told(other, "HOTKEYS") == []
    client.execute_command("ACL", "SETUSER", "narrow", "on", ">p", "~mine:*", "+@all")
    with client_of(proxy.port, username="narrow", password="p") as narrow:
        assert {row["key"] for row in told(narrow, "HOTKEYS")} == {b"mine:a"}
        assert {row["prefix"] for row in told(narrow, "PREFIXES")} == {b"mine:"}
    client.execute_command("ACL", "SETUSER", "narrow", "-slowlog")
    with (
        client_of(proxy.port, username="narrow", password="p") as narrow,
        pytest.raises(NoPermissionError),
    ):
        told(narrow, "SLOWLOG")


@pytest.mark.parametrize("resp", [2, 3])
def test_a_slow_command_is_told_of_and_logged_and_its_values_are_not(
    proxy: Process, client: Redis, resp: int
) -> None:
    with client_of(proxy.port, resp, client_name="slow-one") as slow:
        slow.execute_command("DEBUG", "SLEEP", "0.3")
        slow.set("k", "secret")
        wait_for(lambda: told(slow, "SLOWLOG"))
        row = told(slow, "SLOWLOG")[0]

    assert row["command"] == b"DEBUG ... (2 more arguments)"
    assert 200_000 < row["duration_us"] < 5_000_000
    assert row["upstream_us"] > row["queue_us"]
    assert row["load_us"] == 0
    assert row["name"] == b"slow-one"
    assert re.fullmatch(rb"127\.0\.0\.1:\d+", row["addr"])
    line = [one for one in events(proxy) if one["event"] == "slow command"][-1]
    assert (line["level"], line["command"]) == ("warning", "DEBUG ... (2 more arguments)")
    assert (line["peer"].encode(), line["client_name"]) == (row["addr"], "slow-one")
    assert "secret" not in proxy.log.read_text()


def test_what_is_loaded_slowly_is_told_of_with_the_load(client: Redis) -> None:
    assert client.execute_command("GETORSET", "load:1") == b"loaded"

    (row,) = told(client, "SLOWLOG")

    assert row["command"] == b"GETORSET load:1"
    assert row["load_us"] >= 140_000
    assert row["duration_us"] == pytest.approx(row["load_us"] + row["upstream_us"], abs=2)


def test_latency_is_told_by_class_and_tier(client: Redis) -> None:
    read(client, ["k"], 8000)  # of which one in 512 to 1,536 is timed

    rows = {(row["class"], row["tier"]): row for row in told(client, "LATENCY")}

    row = rows[b"read", b"server"]
    assert 4 <= row["samples"] <= 25
    assert 0 < row["p50_us"] <= row["p90_us"] <= row["p99_us"] <= row["p999_us"] <= row["max_us"]
    assert rows[b"read", b"all"]["samples"] == row["samples"]


def test_a_reset_is_of_all(client: Redis) -> None:
    read(client, ["k"], 2000)
    client.execute_command("GETORSET", "load:1")
    assert told(client, "HOTKEYS")
    assert told(client, "SLOWLOG")

    client.execute_command("STATS", "RESET")

    assert (told(client, "HOTKEYS"), told(client, "SLOWLOG")) == ([], [])
    assert sum(row["samples"] for row in told(client, "LATENCY")) <= 1


def test_any_of_two_workers_tells_of_both(tmp_path: Path) -> None:
    """Workers take clients as the system gives them: so many clients are not all one worker's."""
    with ExitStack() as stack:
        behind = stack.enter_context(upstream("valkey"))
        url = f"redis://{HOST}:{behind.port}"
        process = stack.enter_context(nearhit(url, "--workers", "2", *FLAGS))
        clients = [stack.enter_context(client_of(process.port)) for _ in range(16)]
        for one in clients:
            read(one, ["k"], 500)

        def as_one() -> bool:
            reads = {told(one, "HOTKEYS")[0]["reads"] for one in clients}
            return len(reads) == 1 and reads.pop() > 2500

        wait_for(as_one)
        clients[0].execute_command("STATS", "RESET")
        wait_for(lambda: not any(told(one, "HOTKEYS") for one in clients))
