"""WARM and ``nearhit warm`` with real processes: what is filled, for how long, what is said."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import HOST, Process, any_kind, free_port, nearhit, upstream

COUNTS = (b"requested", b"loaded", b"skipped", b"not_found", b"failed")
CONFIG = """
[loaders.old]
match = "user:{{id}}"
redis = "redis://{host}:{port}"
ttl = "100s"
[loaders.made]
match = "page:{{name}}"
demo = true
"""


@pytest.fixture(scope="module")
def old() -> Iterator[Process]:
    """A server that a loader reads."""
    with upstream("valkey") as process:
        yield process


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    with upstream(request.param) as process:
        yield process


# To the process it is the same.
OF_THE_PROCESS = pytest.mark.parametrize("server", [any_kind()], indirect=True)


@pytest.fixture(scope="module")
def config(old: Process, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("config") / "nearhit.toml"
    file.write_text(CONFIG.format(host=HOST, port=old.port))
    return str(file)


@pytest.fixture(scope="module")
def proxy(server: Process, config: str) -> Iterator[Process]:
    with nearhit(f"redis://{HOST}:{server.port}", "--config", config) as process:
        yield process


@pytest.fixture(autouse=True)
def direct(server: Process, old: Process) -> Iterator[redis.Redis]:
    """The server itself, empty; so is the old one."""
    with redis.Redis(port=server.port) as client, redis.Redis(port=old.port) as other:
        client.flushall()
        other.flushall()
        yield client


@pytest.fixture
def client(proxy: Process, resp: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=proxy.port, protocol=resp) as client:
        yield client


def named(reply: Any) -> dict[bytes, Any]:
    """WARM's map, in either protocol."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def counts(reply: Any) -> list[int]:
    return [named(reply)[name] for name in COUNTS]


# --- The command


def test_missing_keys_are_loaded_and_the_others_left(
    client: redis.Redis, direct: redis.Redis, old: Process
) -> None:
    with redis.Redis(port=old.port) as other:
        other.set("user:1", "Ada", ex=100)
    direct.set("user:2", "Bob")

    reply: Any = client.execute_command("WARM", "user:1", "user:2", "user:3", "what")

    assert counts(reply) == [4, 1, 1, 1, 1]
    assert named(reply)[b"errors"] == [[b"what", b"NOLOADER no loader matches 'what'"]]
    assert direct.mget("user:1", "user:2", "user:3") == [b"Ada", b"Bob", None]
    assert 90 <= direct.ttl("user:1") <= 100  # as it is there


def test_refresh_loads_what_is_there_too(
    client: redis.Redis, direct: redis.Redis, old: Process
) -> None:
    with redis.Redis(port=old.port) as other:
        other.set("user:1", "new")
    direct.set("user:1", "old")

    reply: Any = client.execute_command("WARM", "REFRESH", "KEYS", "user:1")

    assert counts(reply) == [1, 1, 0, 0, 0]
    assert direct.get("user:1") == b"new"


def test_a_named_loader_loads_keys_that_are_not_its_own(
    client: redis.Redis, direct: redis.Redis
) -> None:
    reply: Any = client.execute_command("WARM", "PX", 50_000, "LOADER", "made", "KEYS", "user:1")

    assert counts(reply) == [1, 1, 0, 0, 0]
    assert 44 <= direct.ttl("user:1") <= 55


def test_getorset_behind_it_in_a_pipeline_sees_what_it_wrote(client: redis.Redis) -> None:
    with client.pipeline(transaction=False) as pipeline:
        pipeline.set("k", "old")
        pipeline.execute_command("GETORSET", "k")
        pipeline.execute_command("WARM", "REFRESH", "VALUES", "a", "1", "k", "new", "b", "2")
        pipeline.execute_command("GETORSET", "k")
        replies = pipeline.execute()

    assert replies[1::2] == [b"old", b"new"]


def test_those_of_one_pipeline_keep_their_order_and_reads_stand_between(
    client: redis.Redis, direct: redis.Redis
) -> None:
    with client.pipeline(transaction=False) as pipeline:
        pipeline.set("k", "old")
        pipeline.get("k")
        for number in range(200):
            pipeline.execute_command("WARM", "REFRESH", "VALUES", "k", number, f"k{number}", "1")
        pipeline.get("k")
        pipeline.execute_command("WARM", "VALUES", "k", "not", "z", "1")
        pipeline.get("z")
        replies: list[Any] = pipeline.execute()

    assert replies[1] == b"old"
    assert all(counts(reply) == [2, 2, 0, 0, 0] for reply in replies[2:202])
    assert replies[202] == b"199"
    assert counts(replies[203]) == [2, 1, 1, 0, 0]
    assert replies[204] == b"1"
    assert direct.get("k") == b"199"


