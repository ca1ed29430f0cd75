"""A TCP relay between Nearhit and its upstream that misbehaves on demand.

    Nearhit ──▶ accept ─ pump (requests) ─▶ upstream
            ◀── cut / stall / dribble ─ pump (replies) ◀──

One thread for each direction of each link; faults are read anew for every chunk. Owns its sockets
and threads, knows no RESP. Faults are plain attributes that a test sets."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

from tests.servers import HOST

CHUNK = 64 * 1024
PATIENCE = 20.0  # no thread outlives its test by more


class Link:
    """One relayed connection."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.half_open = False  # nothing comes back any more, and nobody is told

    def cut(self) -> None:
        """End both sides at once, by a reset; what is on its way is lost."""
        for side in (self.client, self.server):
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()


class Fault:
    """The relay. ``port`` is where Nearhit's upstream URL leads."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.accepting = True  # False: a new connection is reset as soon as it is made
        self.dribble = 0  # most bytes of a reply handed on at a time; 0: as they come
        self.cut_on = b""  # a request with these bytes cuts its link before it is passed on
        self.cut_within = b""  # a reply is cut behind these bytes
        self.cuts = 0  # links cut by the two above
        self.accepted = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._links: list[Link] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Cut every link there is; how many."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.cut()
        return len(links)

    def stall(self) -> None:
        """Hold back all replies."""
        self._flowing.clear()

    def half_open(self) -> None:
        """Let the links that there are say nothing more; new ones are well."""
        with self._lock:
            for link in self._links:
                link.half_open = True

    def flow(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self.accepting = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flow()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                if not self.accepting:
                    raise ConnectionRefusedError
                server = socket.create_connection((HOST, self.upstream_port), timeout=PATIENCE)
            except OSError:
                Link(client, client).cut()
                continue
            link = Link(client, server)
            with self._lock:
                self._links.append(link)
            for side in (client, server):
                side.settimeout(None)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for pump in (self._requests, self._replies):
                threading.Thread(target=pump, args=(link,), daemon=True).start()

    def _requests(self, link: Link) -> None:
        for data in _chunks(link.client):
            if self.cut_on and self.cut_on in data:
                self.cuts += 1
                link.cut()
                return
            with contextlib.suppress(OSError):
                link.server.sendall(data)
        link.cut()

    def _replies(self, link: Link) -> None:
        for data in _chunks(link.server):
            self._flowing.wait(PATIENCE)
            if link.half_open:
                continue
            within = self.cut_within
            at = data.find(within) if within else -1
            try:
                if at >= 0:
                    self.cuts += 1
                    link.client.sendall(data[: at + len(within)])
                    # An orderly end, so that the bytes before it arrive.
                    link.client.shutdown(socket.SHUT_RDWR)
                    return
                step = self.dribble or len(data)
                for start in range(0, len(data), step):
                    link.client.sendall(data[start : start + step])
            except OSError:
                break
        link.cut()


def _chunks(side: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            data = side.recv(CHUNK)
        except OSError:
            return
        if not data:
            return
        yield data


@contextlib.contextmanager
def fault(upstream_port: int) -> Iterator[Fault]:
    relay = Fault(upstream_port)
    try:
        yield relay
    finally:
        relay.close()
