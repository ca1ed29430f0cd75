"""Protected mode with real servers: who may start, and who may come in."""

from __future__ import annotations

import subprocess
import sys
from http.client import HTTPConnection

import pytest
from redis import Redis

from tests.clusters import cluster
from tests.sentinel.trio import trio
from tests.servers import HOST, Kind, any_kind, free_port, nearhit, upstream

TOKEN = "0123456789abcdef"
ANYWHERE = "0.0.0.0"


def refusal(url: str | None, *flags: str) -> str:
    """What is said by a proxy that does not start."""
    argv = [sys.executable, "-m", "nearhit.proxy", "serve", "--http", "off"]
    argv += ["--listen", f"{ANYWHERE}:{free_port()}", *flags]
    argv += [] if url is None else ["--upstream", url]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_it_does_not_start_before_a_server_that_lets_anybody_in(kind: Kind) -> None:
    with upstream(kind) as server:
        said = refusal(f"redis://{HOST}:{server.port}")

    assert "protected mode: anybody who reaches 0.0.0.0:" in said
    assert "set protected_mode = off" in said


def test_a_password_in_the_url_lets_anybody_in_as_well() -> None:
    with upstream(any_kind(), "--requirepass", "pw") as server:
        said = refusal(f"redis://:pw@{HOST}:{server.port}", "--workers", "2")

    assert "protected mode" in said
    assert ":pw@" not in said


def test_nor_before_sentinels_or_a_cluster_or_its_own_server() -> None:
    with trio(any_kind()) as three:
        assert "protected mode" in refusal(three.url)
    with cluster(any_kind(), 3, 0) as nodes:
        assert "protected mode" in refusal(f"redis-cluster://{HOST}:{nodes.nodes[0].port}")
        assert "protected mode" in refusal(f"redis://{HOST}:{nodes.nodes[0].port}")
    assert "protected mode" in refusal(None)


def test_it_starts_where_the_server_asks_or_it_is_off() -> None:
    port = free_port()
    listen = ("--listen", f"{ANYWHERE}:{port}")
    with upstream(any_kind(), "--requirepass", "pw") as server:
        url = f"redis://{HOST}:{server.port}"
        with nearhit(url, *listen), Redis(HOST, port, password="pw") as client:
            assert client.ping()
        url = f"redis://:pw@{HOST}:{server.port}"
        off = nearhit(url, *listen, "--protected-mode", "off")
        with off, Redis(HOST, port) as client:
            assert client.ping()


def asked(port: int, path: str, token: str | None) -> int:
    """The status of a request."""
    link = HTTPConnection(HOST, port, timeout=10)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        link.request("GET", path, headers=headers)
        answer = link.getresponse()
        answer.read()
        assert (answer.headers["WWW-Authenticate"] == "Bearer") == (answer.status == 401)
        return answer.status
    finally:
        link.close()


def test_http_asks_for_the_token(any_port: int) -> None:
    with upstream(any_kind()) as server:
        url = f"redis://{HOST}:{server.port}"
        flags = ("--http", f"{ANYWHERE}:{any_port}")
        with nearhit(url, *flags, env={"NEARHIT_HTTP_TOKEN": TOKEN}) as proxy:
            for path, shown, status in (
                ("/healthz", None, 200),
                ("/api/cache/stats", None, 401),
                ("/metrics", None, 401),
                ("/metrics", "x" * 16, 401),
                ("/api/cache/stats", TOKEN, 200),
                ("/metrics", TOKEN, 200),
            ):
                assert asked(any_port, path, shown) == status, path
            assert TOKEN not in proxy.log.read_text()


@pytest.fixture
def any_port() -> int:
    return free_port()
