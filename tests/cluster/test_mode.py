"""One server's URL that leads to a node of a cluster, and nodes that announce other addresses."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest
from nearhit.proxy.errors import NODE_OF_CLUSTER

from tests import clusters
from tests.clusters import Cluster, key_in
from tests.servers import HOST, Process, free_port, nearhit, upstream, wait_for
from tests.wire.link import Link, command

FAR = (key_in(0), key_in(8000), key_in(16000))


def serves_all_slots(port: int) -> bool:
    link = Link(port)
    try:
        return all(link.ask("SET", key, "v", seconds=15) == b"+OK\r\n" for key in FAR)
    finally:
        link.close()


def log_of(proxy: Process) -> str:
    return proxy.log.read_text()


def test_a_node_under_a_servers_url_is_served_as_its_cluster(cluster: Cluster) -> None:
    with nearhit(f"redis://{HOST}:{cluster.nodes[0].port}") as proxy:
        assert serves_all_slots(proxy.port)
        ready = next(line for line in log_of(proxy).splitlines() if " ready: " in line)
        assert "a cluster of 3 primaries and 3 replicas" in ready
        assert "upstream is a cluster" in log_of(proxy)


def test_a_start_at_a_node_warns_of_nothing(single: Cluster) -> None:
    with nearhit(f"redis://{HOST}:{single.nodes[0].port}") as proxy:
        assert serves_all_slots(proxy.port)
        log = log_of(proxy)

    assert "upstream is a cluster" in log
    assert "handshake refused" not in log
    assert "gives no COMMAND" not in log


def test_a_cluster_of_one_node_is_a_cluster_too(single: Cluster) -> None:
    with nearhit(f"redis://{HOST}:{single.nodes[0].port}") as proxy:
        assert serves_all_slots(proxy.port)
        assert "a cluster of 1 primary" in log_of(proxy)


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_workers_each_find_the_cluster(cluster: Cluster) -> None:
    with nearhit(f"redis://{HOST}:{cluster.nodes[0].port}", "--workers", "2") as proxy:
        for _ in range(8):
            assert serves_all_slots(proxy.port)


def test_off_hands_redirections_on(cluster: Cluster) -> None:
    with nearhit(f"redis://{HOST}:{cluster.nodes[0].port}", "--cluster", "off") as proxy:
        link = Link(proxy.port)

        answers = [link.ask("SET", key, "v") for key in FAR]

        assert any(answer.startswith(b"-MOVED ") for answer in answers), answers
        link.close()


def test_a_node_behind_a_socket_file_is_served_as_its_cluster(tmp_path: Path) -> None:
    with clusters.cluster("valkey", 2, 0, unixsocket=str(tmp_path / "s")) as made:
        # Both nodes are told the same path: it is the second's.
        assert len(made.nodes) == 2
        with nearhit(f"unix://{tmp_path}/s") as proxy:
            assert serves_all_slots(proxy.port)


@pytest.fixture
def away() -> Iterator[Cluster]:
    with clusters.cluster("valkey", 2, 0) as made:
        yield made


def test_a_node_that_was_away_at_the_start_is_served_as_its_cluster(
    away: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listens(process: Process) -> bool:
        with contextlib.suppress(OSError):
            Link(process.port).close()
            return True
        return False

    for member in away.nodes:
        member.kill()
    with monkeypatch.context() as patch:
        patch.setattr(Process, "answers", listens)
        started = nearhit(f"redis://{HOST}:{away.nodes[0].port}")
        proxy = started.__enter__()
    try:
        link = Link(proxy.port)
        assert link.ask("SET", FAR[0], "1", seconds=10).startswith(b"-UPSTREAM no connection")
        for member in away.nodes:
            member.start()
        answers = set[bytes]()

        def served() -> bool:
            with contextlib.suppress(OSError, EOFError, AssertionError):
                other = Link(proxy.port)
                try:
                    found = [other.ask("INCR", key, seconds=15) for key in FAR]
                finally:
                    other.close()
                answers.update(found)
                return all(answer.startswith(b":") for answer in found)
            return False

        wait_for(served, 30, "it is a cluster")
        link.close()
        assert not any(b"MOVED" in answer for answer in answers), answers
    finally:
        started.__exit__(None, None, None)


def test_a_server_that_turns_into_a_node_has_those_who_wait_told_and_serves_who_comes(
    away: Cluster,
) -> None:
    """By RESP and over HTTP: nothing of what waited is sent to the one node."""
    node = away.nodes[0]
    for member in away.nodes:
        member.kill()
    port, env = free_port(), {"NEARHIT_ENV": "production"}

    def http(key: bytes) -> tuple[int, str]:
        with contextlib.closing(HTTPConnection(HOST, port, timeout=20)) as link:
            link.request("GET", f"/api/cache/{quote(key)}")
            answer = link.getresponse()
            return answer.status, answer.read().decode()

    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(upstream("valkey", port=node.port))
        flags = ("--http", f"{HOST}:{port}", "--near-cache", "off")
        proxy = stack.enter_context(nearhit(f"redis://{HOST}:{node.port}", *flags, env=env))
        link, told = Link(proxy.port), list[tuple[int, str]]()
        assert link.ask("SET", FAR[2], "1") == b"+OK\r\n"
        assert http(FAR[2])[0] == 200
        alone.kill()
        wait_for(lambda: "connect failed" in log_of(proxy), 10, "the proxy has noticed")
        link.send(b"".join(command("INCR", key) for key in FAR))
        waiting = threading.Thread(target=lambda: told.append(http(FAR[2])))
        waiting.start()
        for member in away.nodes:
            member.start()

        answers = link.read(len(FAR), 20)
        waiting.join(20)

        assert all(answer.startswith(NODE_OF_CLUSTER) for answer in answers), answers
        [(status, text)] = told
        assert status == 503
        assert "is a node of a cluster" in text
        assert serves_all_slots(proxy.port)
        assert [node.ask("EXISTS", FAR[0])] == [1]
        assert http(FAR[2])[0] == 200
        link.close()


# --- address_map --------------------------------------------------------------------------------


class Forwarder(socketserver.ThreadingTCPServer):
    """Bytes that come here go to another port, and what comes back comes back."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, here: int, there: int) -> None:
        super().__init__((HOST, here), Forwarded)
        self.there = there


