"""Values of 100 MB: they pass through, they are not gathered."""

from __future__ import annotations

import threading
import time

from tests.servers import wait_for

from .conftest import Pair
from .links import MB, Growth, Link, bulk, command, link, pinging

SIZE = 100 * MB
HEAD = b"$%d\r\n" % SIZE
PIECE = b"0123456789abcdef" * (MB // 16)


def upload(client: Link, name: str, megabytes: int = 100) -> None:
    """The first megabytes of ``SET name <100 MB>``."""
    client.send(b"*3\r\n$3\r\nSET\r\n" + bulk(name.encode()) + HEAD)
    for _ in range(megabytes):
        client.socket.sendall(PIECE)
    if megabytes == 100:
        client.socket.sendall(b"\r\n")


def download(client: Link, name: str) -> int:
    """GET it; how many bytes came, all of them checked."""
    client.send(command("GET", name))
    client.socket.settimeout(10)
    got, want, head = 0, len(HEAD) + SIZE + 2, b""
    buffer = bytearray(MB)
    while got < want:
        size = client.socket.recv_into(buffer)
        assert size, f"closed after {got} bytes"
        if got < 1000:
            head += bytes(buffer[:1000])
        start = (got - len(HEAD)) % 16
        if got > len(HEAD) and got + size < want - 2:
            assert buffer[: min(size, 16 - start)] == PIECE[start:16][:size]
        got += size
    assert head.startswith(HEAD + PIECE[:100])
    return got


def test_a_large_value_is_stored_and_read_with_little_memory(pair: Pair) -> None:
    _, proxy = pair
    with pinging(proxy.port), link(proxy.port) as client:
        client.ask("PING")
        growth = Growth(proxy)
        upload(client, "big")
        assert client.read(1, 10) == [b"+OK\r\n"]
        assert growth.peak < 32

        growth.forget()
        assert download(client, "big") == len(HEAD) + SIZE + 2
        assert growth.peak < 160
        assert client.ask("ECHO", "next") == bulk(b"next")


def test_a_pipeline_of_large_values_that_nobody_reads_is_not_all_fetched(pair: Pair) -> None:
    _, proxy = pair
    with link(proxy.port) as client:
        client.send(command("SET", "big", b"v" * 20 * MB))
        assert client.read(1) == [b"+OK\r\n"]
        growth = Growth(proxy)
        client.send(command("GET", "big") * 20)
        with pinging(proxy.port):
            before = -1.0
            while growth.peak != before:  # nobody reads
                before = growth.peak
                time.sleep(0.2)

    assert growth.peak < 100, "20 values of 20 MB"


def test_several_large_values_at_once_arrive_whole(pair: Pair) -> None:
    _, proxy = pair
    clients = [Link(proxy.port) for _ in range(3)]
    for client in clients:
        client.ask("PING")
    growth = Growth(proxy)
    threads = [
        threading.Thread(target=upload, args=(client, f"big{at}"))
        for at, client in enumerate(clients)
    ]
    with pinging(proxy.port, 2.0):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [client.read(1, 10) for client in clients] == [[b"+OK\r\n"]] * 3
        assert growth.peak < 3 * 32
        assert clients[0].ask("STRLEN", "big2") == b":%d\r\n" % SIZE
    for client in clients:
        client.close()


def test_an_upload_that_its_client_gives_up_changes_nothing(pair: Pair) -> None:
    server, proxy = pair
    with link(server.port) as direct, link(proxy.port) as other, pinging(proxy.port):
        assert other.ask("SET", "k", "old") == b"+OK\r\n"
        for megabytes in (1, 3, 10, 30):
            with link(proxy.port) as client:
                upload(client, "k", megabytes)
            assert other.ask("GET", "k") == bulk(b"old")

        wait_for(lambda: b"\r\nconnected_clients:3\r\n" in direct.ask("INFO", "clients"), 3,
                 "the lanes of the uploads to be closed")  # fmt: skip
        assert direct.ask("GET", "k") == bulk(b"old")


def test_a_large_argument_of_a_script_passes(pair: Pair) -> None:
    _, proxy = pair
    size = 70 * MB
    with link(proxy.port) as client:
        client.send(
            b"*4\r\n$4\r\nEVAL\r\n" + bulk(b"return #ARGV[1]") + bulk(b"0") + b"$%d\r\n" % size
        )
        for _ in range(70):
            client.send(PIECE)
        client.send(b"\r\n")

        assert client.read(1, 10) == [b":%d\r\n" % size]
