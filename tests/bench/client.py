"""A small blocking client for the benchmarks: preload, look, and read INFO.

The load itself never comes from here: redis-benchmark does that (load.py)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType

import hiredis

from .load import KEYS

Word = bytes | str | int
BATCH = 200


def pack(*words: Word) -> bytes:
    # The stub of hiredis 3.5 wants a one-tuple; the function takes any length.
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return packed


class Client:
    """One connection; ``ask`` sends one command and waits for its reply."""

    def __init__(self, host: str, port: int, timeout: float = 30) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = hiredis.Reader(notEnoughData=Ellipsis)

    def __repr__(self) -> str:
        return f"<Client {self.socket.getsockname()} -> {self.socket.getpeername()}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.socket.close()

    def ask(self, *words: Word) -> object:
        return self.ask_all([words])[0]

    def ask_all(self, commands: Sequence[tuple[Word, ...]]) -> list[object]:
        """Pipeline the commands; RuntimeError for the first error among the replies."""
        return self.send_all(b"".join(pack(*words) for words in commands), len(commands))

    def send_all(self, data: bytes, count: int) -> list[object]:
        """The replies to so many packed commands; errors as ``ask_all``."""
        self.socket.sendall(data)
        replies = [self._reply() for _ in range(count)]
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise RuntimeError(f"{self}: {reply}")
        return replies

    def info(self, section: str) -> dict[str, str]:
        text = self.ask("INFO", section)
        assert isinstance(text, bytes)
        return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)

    def _reply(self) -> object:
        while (reply := self.reader.gets()) is Ellipsis:
            received = self.socket.recv(1 << 16)
            if not received:
                raise ConnectionError(f"{self}: closed")
            self.reader.feed(received)
        return reply


def key(number: int) -> str:
    """As redis-benchmark writes ``key:__rand_int__``."""
    return f"key:{number:012d}"


def preload(host: str, port: int, size: int, keys: int = KEYS) -> None:
    """Give every key that redis-benchmark may ask for a value of that size."""
    value = b"x" * size
    with Client(host, port) as client:
        for start in range(0, keys, BATCH):
            numbers = range(start, min(start + BATCH, keys))
            client.ask_all([("SET", key(number), value) for number in numbers])


def check(name: str, host: str, port: int, size: int) -> None:
    """RuntimeError unless this target serves the keys that were preloaded.

    A peer in front of another server would give figures that compare with nothing."""
    with Client(host, port) as client:
        value = client.ask("GET", key(KEYS - 1))
    if not isinstance(value, bytes) or len(value) != size:
        raise RuntimeError(
            f"{name} ({host}:{port}) does not serve the preloaded keys: {value!r:.60}"
        )
