"""The embedded cluster: becomes one, stays one, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from nearhit.proxy.cluster.topology import parse_slots
from nearhit.proxy.errors import StartError
from nearhit.proxy.process import embedded_cluster
from nearhit.proxy.process.embedded import find_server
from nearhit.proxy.process.embedded_cluster import EmbeddedCluster
from nearhit.proxy.resp.replies import parsed

from tests.clusters import key_in
from tests.servers import wait_for
from tests.wire.link import Link


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the servers' private folders are made."""
    path = tmp_path_factory.mktemp("f")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(path))
        yield path


@pytest.fixture(scope="module")
def cluster(folders: Path) -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(find_server(), 3) as started:
        yield started


def login(cluster: EmbeddedCluster) -> tuple[str, list[int]]:
    """(password, ports)"""
    password, _, seeds = cluster.url.removeprefix("redis-cluster://:").partition("@")
    return password, [int(seed.rpartition(":")[2]) for seed in seeds.split(",")]


def ask(cluster: EmbeddedCluster, number: int, *words: str | bytes) -> bytes:
    password, ports = login(cluster)
    link = Link(ports[number])
    try:
        assert link.ask("AUTH", password) == b"+OK\r\n"
        return link.ask(*words)
    finally:
        link.close()


def test_three_servers_share_all_slots(cluster: EmbeddedCluster) -> None:
    _, ports = login(cluster)

    for number in range(3):
        found = parse_slots(parsed(ask(cluster, number, "CLUSTER", "SLOTS")), "127.0.0.1")
        assert found.missing == 0
        assert {shard.primary.port for shard in found.shards} == set(ports)
        assert ask(cluster, number, "SET", key_in(6000 * number), "v") == b"+OK\r\n"
    assert cluster.version.startswith("cluster of 3 Valkey 9.")
    assert repr(cluster) == f"<EmbeddedCluster ports={ports}>"


def test_nobody_gets_in_without_the_password(cluster: EmbeddedCluster) -> None:
    password, ports = login(cluster)

    link = Link(ports[0])
    assert link.ask("PING").startswith(b"-NOAUTH")
    link.close()
    for pid in cluster.pids:
        assert password not in Path(f"/proc/{pid}/cmdline").read_text()


def test_a_node_that_dies_comes_back_to_its_slots(cluster: EmbeddedCluster) -> None:
    cluster.watch()
    pid = cluster.pids[1]

    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        try:
            return ask(cluster, 1, "GET", key_in(6000)) == b"$-1\r\n"
        except (OSError, AssertionError):
            return False

    wait_for(back, 10, "the node is back")
    assert cluster.pids[1] != pid


def test_stopping_leaves_neither_processes_nor_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmbeddedCluster(find_server(), 1) as cluster:
        pids = cluster.pids
        assert len(list(tmp_path.iterdir())) == 1

    assert list(tmp_path.iterdir()) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_tending_tells_when_the_first_of_the_dead_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmbeddedCluster(find_server(), 1) as cluster:
        assert cluster.tend(1e9) is None
        os.kill(cluster.pids[0], signal.SIGKILL)
        wait_for(lambda: cluster.tend(1e9) is not None)

        assert cluster.tend(1e9) == pytest.approx(1e9 + 0.05)
        assert cluster.tend(1e9 + 1) is None


def test_servers_that_do_not_become_a_cluster_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("nearhit.proxy.process.embedded_cluster._DEADLINE", 0.0)

    with pytest.raises(StartError, match="did not become a cluster in 0 s") as caught:
        EmbeddedCluster(find_server(), 2)

    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_what_a_server_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("nearhit.proxy.process.embedded_cluster.SLOTS", 20000)

    with pytest.raises(StartError, match=r"the embedded cluster: ERR Invalid .*slot"):
        EmbeddedCluster(find_server(), 1)

    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_another_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = embedded_cluster._free_ports
        given = [[taken.getsockname()[1], free(1)[0]]]
        monkeypatch.setattr(
            embedded_cluster, "_free_ports", lambda count: given.pop() if given else free(count)
        )
        with EmbeddedCluster(find_server(), 1) as cluster:
            assert taken.getsockname()[1] not in login(cluster)[1]
    assert list(tmp_path.iterdir()) == []


def test_without_a_free_port_it_says_what_the_server_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(
            "nearhit.proxy.process.embedded_cluster._free_ports", lambda count: [port, port]
        )

        with pytest.raises(StartError, match="instead of answering"):
            EmbeddedCluster(find_server(), 1)
    assert list(tmp_path.iterdir()) == []
