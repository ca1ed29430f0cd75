"""INVALIDATE and ``nearhit invalidate`` with real processes: what goes, what stays, and that no
load which began before stores afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from nearhit.proxy.keys.ours import lease_key

from tests.servers import HOST, Process, nearhit, server_binary, upstream

KINDS = ["redis", "valkey"]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    if server_binary(request.param) is None:
        pytest.skip(f"no {request.param}-server")
    with upstream(request.param) as process:
        yield process


@pytest.fixture(scope="module")
def proxy(server: Process) -> Iterator[Process]:
    with nearhit(f"redis://{HOST}:{server.port}") as process:
        yield process


@pytest.fixture
def direct(server: Process) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as client:
        client.flushall()
        yield client


@pytest.fixture
def client(proxy: Process, direct: redis.Redis, resp: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=proxy.port, protocol=resp) as client:
        yield client


def fill(client: redis.Redis, prefix: str, count: int) -> None:
    client.mset({f"{prefix}{number}": "x" for number in range(count)})


# --- The command


def test_keys_are_removed_and_counted_once_each(client: redis.Redis, direct: redis.Redis) -> None:
    direct.mset({"a": 1, "b": 2, "KEYS": 3})

    assert client.execute_command("INVALIDATE", "a", "none", "a") == 1
    assert client.execute_command("INVALIDATE", "KEYS", "KEYS", "b") == 2
    assert direct.dbsize() == 0


def test_a_pattern_removes_all_that_match_and_nothing_else(
    client: redis.Redis, direct: redis.Redis
) -> None:
    fill(direct, "user:", 5000)
    fill(direct, "order:", 5000)

    assert client.execute_command("INVALIDATE", "PATTERN", "user:*", "order:1?") == 5010
    assert direct.dbsize() == 4990


@pytest.mark.parametrize("words", [["KEYS", "k"], ["PATTERN", "k*"], ["PATTERN", "*"]])
def test_a_load_that_began_before_stores_nothing_afterwards(
    client: redis.Redis, direct: redis.Redis, words: list[str]
) -> None:
    _, token = client.execute_command("LEASE", "GET", "k")
    assert direct.exists(lease_key(b"k"))

    assert client.execute_command("INVALIDATE", *words) == 0

    assert client.execute_command("LEASE", "SET", "k", token, "stale") == 0
    assert direct.get("k") is None
    assert client.execute_command("LEASE", "GET", "k")[1] not in (None, token)


def test_a_pattern_for_everything_leaves_locks(client: redis.Redis, direct: redis.Redis) -> None:
    direct.set("a", 1)
    token = client.execute_command("LOCK", "ACQUIRE", "resource")

    assert client.execute_command("INVALIDATE", "PATTERN", "*") == 1
    assert client.execute_command("LOCK", "RELEASE", "resource", token) == 1


def test_only_the_clients_own_database_is_searched(
    proxy: Process, client: redis.Redis, direct: redis.Redis
) -> None:
    direct.set("a", 1)
    with redis.Redis(port=proxy.port, db=3) as other:
        other.set("a", 3)
        assert other.execute_command("INVALIDATE", "PATTERN", "*") == 1

    assert direct.get("a") == b"1"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "wrong number of arguments for 'invalidate' command"),
        (["KEYS"], "wrong number of arguments for 'invalidate|keys' command"),
        (["PATTERN"], "wrong number of arguments for 'invalidate|pattern' command"),
    ],
)
def test_what_is_missing_is_said_in_rediss_words(
    client: redis.Redis, words: list[str], error: str
) -> None:
    with pytest.raises(redis.ResponseError) as refused:
        client.execute_command("INVALIDATE", *words)

    assert str(refused.value) == error


def test_what_went_is_counted(client: redis.Redis, direct: redis.Redis) -> None:
    def invalidated() -> int:
        return int(client.info("nearhit")["invalidated"])

    before = invalidated()
    fill(direct, "s:", 700)

    client.execute_command("INVALIDATE", "PATTERN", "s:*")
    client.execute_command("INVALIDATE", "none")

    assert invalidated() == before + 700


# --- The process


def invalidate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nearhit.proxy", "invalidate", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_keys_and_patterns_go_through_a_running_proxy(
    proxy: Process, direct: redis.Redis, tmp_path: Path
) -> None:
    fill(direct, "user:", 1000)
    fill(direct, "file:", 1000)
    direct.mset({"a": 1, "b": 2})
    file = tmp_path / "keys"
    file.write_text("".join(f"file:{number}\n" for number in range(1000)))

    done = invalidate("--proxy", f"redis://{HOST}:{proxy.port}", "a", "--pattern", "user:*",
                      "--from", str(file))  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(": 2,001 removed, 0 failed\n")
    assert direct.keys("*") == [b"b"]


def test_without_a_proxy_one_is_started_for_it(server: Process, direct: redis.Redis) -> None:
    fill(direct, "user:", 10)

    done = invalidate("--upstream", f"redis://{HOST}:{server.port}", "--pattern", "user:*")

    assert done.returncode == 0, done.stderr
    assert "invalidated 10 in " in done.stderr
    assert direct.dbsize() == 0


def test_no_keys_are_a_mistake() -> None:
    done = invalidate()

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_the_statistics_stay_wherever_they_are_kept(server: Process, direct: redis.Redis) -> None:
    direct.hset("my:stats", "hits", 5)
    direct.mset({"k": 1, "nearhit:stats": 2})

    with (
        nearhit(f"redis://{HOST}:{server.port}", "--stats-key", "my:stats") as mine,
        redis.Redis(port=mine.port) as client,
    ):
        assert client.execute_command("INVALIDATE", "PATTERN", "my:*") == 0
        assert client.execute_command("INVALIDATE", "PATTERN", "*") == 2

    assert direct.hget("my:stats", "hits") == b"5"