class Forwarded(socketserver.BaseRequestHandler):
    server: Forwarder

    def handle(self) -> None:
        with socket.create_connection((HOST, self.server.there)) as there:
            back = threading.Thread(target=pump, args=(there, self.request), daemon=True)
            back.start()
            pump(self.request, there)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def forwarders(ports: dict[int, int]) -> Iterator[None]:
    """For each port to listen on, the one that bytes go to and come from."""
    with contextlib.ExitStack() as stack:
        for here, there in ports.items():
            one = stack.enter_context(Forwarder(here, there))
            threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(one.shutdown)
        yield


def test_nodes_that_announce_other_ports_are_dialled_by_the_map(cluster: Cluster) -> None:
    announced = {member.port: free_port() for member in cluster.nodes}
    behind = {free_port(): member.port for member in cluster.nodes}
    table = ",".join(
        f"{HOST}:{announced[port]}={HOST}:{outside}" for outside, port in behind.items()
    )
    node = cluster.nodes[0]
    for member in cluster.nodes:
        member.ask("CONFIG", "SET", "cluster-announce-port", announced[member.port])

    def all_heard() -> bool:
        return all(
            {each.port for each in member.topology().nodes} == set(announced.values())
            for member in cluster.nodes
        )

    try:
        wait_for(all_heard, 20, "all announce their other ports")
        outside = next(here for here, port in behind.items() if port == node.port)
        with (
            forwarders(behind),
            nearhit(f"redis://{HOST}:{outside}", "--address-map", table) as proxy,
        ):
            assert serves_all_slots(proxy.port)
            with cluster_moved(cluster, 0):
                assert serves_all_slots(proxy.port)
    finally:
        for member in cluster.nodes:
            member.ask("CONFIG", "SET", "cluster-announce-port", 0)
        wait_for(
            lambda: all(
                {each.port for each in member.topology().nodes} == set(announced)
                for member in cluster.nodes
            ),
            20,
            "all announce their own ports again",
        )


@contextlib.contextmanager
def cluster_moved(cluster: Cluster, slot: int) -> Iterator[None]:
    """The slot is another primary's: a MOVED names a port that nobody listens on."""
    was = cluster.nodes[0]
    cluster.move_whole(slot, cluster.nodes[1])
    try:
        yield
    finally:
        cluster.move_whole(slot, was)
