"""Clients that ask for much and do not read: bounded memory, others served, order kept."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from tests.servers import nearhit, wait_for

from .conftest import Pair, url
from .fake import Connection, fake
from .links import MB, Growth, Link, command, link, pinging

pytestmark = pytest.mark.alone

GROWTH = 64  # MB


def flood(client: Link, data: bytes, seconds: float = 10) -> int:
    """Send without reading until all is sent or the proxy takes no more; the bytes that it took."""
    client.socket.setblocking(False)
    view, sent = memoryview(data), 0
    deadline = last = time.monotonic()
    while sent < len(data) and time.monotonic() < deadline + seconds:
        try:
            sent += client.socket.send(view[sent : sent + MB])
            last = time.monotonic()
        except BlockingIOError:
            if time.monotonic() > last + 0.5:
                break
            time.sleep(0.002)
    client.socket.settimeout(10)
    return sent


def drain(client: Link, data: bytes, sent: int, expected: list[bytes]) -> None:
    """Send the rest while reading; every reply must come, in order."""
    got, want, deadline = 0, sum(map(len, expected)), time.monotonic() + 20
    at, offset = 0, 0
    client.socket.setblocking(False)
    while got < want:
        assert time.monotonic() < deadline, f"{got} of {want} bytes came"
        if sent < len(data):
            with contextlib.suppress(BlockingIOError):
                sent += client.socket.send(data[sent : sent + MB])
        try:
            chunk = client.socket.recv(MB)
        except BlockingIOError:
            time.sleep(0.0005)
            continue
        assert chunk, f"closed after {got} of {want} bytes"
        got += len(chunk)
        start = 0
        while start < len(chunk):
            step = min(len(chunk) - start, len(expected[at]) - offset)
            assert chunk[start : start + step] == expected[at][offset : offset + step]
            start, offset = start + step, offset + step
            if offset == len(expected[at]):
                at, offset = at + 1, 0


@pytest.mark.parametrize(
    ("size", "count", "read"),
    [(1000, 100_000, True), (100_000, 100_000, False), (100_000, 2000, True)],
)
def test_a_client_that_does_not_read_costs_little_and_gets_all_when_it_reads(
    pair: Pair, size: int, count: int, read: bool
) -> None:
    server, proxy = pair
    names = [f"key{at}" for at in range(7)]
    replies = [b"$%d\r\n%b\r\n" % (size, b"%d" % at * size) for at in range(7)]
    with link(server.port) as direct:
        for at, name in enumerate(names):
            direct.ask("SET", name, str(at) * size)
    data = b"".join(command("GET", names[at % 7]) for at in range(count))
    growth = Growth(proxy)
    with pinging(proxy.port) as pinger, link(proxy.port, 4096) as client:
        sent = flood(client, data)
        settle_count = pinger.count
        wait_for(lambda: pinger.count > settle_count + 200, 5, "pings")
        assert growth.peak < GROWTH
        if read:
            drain(client, data, sent, [replies[at % 7] for at in range(count)])
            assert client.ask("ECHO", "end") == b"$3\r\nend\r\n"
            assert growth.peak < GROWTH


def test_large_replies_after_many_small_ones_cost_no_more(pair: Pair) -> None:
    server, proxy = pair
    with link(server.port) as direct:
        direct.ask("SET", "small", "s")
        direct.ask("SET", "large", "l" * 200_000)
    growth = Growth(proxy)
    with link(proxy.port, 4096) as client, pinging(proxy.port):
        for _ in range(4):  # what the proxy has seen of this client's replies: they are small
            client.send(command("GET", "small") * 1000)
            assert len(client.read(1000)) == 1000
        flood(client, command("GET", "large") * 1000)
        settle_within(growth)

    assert growth.peak < GROWTH, "1000 replies of 200 KB are outstanding at once"


def settle_within(growth: Growth) -> None:
    """Until the peak grows no more."""
    before = -1.0
    while growth.peak != before:
        before = growth.peak
        time.sleep(0.2)


def test_twenty_clients_that_do_not_read_cost_no_more_than_their_bounds(pair: Pair) -> None:
    server, proxy = pair
    with link(server.port) as direct:
        direct.ask("SET", "k", "v" * 10_000)
    growth = Growth(proxy)
    clients = [Link(proxy.port) for _ in range(20)]
    with pinging(proxy.port):
        for client in clients:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            flood(client, command("GET", "k") * 3000, 1)
        settle_within(growth)
    for client in clients:
        client.close()

    # A window of 4 MB each, WRITE_HIGH, and as much again while they are joined.
    assert growth.peak < 20 * 10


def test_nobody_waits_for_a_client_that_does_not_read() -> None:
    """The one whose reply comes just behind that which fills the silent client's buffers."""
    held: list[bytes] = []
    apart = threading.Event()

    def answer(connection: Connection, args: list[bytes]) -> bytes | None:
        if args[0] == b"GET":  # answered when the other's request is there too
            held.append(b"$100000\r\n" + b"v" * 100_000 + b"\r\n")
            return None
        while held:  # the proxy may have held back some GETs and then sent them together
            connection.send(held.pop())
            apart.wait(0.005)  # never set: so that the proxy reads one reply, then the other
        return b"+OK\r\n"

    with (
        fake(answer) as server,
        nearhit(url(server.port), "--drain-timeout", "0s", "--near-cache", "off") as proxy,
        link(proxy.port, 4096) as silent,
        link(proxy.port) as other,
    ):
        for at in range(120):
            silent.send(command("GET", "k"))
            other.ask("GETORSET")  # the proxy says itself that it has no key: it has read the GET
            other.send(command("ECHO", "x"))
            replies = other.read(1, 2)

            assert replies == [b"+OK\r\n"], f"no reply behind the silent client's number {at}"


def test_a_subscriber_that_does_not_read_costs_little(pair: Pair) -> None:
    server, proxy = pair
    growth = Growth(proxy)
    with link(proxy.port, 4096) as silent, link(server.port) as direct:
        silent.ask("SUBSCRIBE", "c")
        with pinging(proxy.port):
            for _ in range(10):
                direct.send(command("PUBLISH", "c", "m" * 100_000) * 100)
                assert len(direct.read(100)) == 100

    assert growth.peak < GROWTH
