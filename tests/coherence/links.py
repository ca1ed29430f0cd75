"""A relay between Nearhit and its upstream that knows which of its links is the tracked lane.

Only that link's replies and pushes are slow, or stop: all other lanes go on, which is where a near
cache goes wrong. Owns the delays; the links are fault.py's."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tests.adversity.fault import Fault, Link

CHUNK = 64 * 1024
PATIENCE = 20.0


class Links(Fault):
    def __init__(self, upstream_port: int) -> None:
        self.tracked: set[Link] = set()
        self.delay = 0.0  # seconds, of each piece of the tracked link's replies
        self._told = threading.Event()
        self._told.set()
        super().__init__(upstream_port)

    def hush(self) -> None:
        """The tracked links say nothing more, and hear everything: half-open."""
        self._told.clear()

    def tell(self) -> None:
        self._told.set()

    def cut_tracked(self) -> int:
        links, self.tracked = self.tracked, set()
        for link in links:
            link.cut()
        return len(links)

    def close(self) -> None:
        self.tell()
        super().close()

    def _requests(self, link: Link) -> None:
        while data := _read(link.client):
            if b"TRACKING" in data:
                self.tracked.add(link)
            with contextlib.suppress(OSError):
                link.server.sendall(data)
        self.tracked.discard(link)
        link.cut()

    def _replies(self, link: Link) -> None:
        while data := _read(link.server):
            self._flowing.wait(PATIENCE)
            if link in self.tracked:
                if self.delay:
                    time.sleep(self.delay)
                self._told.wait(PATIENCE)
            try:
                link.client.sendall(data)
            except OSError:
                break
        link.cut()


def _read(side) -> bytes:  # type: ignore[no-untyped-def]
    try:
        return bytes(side.recv(CHUNK))
    except OSError:
        return b""


@contextlib.contextmanager
def links(upstream_port: int) -> Iterator[Links]:
    relay = Links(upstream_port)
    try:
        yield relay
    finally:
        relay.close()
