"""A raw connection: bytes out, whole replies in, nothing interpreted.

Owns one socket. Never sends anything on its own account. ``Control`` is the same wire used by the
tests to look at a server from behind (reset it, count its blocked clients)."""

from __future__ import annotations

import socket
import time
import weakref
from collections.abc import Iterable

from tests.servers import HOST, wait_for

from .frames import frame_end

PATIENCE = 4.0


def command(*words: bytes | str | int) -> bytes:
    """One command as a RESP array of bulk strings."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class Link:
    """One TCP connection to a server or to the proxy."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Else what a failed test leaves open is a warning, and so an error, in some later one.
        weakref.finalize(self, self.socket.close)
        self.buffer = bytearray()
        self.ended = False

    def __repr__(self) -> str:
        return f"<Link {'ended' if self.ended else 'open'} unread={bytes(self.buffer[:80])!r}>"

    def send(self, data: bytes) -> None:
        """Hand all bytes over; a peer that has closed is noticed by the next read."""
        try:
            self.socket.settimeout(PATIENCE * 4)
            self.socket.sendall(data)
        except OSError:
            self.ended = True

    def read(self, count: int, seconds: float = PATIENCE) -> list[bytes]:
        """Up to ``count`` whole replies; fewer when the peer closes or the time is up."""
        deadline = time.monotonic() + seconds
        found: list[bytes] = []
        while len(found) < count:
            end = frame_end(self.buffer) if self.buffer else None
            if end is not None:
                found.append(bytes(self.buffer[:end]))
                del self.buffer[:end]
            elif not self._more(deadline):
                break
        return found

    def ask(self, *words: bytes | str | int, seconds: float = PATIENCE) -> bytes:
        """Send one command and return its reply; AssertionError when none comes."""
        self.send(command(*words))
        found = self.read(1, seconds)
        assert found, f"no reply to {words!r}: {self}"
        return found[0]

    def rest(self, seconds: float = PATIENCE) -> bytes | None:
        """Everything up to the peer's close; None when it did not close in time."""
        deadline = time.monotonic() + seconds
        while self._more(deadline):
            pass
        return bytes(self.buffer) if self.ended else None

    def finish(self, seconds: float = PATIENCE) -> bytes | None:
        """Say that no more will be sent, as a client does that exits, and wait for the close."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.ended = True
        return self.rest(seconds)

    def close(self) -> None:
        self.socket.close()

    def _more(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if self.ended or left <= 0:
            return False
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        self.ended = not data
        self.buffer += data
        return bool(data)


RESET: tuple[tuple[str, ...], ...] = (
    ("FLUSHALL",),
    ("FUNCTION", "FLUSH"),
    ("SCRIPT", "FLUSH"),
    ("ACL", "DELUSER", "alice", "bob", "carol"),
    ("ACL", "LOG", "RESET"),
    ("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction", "hz", "100",
     "notify-keyspace-events", "", "slowlog-log-slower-than", "-1", "timeout", "0",
     "hash-max-listpack-entries", "512", "latency-monitor-threshold", "0"),
    ("SLOWLOG", "RESET"),
    ("LATENCY", "RESET"),
    ("CLIENT", "UNPAUSE"),
    ("DEBUG", "SET-ACTIVE-EXPIRE", "1"),
)  # fmt: skip


class Control(Link):
    """A connection straight to a server, for what the script under test must not be asked to do."""

    def __init__(self, port: int, password: str = "") -> None:
        super().__init__(port)
        self.password = password
        if password:
            self.ask("AUTH", password)

    def reset(self) -> None:
        """Back to a fresh server: no data, code, users or settings of an earlier script."""
        self.ask_all(RESET)
        lock = f">{self.password}" if self.password else "nopass"
        self.ask("ACL", "SETUSER", "default", "reset", "on", lock, "~*", "&*", "+@all")

    def ask_all(self, commands: Iterable[tuple[str, ...]]) -> list[bytes]:
        batch = list(commands)
        self.send(b"".join(command(*words) for words in batch))
        replies = self.read(len(batch))
        assert len(replies) == len(batch), f"{len(replies)} of {len(batch)} replies: {self}"
        for words, reply in zip(batch, replies, strict=True):
            assert not reply.startswith(b"-"), (words, reply)
        return replies

    def blocked(self) -> int:
        """How many clients of the server wait in a blocking command."""
        info = self.ask("INFO", "clients")
        return int(info.split(b"blocked_clients:")[1].split(b"\r\n")[0])

    def wait_blocked(self, count: int) -> None:
        wait_for(lambda: self.blocked() == count, PATIENCE, f"{count} blocked clients")
