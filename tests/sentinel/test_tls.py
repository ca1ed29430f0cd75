"""Sentinels and a master that speak TLS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Secured, self_signed
from tests.sentinel.trio import NAME, link
from tests.servers import HOST, Process, nearhit, wait_for


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path)


@pytest.fixture
def servers(tmp_path: Path, certificate: Path) -> Iterator[tuple[Secured, Secured]]:
    """A master, and the one Sentinel that watches it."""
    master = Secured(tmp_path / "master", certificate, 'save ""\n')
    watched = f"sentinel monitor {NAME} {HOST} {master.tls_port} 1\n"
    sentinel = Secured(tmp_path / "sentinel", certificate, watched, "--sentinel")
    started: list[Process] = []
    try:
        for each in (master, sentinel):
            started.append(each)
            each.start()
        yield master, sentinel
    finally:
        for each in started:
            each.kill()


def test_sentinels_and_the_master_are_spoken_to_with_tls(
    servers: tuple[Secured, Secured], certificate: Path
) -> None:
    master, sentinel = servers
    url = f"rediss-sentinel://{HOST}:{sentinel.tls_port}/{NAME}?ssl_ca_certs={certificate}/cert.pem"

    with nearhit(url) as proxy:
        client = link(proxy.port)
        assert client.set("k", "v")
        assert client.get("k") == b"v"
        wait_for(lambda: len(_ports(sentinel)) == 2, what="a connection to the Sentinel")

        for server in servers:
            # The question itself comes without TLS.
            assert _ports(server) == {server.port, server.tls_port}
        assert link(master.port).get("k") == b"v"


def _ports(server: Process) -> set[int]:
    """Those that its clients came by."""
    clients = str(link(server.port).execute_command("CLIENT", "LIST"))
    return {int(port) for port in re.findall(r"laddr\W+[\d.]+:(\d+)", clients)}
