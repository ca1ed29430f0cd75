"""Clients that know what they may be answered, whatever fails meanwhile.

    Line.ask ─▶ a reply | Unknown: sent, and nobody knows | Refused: certainly not done | Late
    Checker  ─▶ one of counter, list, lock, version, echo; what was wrong goes to Club.wrong

A command that was acknowledged is done, once; one whose outcome is unknown is done once or not at
all, and maybe late: what a killed worker has sent lies in sockets, and the next connection's first
command overtakes it, as it would without a proxy. Owns no fault: chaos.py does."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from typing import Any, Final

import hiredis

from tests.servers import HOST

Reply = Any
LOCK_MS: Final = 1500
LATE_S: Final = 5.0  # seconds after which what is unknown comes no more: no fault lasts as long
PAUSE: Final = 0.03  # seconds between two commands of a client, about
# What a proxy or a server may say while something fails. Of the first nobody knows what was done.
UNKNOWN: Final = "UPSTREAM connection to the server lost"
REFUSED: Final = (
    "UPSTREAM no connection",
    "LOADING",
    "MASTERDOWN",
    "LOCKBUSY",
    "ERR no connection",
)


class Unknown(Exception):
    """It was sent, and no answer came."""


class Refused(Exception):
    """It was not done."""


class Line:
    """A client's connection, made anew where it was lost."""

    def __init__(self, club: Club, port: int) -> None:
        self.club, self.port = club, port
        self.made = 0  # connections
        self.last = deque[tuple[float, float, str]](maxlen=6)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._reader = hiredis.Reader()

    @property
    def name(self) -> str:
        """Its own address, as the proxy's log has it."""
        return str(self._streams and self._streams[1].get_extra_info("sockname"))

    async def ask(self, *words: object) -> Reply:
        begin, what = time.monotonic(), "lost"
        try:
            reply = await self._ask(begin, words)
            what = repr(reply)
        except Refused as why:
            what = f"{why}"
            raise
        finally:
            self.last.append((begin, time.monotonic(), what[:40]))
        return reply

    async def _ask(self, begin: float, words: tuple[object, ...]) -> Reply:
        try:
            async with asyncio.timeout(self.club.deadline):
                reply = await self._asked(words)
        except TimeoutError:
            self.club.wrong.append(f"{words!r}: no answer in {self.club.deadline:g} s")
            self.close()
            raise Unknown from None
        except (OSError, EOFError):
            self.close()
            self.club.outcomes["connection lost"] += 1
            raise Unknown from None
        self.club.slowest = max(self.club.slowest, time.monotonic() - begin)
        if not isinstance(reply, hiredis.ReplyError):
            self.club.outcomes["answered"] += 1
            return reply
        text = str(reply)
        self.club.outcomes[" ".join(text.split()[:5])] += 1
        if text.startswith(UNKNOWN):
            raise Unknown
        if not text.startswith(REFUSED):
            self.club.wrong.append(f"{words!r}: {text}")
        raise Refused(text)

    async def _asked(self, words: tuple[object, ...]) -> Reply:
        if self._streams is None:
            self._reader = hiredis.Reader()
            try:
                self._streams = await asyncio.open_connection(HOST, self.port)
            except OSError:
                await asyncio.sleep(0.02)
                raise
            self.made += 1
        reader, writer = self._streams
        writer.write(hiredis.pack_command(tuple(map(_packed, words))))  # type: ignore[arg-type]  # its stub says: tuples of one
        while (reply := self._reader.gets()) is False:
            data = await reader.read(65536)
            if not data:
                raise EOFError
            self._reader.feed(data)
        return reply

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _packed(word: object) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


