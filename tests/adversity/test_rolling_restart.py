"""Workers are restarted one after another under load: clients that reconnect lose no command."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tests.servers import HOST, Process, nearhit, wait_for
from tests.wire.link import Link, command

from .chaos import children
from .conftest import url

CLIENTS = 12


class Reconnecting(threading.Thread):
    """INCRs of a key of its own. A command whose connection ends unanswered is asked again on
    another one, as client libraries do."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self.port, self.key = port, f"n{number}"
        self.done = self.again = 0
        self.wrong: list[str] = []
        self.ended = False
        self._link: Link | None = None

    def run(self) -> None:
        while not self.ended and not self.wrong:
            reply = self._incr()
            if reply is None:
                self.wrong.append(f"{self.key}: no reply to INCR {self.done + 1}")
            elif reply != b":%d\r\n" % (self.done + 1):
                self.wrong.append(f"{self.key}: {reply!r} is not {self.done + 1}")
            self.done += 1
        if self._link is not None:
            self._link.close()

    def _incr(self) -> bytes | None:
        for _ in range(20):
            try:
                self._link = self._link or Link(self.port)
                self._link.send(command("INCR", self.key))
                replies = self._link.read(1, 10)
            except OSError:
                replies = []
            if replies:
                return replies[0]
            self.again += 1
            if self._link is not None:
                self._link.close()
                self._link = None
        return None


@pytest.mark.waits
def test_no_command_fails_while_workers_are_restarted(server: Process) -> None:
    with nearhit(url(server.port), "--workers", "2") as proxy:
        clients = [Reconnecting(proxy.port, number) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        restarted = 0
        for _ in range(2):
            for pid in children(proxy.pid):
                progress = [client.done + 20 for client in clients]
                wait_for(
                    lambda progress=progress: all(  # type: ignore[misc]  # a default
                        client.done > least or client.wrong
                        for client, least in zip(clients, progress, strict=True)
                    ),
                    20,
                    "progress",
                )
                os.kill(pid, signal.SIGTERM)
                restarted += 1
                wait_for(
                    lambda count=restarted: (
                        proxy.log.read_bytes().count(b'"worker ready"') >= count
                    ),  # type: ignore[misc]  # a default
                    20,
                    "the next worker",
                )
        for client in clients:
            client.ended = True
        for client in clients:
            client.join(20)

    assert [client.wrong for client in clients] == [[]] * CLIENTS
    assert restarted == 4
    assert sum(client.again for client in clients), f"nobody was on {HOST}'s worker: no test"
