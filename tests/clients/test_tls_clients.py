"""Unmodified clients over TLS: node-redis and ioredis do all that they do without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import self_signed
from tests.clients.test_node_clients import EXPECTED
from tests.clients.worker import outcome
from tests.servers import HOST, any_kind, free_port, nearhit, upstream

pytestmark = pytest.mark.waits
# A killed subscriber comes back by a handshake: behind the news that the check then sends.
EXCEPT = {"client_side_cache", "subscriber_killed"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def url(files: Path) -> Iterator[str]:
    port = free_port()
    flags = ("--tls-listen", f"{HOST}:{port}", "--tls-cert", f"{files}/cert.pem")
    with (
        upstream(any_kind()) as server,
        nearhit(f"redis://{HOST}:{server.port}", *flags, "--tls-key", f"{files}/key.pem"),
    ):
        yield f"rediss://{HOST}:{port}/0"


@pytest.mark.parametrize(
    ("script", "protocol"), [("node_redis", 3), ("ioredis", 2)], ids=["node_redis", "ioredis"]
)
def test_a_node_client_works_over_tls(
    url: str, files: Path, javascript: Path, script: str, protocol: int
) -> None:
    argv = ["node", f"{script}.mjs", url, str(protocol)]

    found = outcome(argv, javascript, seconds=100, NODE_EXTRA_CA_CERTS=f"{files}/cert.pem")

    wanted: dict[str, Any] = EXPECTED[script]
    for check in wanted.keys() - EXCEPT:
        assert found[check] == wanted[check], check