class Club:
    """All clients, and what they found."""

    def __init__(self, ports: list[int], *, count: int, deadline: float, seed: int) -> None:
        self.deadline = deadline
        self.wrong: list[str] = []
        self.outcomes = Counter[str]()
        self.slowest = 0.0
        self.over = False
        self.holders: dict[str, tuple[str, float]] = {}  # of locks: whose, and until when
        self.fences = Counter[str]()
        kinds = (Counting, Pushing, Locking, Versioned, Echoing)
        self.checkers: list[Checker] = [
            kinds[number % len(kinds)](self, number, ports[number // len(kinds) % len(ports)], seed)
            for number in range(count)
        ]

    async def run(self) -> None:
        await asyncio.gather(*(checker.run() for checker in self.checkers))

    async def recovered(self, since: float, limit: float) -> float:
        """For how many seconds since then somebody has not been served."""
        while slow := [one for one in self.checkers if one.served < since]:
            if time.monotonic() - since > limit:
                self.wrong.append(f"not served {limit:g} s after it was well again: {slow[:3]}")
                break
            await asyncio.sleep(0.01)
        return time.monotonic() - since

    async def verify(self, port: int) -> None:
        """Look at what the server has in the end."""
        line = Line(self, port)
        for checker in self.checkers:
            await checker.verify(line)
        line.close()


class Checker:
    def __init__(self, club: Club, number: int, port: int, seed: int) -> None:
        self.club, self.number = club, number
        self.key = f"{type(self).__name__.lower()}:{number}"
        self.line = Line(club, port)
        self.served = 0.0  # when the last command began that was answered
        self.rounds = 0
        self.rng = random.Random(seed * 1000 + number)

    def __repr__(self) -> str:
        return f"<{self.key} rounds={self.rounds}>"

    async def run(self) -> None:
        while not self.club.over:
            begin = time.monotonic()
            with contextlib.suppress(Unknown, Refused):
                await self.round()
                self.served = begin
                self.rounds += 1
            await asyncio.sleep(self.rng.uniform(0.5, 1.5) * PAUSE)
        self.line.close()

    async def round(self) -> None:
        raise NotImplementedError

    async def verify(self, line: Line) -> None:
        """Nothing is left to be looked at."""

    def must(self, held: bool, what: str) -> None:
        if not held:
            self.club.wrong.append(f"{self.key} at {self.line.name}: {what}, asked {self.asked()}")

    def asked(self) -> str:
        """What became of the last commands, with the seconds since each began and ended."""
        now = time.monotonic()
        return " ".join(
            f"{what}:{begin - now:.3f}..{end - now:.3f}" for begin, end, what in self.line.last
        )


class Counting(Checker):
    """INCR of a key of its own: each acknowledged one counts once."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.low = 0  # what was acknowledged last,
        self.unknown: list[float] = []  # and when those that may yet be done became unknown

    async def round(self) -> None:
        begin = time.monotonic()
        try:
            value = await self.line.ask(*self.words())
        except Unknown:
            self.unknown.append(time.monotonic())
            raise
        most = self.low + 1 + len(self.unknown)
        self.must(self.low < value <= most, f"{value} is not in {self.low + 1}..{most}")
        done = value - self.low - 1  # of the unknown ones
        self.unknown = [when for when in self.unknown[max(0, done) :] if begin - when < LATE_S]
        self.low = value

    def words(self) -> tuple[object, ...]:
        return ("INCR", self.key)

    async def verify(self, line: Line) -> None:
        value = int(await line.ask("GET", self.key) or 0)
        self.counted(value)

    def counted(self, value: int) -> None:
        most = self.low + len(self.unknown)
        self.must(self.low <= value <= most, f"{value} at the end, not {self.low}..{most}")


class Pushing(Counting):
    """RPUSH of numbers: each acknowledged one stands once, in order."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.sent = 0
        self.lost: set[int] = set()  # those whose outcome is unknown: they may stand late

    def words(self) -> tuple[object, ...]:
        self.sent += 1
        return ("RPUSH", self.key, self.sent)

    async def round(self) -> None:
        try:
            await super().round()
        except Unknown:
            self.lost.add(self.sent)
            raise

    async def verify(self, line: Line) -> None:
        found = [int(one) for one in await line.ask("LRANGE", self.key, 0, -1)]
        twice = [one for one, count in Counter(found).items() if count > 1]
        self.must(not twice, f"{twice} stand twice")
        known = [one for one in found if one not in self.lost]
        self.must(known == sorted(known), "they stand out of order")
        self.counted(len(found))


class Locking(Checker):
    """A lock that a few share: never two who hold it."""

    async def round(self) -> None:
        name = f"lock{self.number // 5 % 4}"
        begin = time.monotonic()
        got = await self.line.ask("LOCK", "ACQUIRE", name, "PX", LOCK_MS, "WAIT", 200, "FENCE")
        now, until = time.monotonic(), begin + LOCK_MS / 1000
        if got is None or now >= until:
            return
        token, fence, _ = got
        holder, held_until = self.club.holders.get(name, ("", 0.0))
        self.must(now >= held_until, f"{name} is held by {holder} too, until {held_until:.3f}")
        self.must(fence > self.club.fences[name], f"fence {fence} of {name} is no greater")
        self.club.fences[name] = fence
        self.club.holders[name] = (self.key, until)
        await asyncio.sleep(self.rng.uniform(0, 0.02))
        self.club.holders.pop(name, None)  # from when it is sent it may be another's
        with contextlib.suppress(Unknown, Refused):
            await self.line.ask("LOCK", "RELEASE", name, token)


class Versioned(Checker):
    """A value with a version that only grows: read near, and never older than before, unless what
    nobody knows the outcome of has been done late."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.sent = self.acked = 0
        self.floor, self.made = 0, 0  # what was read on this connection
        self.unknown = dict[int, float]()  # versions, and when they became unknown

    async def round(self) -> None:
        begin = time.monotonic()
        if self.rng.random() < 0.2:
            self.sent += 1
            version = self.sent
            try:
                await self.line.ask("SET", self.key, self.value(version))
            except Unknown:
                self.unknown[version] = time.monotonic()
                raise
            self.acked = version
            if self.line.made == self.made:
                self.floor = version
            self.settle(begin)
            return
        read = await self.line.ask("GET", self.key)
        if self.line.made != self.made:
            self.made, self.floor = self.line.made, 0  # maybe another worker
        version = 0
        if read is not None:
            name, _, number = read.decode().rpartition("=")
            self.must(name == self.key, f"{read!r} is another's")
            version = int(number) if name == self.key else 0
        within = self.floor <= version <= self.sent or version in self.unknown
        self.must(within, f"{version} is not {self.floor}..{self.sent}")
        self.floor = version

    def settle(self, begin: float) -> None:
        """A write that began then is done: what became unknown long before comes no more, and what
        it wrote is gone."""
        left = {version: when for version, when in self.unknown.items() if begin - when < LATE_S}
        self.unknown = left

    def value(self, version: int) -> str:
        return f"{self.key}={version}"

    async def verify(self, line: Line) -> None:
        read = await line.ask("GET", self.key)
        version = int(read.decode().rpartition("=")[2]) if read else 0
        within = self.acked <= version <= self.sent or version in self.unknown
        self.must(within, f"{version} at the end: {self.acked}")


class Echoing(Checker):
    """Words that nobody else sends, and a read of a key that all read."""

    async def round(self) -> None:
        word = f"{self.number}-{self.rounds}".encode()
        got = await self.line.ask("ECHO", word)
        self.must(got == word, f"{got!r} is not {word!r}")
        got = await self.line.ask("GET", "nothing")
        self.must(got is None, f"{got!r} where there is nothing")