def test_an_unknown_loader_fails_the_whole(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="no loader is called 'x'"):
        client.execute_command("WARM", "LOADER", "x", "KEYS", "a", "b")


def test_values_are_stored_where_there_are_none_with_spread_times_to_live(
    client: redis.Redis, direct: redis.Redis
) -> None:
    direct.set("v:0", "old")
    words = [word for number in range(1200) for word in (f"v:{number}", number)]

    reply: Any = client.execute_command("WARM", "EX", 100, "VALUES", *words)

    assert counts(reply) == [1200, 1199, 1, 0, 0]
    assert direct.mget("v:0", "v:1", "v:1199") == [b"old", b"1", b"1199"]
    lives = [direct.pttl(f"v:{number}") for number in range(1, 1200)]
    assert 85_000 < min(lives) < 95_000
    assert 105_000 < max(lives) <= 110_000


def test_a_value_takes_the_lease_from_whoever_computes(
    client: redis.Redis, direct: redis.Redis
) -> None:
    _, token = client.execute_command("LEASE", "GET", "v")

    client.execute_command("WARM", "VALUES", "v", "warm")

    assert client.execute_command("LEASE", "SET", "v", token, "stale") == 0
    assert direct.get("v") == b"warm"


def test_the_map_is_flat_in_resp2(client: redis.Redis, resp: int) -> None:
    reply: Any = client.execute_command("WARM", "VALUES", "a", "1")

    assert isinstance(reply, list if resp == 2 else dict)
    names = [*COUNTS, b"elapsed_ms", b"errors"]
    assert list(named(reply)) == names


# --- The process


def warm(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nearhit.proxy", "warm", *words],
        input=given, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@OF_THE_PROCESS
def test_a_file_of_keys_is_warmed_through_a_running_proxy(
    proxy: Process, direct: redis.Redis, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("".join(f"page:{number}\n" for number in range(100)))

    done = warm("--proxy", f"redis://{HOST}:{proxy.port}", "--from", str(file),
                "--concurrency", "16", "--ttl", "50s")  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("nearhit: warmed 100 in ")
    assert done.stderr.endswith(": 100 loaded, 0 skipped, 0 not found, 0 failed\n")
    assert done.stderr.count("\n") == 1
    assert direct.dbsize() >= 100
    assert 44 <= direct.ttl("page:0") <= 55


@OF_THE_PROCESS
def test_without_a_proxy_one_is_started_for_it(
    server: Process, config: str, old: Process, direct: redis.Redis
) -> None:
    with redis.Redis(port=old.port) as other:
        other.mset({f"user:{number}": number for number in range(20)})

    done = warm("--upstream", f"redis://{HOST}:{server.port}", "--config", config,
                "--pattern", "user:*", "--from", "-", given="user:0\nuser:none\n")  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "warmed 22 in " in done.stderr
    # user:0 comes twice: it waits for the load that runs, or finds what that has stored.
    assert re.search(
        r": (20 loaded, 1 skipped|21 loaded, 0 skipped), 1 not found, 0 failed", done.stderr
    )
    assert sorted(direct.keys("user:*")) == sorted(b"user:%d" % number for number in range(20))


@OF_THE_PROCESS
def test_keys_that_fail_are_named_and_the_exit_code_is_1(proxy: Process) -> None:
    done = warm("--proxy", f"redis://{HOST}:{proxy.port}", "page:1", "nobodys")

    assert done.returncode == 1
    assert "nearhit:   'nobodys': NOLOADER no loader matches 'nobodys'\n" in done.stderr


@OF_THE_PROCESS
def test_a_proxy_that_is_not_there_is_exit_code_6() -> None:
    done = warm("--proxy", f"redis://{HOST}:{free_port()}", "a")

    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert "Connection refused" in done.stderr


@OF_THE_PROCESS
def test_a_server_that_is_no_proxy_is_exit_code_6(server: Process) -> None:
    done = warm("--proxy", f"redis://{HOST}:{server.port}", "a")

    assert done.returncode == 6
    assert "is no Nearhit" in done.stderr


@OF_THE_PROCESS
def test_an_upstream_that_is_not_there_is_exit_code_6() -> None:
    done = warm("--upstream", f"redis://:secret@{HOST}:{free_port()}", "a")

    assert done.returncode == 6, done.stderr
    assert "secret" not in done.stderr


@OF_THE_PROCESS
def test_an_upstream_that_refuses_us_is_exit_code_4() -> None:
    with upstream("valkey", "--requirepass", "right") as locked:
        done = warm("--upstream", f"redis://:wrong@{HOST}:{locked.port}", "a")

    assert done.returncode == 4, done.stderr
    assert "wrong@" not in done.stderr
