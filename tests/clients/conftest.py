"""The targets of the client tests: a Redis 7, a Valkey 9 and a Nearhit before each, per session.

NEARHIT_TEST_DIRECT=1 leaves Nearhit out, to tell a wrong test from a wrong proxy."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tests.clients.target import Target
from tests.servers import HOST, Kind, nearhit, server_binary, upstream

DIRECT = os.environ.get("NEARHIT_TEST_DIRECT") == "1"


@contextmanager
def started(kind: Kind) -> Iterator[Target]:
    if server_binary(kind) is None:
        pytest.skip(f"no {kind}-server on this machine")
    with ExitStack() as stack:
        port = server_port = stack.enter_context(upstream(kind)).port
        if not DIRECT:
            port = stack.enter_context(nearhit(f"redis://{HOST}:{server_port}")).port
        yield Target(kind, port, server_port)


@pytest.fixture(scope="session")
def redis_target() -> Iterator[Target]:
    with started("redis") as target:
        yield target


@pytest.fixture(scope="session")
def valkey_target() -> Iterator[Target]:
    with started("valkey") as target:
        yield target


def emptied(target: Target) -> Target:
    """No key, script or function of an earlier test; through the proxy, so its caches know."""
    with target.client() as client:
        client.flushall()
        client.script_flush()
        client.function_flush()
    return target


@pytest.fixture(params=["redis_target", "valkey_target"], ids=["redis", "valkey"])
def target(request: pytest.FixtureRequest) -> Target:
    return emptied(request.getfixturevalue(request.param))


@pytest.fixture
def queue_target(request: pytest.FixtureRequest) -> Target:
    """One server is enough for the job queues: Redis where it is installed."""
    kind = "redis" if server_binary("redis") else "valkey"
    return emptied(request.getfixturevalue(f"{kind}_target"))


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def protocol(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def connect(target: Target, protocol: int) -> Iterator[Callable[..., Redis]]:
    """Makes sync clients of the test's target and protocol, closed when the test ends."""
    with ExitStack() as stack:

        def make(**options: Any) -> Redis:
            return stack.enter_context(target.client(protocol=protocol, **options))

        yield make


@pytest.fixture
async def connect_async(target: Target, protocol: int) -> AsyncIterator[Callable[..., AsyncRedis]]:
    """Makes asyncio clients of the test's target and protocol, closed when the test ends."""
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> AsyncRedis:
            client = target.async_client(protocol=protocol, **options)
            stack.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
def client(connect: Callable[..., Redis]) -> Redis:
    return connect()


@pytest.fixture(scope="session")
def javascript(request: pytest.FixtureRequest) -> Path:
    """A copy of js/ with its npm packages installed, kept in pytest's cache between runs."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on PATH")
    source = Path(__file__).parent / "js"
    lock = (source / "package-lock.json").read_bytes()
    folder = Path(request.config.cache.mkdir("nearhit-js"))
    installed = folder / "node_modules" / hashlib.sha256(lock).hexdigest()
    with (folder / "lock").open("w") as turn:
        flock(turn, LOCK_EX)  # one process of a run installs, and the others find it done
        no_packages = shutil.ignore_patterns("node_modules")
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=no_packages)
        if not installed.exists():
            # Not `npm ci`: it refuses a lock file without "resolved" hosts when packages are
            # optional.
            argv = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
            run = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=90)
            assert run.returncode == 0, run.stdout + run.stderr
            installed.touch()
    return folder
