"""An upstream that a test scripts: for exact orders, and for answers that are rare.

Answers a lane's handshake and the proxy's questions by itself; every other request goes to the
test's ``answer`` function, whose bytes are sent as they are (None: nothing, now or ever)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from tests.servers import HOST

from .links import parse_requests

Answer = Callable[["Connection", list[bytes]], bytes | None]

OWN: dict[bytes, bytes] = {
    b"INFO": b"$24\r\nredis_version:7.0.15\r\n\r\n\r\n",
    b"COMMAND": b"-ERR unknown command\r\n",
    b"HELLO": b"%2\r\n$2\r\nid\r\n:7\r\n$5\r\nproto\r\n:3\r\n",
    b"CLIENT": b"+OK\r\n",
    b"PING": b"+PONG\r\n",
    b"RESET": b"+RESET\r\n",
    b"SELECT": b"+OK\r\n",
}


class Connection:
    """A lane, seen from the server; ``state`` is the test's to keep."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self.state: dict[str, object] = {}

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.wire.sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.wire.shutdown(socket.SHUT_RDWR)
        self.wire.close()


class Fake:
    """A server on a free port. ``seen`` has every request that was no part of a handshake."""

    def __init__(self, answer: Answer, greeting: bytes = b"") -> None:
        self.answer = answer
        self.greeting = greeting  # sent to a new connection, which is then closed
        self.own = dict(OWN)
        self.seen: list[list[bytes]] = []
        self.connections: list[Connection] = []
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(wire)
            if self.greeting:
                connection.send(self.greeting)
                wire.shutdown(socket.SHUT_WR)  # a full close would reset, and lose the greeting
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        rest = b""
        while True:
            try:
                data = connection.wire.recv(65536)
            except OSError:
                return
            if not data:
                connection.close()
                return
            if self.greeting:
                continue
            requests, rest = parse_requests(rest + data)
            for args in requests:
                own = self.own.get(args[0].upper())
                if own is None:
                    self.seen.append(args)
                    own = self.answer(connection, args)
                if own is not None:
                    connection.send(own)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.close()


@contextlib.contextmanager
def fake(answer: Answer, greeting: bytes = b"") -> Iterator[Fake]:
    server = Fake(answer, greeting)
    try:
        yield server
    finally:
        server.close()
