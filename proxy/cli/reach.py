"""The way from a command at the terminal to a proxy: one that runs, or one started for the purpose.

Owns the connection, the child process and what their failures are called (StartError, with the exit
code). Knows no command: bulk.py and bulk_keys.py ask through a Link."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from ..errors import ExitCode, StartError, one_line
from ..log import redacted
from ..process.embedded import dying_with_us
from ..process.sweeper import swept

_CONNECT_TIMEOUT: Final = 5.0
_START_TIMEOUT: Final = 30.0
_STOP_TIMEOUT: Final = 15.0
# Exit codes of the child that say the same of the command itself.
_OURS: Final = (ExitCode.BAD_SETTINGS, ExitCode.REFUSED)
_NO_LOGIN: Final = ("NOAUTH", "WRONGPASS", "NOPERM", "ERR invalid password")


class Refused(Exception):
    """An error that the proxy answered; the connection is as good as before."""


class Link:
    """A connection to the server of a URL, which is a proxy as a rule. Errors call it by its name.
    Never repeats a request: without an answer the work ends, and whoever gave it may give it
    again. ``patience``: seconds for an answer; None: it takes as long as it takes (a load)."""

    def __init__(self, url: str, name: str, patience: float | None = None) -> None:
        self._name = name
        # redis-py leaves its options untyped.
        self._redis = Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            protocol=3,
            decode_responses=False,
            socket_connect_timeout=min(_CONNECT_TIMEOUT, patience or _CONNECT_TIMEOUT),
            socket_timeout=patience,
            retry=Retry(NoBackoff(), 0),
        )

    def __repr__(self) -> str:
        return f"<Link {self._name}>"

    def ask(self, *words: bytes) -> object:
        """The answer to one request. Refused: it was an error. StartError: there was none, or one
        that any request would get (no login, no upstream, no Nearhit)."""
        with self._errors():
            # redis-py leaves it untyped.
            return self._redis.execute_command(*words)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def _errors(self) -> Generator[None]:
        """Errors of redis-py under our names."""
        try:
            yield
        except (RedisError, OSError) as error:
            raise self._named(error) from None

    def _named(self, error: Exception) -> Exception:
        why = one_line(str(error))
        if isinstance(error, AuthenticationError):
            return StartError(f"{self._name} refused us: {why}", ExitCode.REFUSED)
        if isinstance(error, ResponseError):
            return self._answered(why)
        return StartError(f"{self._name}: {why}", ExitCode.UNREACHABLE)

    def must(self, *words: bytes) -> object:
        """The answer to a request whose refusal ends the work: StartError for every failure."""
        try:
            return self.ask(*words)
        except Refused as error:
            raise StartError(f"{self._name}: {error}", ExitCode.UNREACHABLE) from None

    def many(self, requests: Sequence[Sequence[bytes]]) -> list[object]:
        """The answers to requests that are sent in one piece. Refused: the first error."""
        replies = self.each(requests)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def each(self, requests: Sequence[Sequence[bytes]]) -> list[object]:
        """The same with errors in their places: Refused, or StartError where ``ask`` would raise
        one. StartError: there was no answer."""
        pipeline = self._redis.pipeline(transaction=False)  # pyright: ignore[reportUnknownMemberType]
        for words in requests:
            pipeline.execute_command(*words)  # type: ignore[no-untyped-call]
        with self._errors():
            replies = cast("list[object]", pipeline.execute(raise_on_error=False))
        return [self._named(one) if isinstance(one, Exception) else one for one in replies]

    def scan(self, pattern: bytes) -> Iterator[bytes]:
        """The keys that match. StartError for every failure."""
        try:
            for page in self.pages(b"SCAN", b"MATCH", pattern, b"COUNT", b"1000"):
                yield from page
        except Refused as error:
            raise StartError(f"{self._name}: {error}", ExitCode.UNREACHABLE) from None

    def pages(self, command: bytes, *words: bytes) -> Iterator[list[bytes]]:
        """What SCAN finds, or its like with the key first in ``words``, a page at a time."""
        key, options = ((), words) if command == b"SCAN" else (words[:1], words[1:])
        cursor = b"0"
        while True:
            page = self.ask(command, *key, cursor, *options)
            following, found = cast("tuple[int | bytes, list[bytes]]", page)
            yield found
            cursor = str(int(following)).encode()
            if cursor == b"0":
                return

    def close(self) -> None:
        """End the connection."""
        self._redis.close()

    def _answered(self, line: str) -> Exception:
        if line.startswith(_NO_LOGIN):
            return StartError(f"{self._name} refused us: {line}", ExitCode.REFUSED)
        if line.startswith("UPSTREAM"):
            return StartError(f"{self._name}: {line}", ExitCode.UNREACHABLE)
        if "unknown command" in line.lower():
            return StartError(f"{self._name} is no Nearhit: {line}", ExitCode.UNREACHABLE)
        return Refused(line)


@contextlib.contextmanager
def linked(url: str, name: str | None = None, patience: float | None = None) -> Generator[Link]:
    """A link that stands, closed with the block; its name is the URL without password, unless one
    is given. StartError with what is wrong."""
    link = Link(url, redacted(name or url), patience)
    try:
        link.must(b"PING")
        yield link
    finally:
        link.close()


@contextlib.contextmanager
def own_proxy(upstream: str, config: str | None) -> Generator[str]:
    """The URL of a proxy that we start in front of ``upstream``; it ends with the block, or with
    us. StartError with what the proxy said."""
    with tempfile.TemporaryDirectory(prefix="nearhit-") as name, swept(Path(name)):
        folder = Path(name)
        socket = folder / "s"
        flags = ["--listen", f"unix://{socket}", "--http", "off", "--workers", "1"]
        flags += [] if config is None else ["--config", config]
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "nearhit.proxy", "serve", *flags],
                # Not a flag: its password would be seen by whoever lists the processes.
                env={**os.environ, "NEARHIT_UPSTREAM": upstream},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C must find it serving until we have ended what we began.
                start_new_session=True,
                preexec_fn=dying_with_us(),
            )
        try:
            _wait_until_ready(child, folder / "log")
            yield f"unix://{socket}"
        finally:
            _stop(child)


def _wait_until_ready(child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while b" ready: " not in log.read_bytes():
        status = child.poll()
        if status is not None:
            raise StartError(_said(log), status if status in _OURS else ExitCode.UNREACHABLE)
        if time.monotonic() > deadline:
            raise StartError(
                f"a proxy of our own did not start: {_said(log)}", ExitCode.UNREACHABLE
            )
        time.sleep(0.01)


def _said(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return "; ".join(line.removeprefix("nearhit: ") for line in lines[-5:]) or "it said nothing"


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
