"""What hostile clients do: each of these runs in a process of its own until its end.

None of them is clever: they send as fast as they are let, and connect again at once."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from . import client

CHUNK: Final = 1 << 20
SILENT: Final = 10_000
IN_MULTI: Final = 2_000
LORIS: Final = 1_500  # more than HTTP takes at once


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the proxy listens."""

    host: str
    port: int
    tls: int
    http: int


@dataclass(frozen=True, slots=True)
class Attack:
    """A value to put at the key ``victim``, and what the bad clients do."""

    name: str
    run: Callable[[Doors, float], None]
    value: int = 64


def connect(doors: Doors, port: int = 0) -> socket.socket:
    return socket.create_connection((doors.host, port or doors.port), timeout=10)


def push(bad: socket.socket, chunks: Iterable[bytes], end: float) -> int:
    """Send without ever reading, as fast as the proxy takes it; the bytes that it took."""
    bad.setblocking(False)
    taken = 0
    for chunk in chunks:
        left = memoryview(chunk)
        while left:
            wait = end - time.monotonic()
            if wait <= 0 or not select.select([], [bad], [], wait)[1]:
                return taken
            sent = bad.send(left)
            left = left[sent:]
            taken += sent
    return taken


def again(doors: Doors, end: float, begin: bytes, chunk: bytes) -> None:
    """Send one thing, then another for ever; connect again whenever it is thrown out."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError), connect(doors) as bad:
            push(bad, itertools.chain([begin], itertools.repeat(chunk)), end)


def hold(end: float) -> None:
    time.sleep(max(0, end - time.monotonic()))


@contextlib.contextmanager
def many(doors: Doors, count: int, end: float, port: int = 0) -> Iterator[list[socket.socket]]:
    """So many connections, or as many as there is time for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        made: list[socket.socket] = []
        while len(made) < count and time.monotonic() < end:
            with contextlib.suppress(OSError):
                made.append(stack.enter_context(connect(doors, port)))
        yield made


def never_reads(doors: Doors, end: float) -> None:
    """GETs in one pipeline, no reply read; connects again where it is cut."""
    gets = client.pack("GET", "victim") * 1000
    again(doors, end, b"", gets)


def reads_slowly(doors: Doors, end: float) -> None:
    """1 GB of replies asked for, and read at some 1 MB a second."""
    gets = client.pack("GET", "victim") * 10_000
    while time.monotonic() < end:
        with contextlib.suppress(OSError), connect(doors) as bad:
            bad.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            bad.setblocking(False)
            left = memoryview(gets)
            while time.monotonic() < end:
                if left:
                    with contextlib.suppress(BlockingIOError):
                        left = left[bad.send(left) :]
                with contextlib.suppress(BlockingIOError):
                    if not bad.recv(65536):
                        break
                time.sleep(0.06)


def silent(doors: Doors, end: float) -> None:
    with many(doors, SILENT, end):
        hold(end)


def endless_count(doors: Doors, end: float) -> None:
    again(doors, end, b"*2000000000\r\n$3\r\nGET\r\n", b"$1\r\na\r\n" * 100_000)


def nested(doors: Doors, end: float) -> None:
    again(doors, end, b"", b"*1\r\n" * 100_000)


def inline(doors: Doors, end: float) -> None:
    """100 MB without the end of a line."""
    again(doors, end, b"", b"x" * CHUNK)


def garbage(doors: Doors, end: float) -> None:
    """Noise, on a new connection whenever it is thrown out."""
    again(doors, end, b"", os.urandom(CHUNK))


def garbage_and_leaves(doors: Doors, end: float) -> None:
    """The same, without waiting to be thrown out."""
    noise = os.urandom(16_000)
    while time.monotonic() < end:
        with contextlib.suppress(OSError), connect(doors) as bad:
            bad.send(noise)


def blank_lines(doors: Doors, end: float) -> None:
    """Empty lines on one connection: RESP ignores them, so nothing throws it out."""
    again(doors, end, b"", b"\r\n" * (CHUNK // 2))


def in_multi(doors: Doors, end: float) -> None:
    """As many transactions as it gets, each of which is queued to for ever."""
    queued = client.pack("MULTI") + client.pack("SET", "victim", b"v" * 1000) * 10
    with many(doors, IN_MULTI, end) as bad:
        for one in bad:
            one.setblocking(False)
        while time.monotonic() < end:
            for one in bad:
                with contextlib.suppress(OSError):
                    one.send(queued)
                with contextlib.suppress(OSError):
                    one.recv(65536)
            time.sleep(0.2)


def client_hello() -> bytes:
    """What a client of TLS says first."""
    context = ssl.create_default_context()
    out = ssl.MemoryBIO()
    made = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="h")
    with contextlib.suppress(ssl.SSLWantReadError):
        made.do_handshake()
    return out.read()


def handshakes(doors: Doors, end: float) -> None:
    """The first word of a handshake, and never the next; 200 at a time."""
    hello = client_hello()
    while time.monotonic() < end:
        with many(doors, 200, end, doors.tls) as bad:
            for one in bad:
                with contextlib.suppress(OSError):
                    one.send(hello)
            for one in bad:
                with contextlib.suppress(OSError):
                    one.settimeout(max(0.01, min(1.0, end - time.monotonic())))
                    one.recv(4096)


def slow_loris(doors: Doors, end: float) -> None:
    """HTTP requests whose headers never end, a byte at a time."""
    with many(doors, LORIS, end, doors.http) as bad:
        for one in bad:
            with contextlib.suppress(OSError):
                one.setblocking(False)
                one.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-a: ")
        while time.monotonic() < end:
            for one in bad:
                with contextlib.suppress(OSError):
                    one.send(b"b")
            time.sleep(0.5)


ATTACKS: Final = (
    Attack("unread 64 B", never_reads),
    Attack("unread 10 KB", never_reads, 10 << 10),
    Attack("unread 100 KB", never_reads, 100 << 10),
    Attack("1 GB read slowly", reads_slowly, 100 << 10),
    Attack("10,000 silent", silent),
    Attack("*2000000000", endless_count),
    Attack("nested arrays", nested),
    Attack("100 MB line", inline),
    Attack("garbage", garbage),
    Attack("garbage, leaves", garbage_and_leaves),
    Attack("blank lines", blank_lines),
    Attack("2,000 in MULTI", in_multi),
    Attack("TLS handshakes", handshakes),
    Attack("HTTP slow loris", slow_loris),
)
