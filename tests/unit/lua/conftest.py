"""A server of each kind for the scripts, empty for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.servers import HOST, Kind, server_binary, upstream


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Redis]:
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind}-server on this machine")
    with upstream(kind) as process, Redis(host=HOST, port=process.port) as client:
        yield client


@pytest.fixture
def redis(server: Redis) -> Redis:
    server.flushall()
    server.config_set("maxmemory", 0)
    return server
