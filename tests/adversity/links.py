"""What these tests do with a connection beyond wire/link.py, and what it costs the proxy."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from tests.bench.procfs import memory
from tests.servers import HOST, Process, wait_for
from tests.wire.link import Link, command

MB = 1024 * 1024

__all__ = ["MB", "Growth", "Link", "bulk", "command", "link", "parse_requests", "pinging", "split"]


@contextlib.contextmanager
def link(port: int, receive_buffer: int = 0) -> Iterator[Link]:
    """A client. With a small receive buffer it takes little while it does not read."""
    client = Link(port)
    if receive_buffer:
        client.close()
        client.socket = socket.socket()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.socket.settimeout(4)
        client.socket.connect((HOST, port))
    try:
        yield client
    finally:
        client.close()


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def split(data: bytes) -> list[bytes]:
    """Simple replies (errors, statuses, bulks, integers) of one run, whole ones only."""
    replies: list[bytes] = []
    at = 0
    while (end := data.find(b"\r\n", at)) >= 0:
        end += 2
        if data[at : at + 1] == b"$" and data[at + 1 : at + 2] != b"-":
            end += int(data[at + 1 : end - 2]) + 2
        if end > len(data):
            break
        replies.append(data[at:end])
        at = end
    return replies


def parse_requests(data: bytes) -> tuple[list[list[bytes]], bytes]:
    """The whole requests in data, and what is left."""
    requests: list[list[bytes]] = []
    start = 0
    while True:
        words: list[bytes] = []
        line = data.find(b"\r\n", start)
        if line < 0:
            return requests, data[start:]
        at = line + 2
        for _ in range(int(data[start + 1 : line])):
            line = data.find(b"\r\n", at)
            if line < 0:
                return requests, data[start:]
            size = int(data[at + 1 : line])
            words.append(data[line + 2 : line + 2 + size])
            at = line + size + 4
            if at > len(data):
                return requests, data[start:]
        requests.append(words)
        start = at


class Growth:
    """Resident memory of the proxy, against what it was; sampled, so that no peak is missed."""

    def __init__(self, proxy: Process | int) -> None:
        pid = proxy if isinstance(proxy, int) else proxy.pid
        self._pids = frozenset({pid})
        self._path = f"/proc/{pid}/clear_refs"
        self.forget()

    def forget(self) -> None:
        with open(self._path, "w", encoding="ascii") as file:
            file.write("5")  # VmHWM starts again from what is resident now
        self.base = memory(self._pids)

    @property
    def peak(self) -> float:
        """MB above the base at the worst moment since."""
        return (memory(self._pids, "VmHWM") - self.base) / MB


class Pinger(threading.Thread):
    """A good client beside the bad ones: one PING after another."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.worst = 0.0
        self.count = 0
        self.wrong = b""
        self._ended = threading.Event()

    def run(self) -> None:
        with link(self.port) as client:
            while not self._ended.is_set() and not self.wrong:
                begin = time.monotonic()
                client.send(command("PING"))
                reply = b"".join(client.read(1, 10))
                self.worst = max(self.worst, time.monotonic() - begin)
                self.count += 1
                if reply != b"+PONG\r\n":
                    self.wrong = reply or b"no reply"

    def end(self) -> None:
        self._ended.set()
        self.join(15)


@contextlib.contextmanager
def pinging(port: int, worst: float = 1.0) -> Iterator[Pinger]:
    """A PING loop; fails at the end when one got no answer in time."""
    pinger = Pinger(port)
    pinger.start()
    wait_for(lambda: pinger.count, 5, "the first PING")
    try:
        yield pinger
    finally:
        pinger.end()
    assert not pinger.wrong, pinger.wrong
    assert pinger.worst < worst, f"a PING waited {pinger.worst:.2f} s"
