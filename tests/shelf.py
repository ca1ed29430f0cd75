"""A Call for commands that delete, scan and write in quantity, without a server: a dict behind what
they ask, and one journal of everything in the order in which it happened."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

from nearhit.lua import Script
from nearhit.proxy.custom.spec import Call
from nearhit.proxy.errors import ProxyError, ServerError
from nearhit.proxy.keys.glob import compile_glob
from nearhit.proxy.keys.ours import OurKeys
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.resp.requests import Request, parse_request

Words = list[bytes]


class Sent:
    """What was asked, for who waits for the answer."""

    def __init__(self, answered: asyncio.Future[list[Value] | ProxyError]) -> None:
        self.answered = answered

    def __await__(self) -> Generator[Any, None, list[Value]]:
        answer = yield from self.answered
        if isinstance(answer, ProxyError):
            raise answer
        return answer


class Shelf:
    """The server, as ``Call.bulk`` asks it. ``page`` keys are looked at by a SCAN, whatever COUNT
    says; ``cost`` tells how long a request takes by the Clock; ``refuse`` answers before it does.
    """

    def __init__(self, journal: list[Any], keys: Iterable[bytes] = ()) -> None:
        self.journal = journal
        self.held: dict[bytes, bytes] = dict.fromkeys(keys, b"old")
        self.px: dict[bytes, int] = {}
        self.page = 3
        self.clock = 0.0
        self.cost: Callable[[Words], float] = lambda words: 0.0
        self.refuse: Callable[[Words], Value] = lambda words: None
        self.lost: Callable[[list[Words]], ProxyError | None] = lambda piece: None
        self.pieces: list[list[Words]] = []
        self.forbidden: set[bytes] = set()
        self.told: dict[bytes, list[Value]] = {}  # what else is asked: its answers, in order
        self.scripts: dict[str, Callable[[Sequence[bytes], Sequence[bytes]], Value]] = {}

    async def ask(self, *words: bytes) -> Value:
        (reply,) = self._answer([list(words)])
        if isinstance(reply, ProxyError):
            raise reply
        return reply

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        if script.name in self.scripts:
            self.journal.append((script.name, *keys))
            reply = self.scripts[script.name](keys, args)
            if isinstance(reply, ProxyError):
                raise reply
            return reply
        assert (script.name, args[0]) == ("may", b"set")
        if keys[0] in self.forbidden:
            raise ServerError(b"-NOPERM no such key for you\r\n")
        return 1

    async def many(self, requests_: Sequence[bytes]) -> list[Value]:
        assert requests_
        return await self.begin(requests_, len(requests_))

    def begin(self, requests_: Sequence[bytes], count: int) -> Awaitable[list[Value]]:
        """Answered at once; what is wrong is raised where it is waited for."""
        data, at, piece = b"".join(requests_), 0, list[Words]()
        while at < len(data):
            request = parse_request(data, at)
            assert isinstance(request, Request)
            piece.append(request.args)
            at = request.end
        assert len(piece) == count
        return self._begin(piece)

    def _begin(self, piece: list[Words]) -> Awaitable[list[Value]]:
        answered: asyncio.Future[list[Value] | ProxyError] = asyncio.Future()
        try:
            answered.set_result(self._answer(piece))
        except ProxyError as why:
            answered.set_result(why)
        return Sent(answered)

    def _answer(self, piece: list[Words]) -> list[Value]:
        self.pieces.append(piece)
        error = self.lost(piece)
        if error is not None:
            raise error
        return [self._one(words) for words in piece]

    def _one(self, words: Words) -> Value:
        self.clock += self.cost(words)
        refused = self.refuse(words)
        if refused is not None:
            return refused
        name, *rest = words
        self.journal.append((name, *rest))
        if name == b"PING":
            return "PONG"
        if name in (b"DEL", b"UNLINK"):
            return sum(self.held.pop(key, None) is not None for key in rest)
        if name == b"EXISTS":
            return sum(key in self.held for key in rest)
        if name == b"PTTL":
            return self.px.get(rest[0], -1) if rest[0] in self.held else -2
        if name == b"SCAN":
            return self._scan(*rest)
        if name in self.told:
            return self.told[name].pop(0)
        assert name == b"SET"
        return self._set(*rest)

    def _scan(self, cursor: bytes, match: bytes, glob: bytes, count: bytes, number: bytes) -> Value:
        assert (match, count, number.isdigit()) == (b"MATCH", b"COUNT", True)
        # By place in the alphabet of all keys there ever were: removals move nothing.
        self.ever = sorted({*self.held, *getattr(self, "ever", ())})
        at = int(cursor)
        seen = [key for key in self.ever[at : at + self.page] if key in self.held]
        following = at + self.page if at + self.page < len(self.ever) else 0
        pattern = compile_glob(glob)
        return [b"%d" % following, [key for key in seen if pattern.fullmatch(key)]]

    def _set(self, key: bytes, value: bytes, *options: bytes) -> Value:
        if b"NX" in options and key in self.held:
            return None
        if options[:1] == (b"PX",):
            self.px[key] = int(options[1])
        self.held[key] = value
        return b"OK"  # as hiredis has it


class FakeLoads:
    """Loads, by a table of outcomes; writes that pass are put into the journal."""

    def __init__(self, journal: list[Any]) -> None:
        self.journal = journal
        self.outcomes: dict[bytes, str | Exception] = {}
        self.asked: list[tuple[bytes, str | None, int | None, bool]] = []
        self.tags: Sequence[bytes] = ()
        self.graces: dict[bytes, int] = {}
        self.before: Callable[[bytes], Any] | None = None

    async def warm(
        self,
        key: bytes,
        loader: str | None,
        ttl_ms: int | None,
        refresh: bool,
        tags: Sequence[bytes] = (),
    ) -> str:
        self.asked.append((key, loader, ttl_ms, refresh))
        self.tags = tags
        if self.before is not None:
            await self.before(key)
        outcome = self.outcomes.get(key, "loaded")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def grace_ms(self, key: bytes) -> int:
        return self.graces.get(key, 0)

    def passed_tags(self, tags: Sequence[bytes]) -> None:
        self.journal.append(("void tags", *tags))

    def passed(self, keys: Sequence[bytes]) -> None:
        self.journal.append(("void", *keys))

    def passed_matching(self, pattern: re.Pattern[bytes]) -> None:
        self.journal.append(("void matching", pattern))


class FakeCounts:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, name: str, count: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + count


class Desk:
    """One call's world."""

    def __init__(self, *keys: bytes) -> None:
        self.journal: list[Any] = []
        self.shelf = Shelf(self.journal, keys)
        self.loads = FakeLoads(self.journal)
        self.ours = OurKeys(b"nearhit:stats")
        self.stats = FakeCounts()
        self.slept: list[float] = []
        self.walks: Sequence[bytes] = [b"0"]

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.shelf.clock += seconds
        await asyncio.sleep(0)  # whoever else runs has a turn

    async def run(self, module: Any, *words: bytes) -> Any:
        """What a client gets for these words: a value, or a ProxyError raised."""
        return await module.run(
            Call(
                request=module.parse(words),
                upstream=self.shelf,
                bulk=self.shelf,
                loads=self.loads,  # type: ignore[arg-type]  # what these commands use of it
                leases=None,  # type: ignore[arg-type]
                writes=self.loads,
                ours=self.ours,
                locks=None,  # type: ignore[arg-type]
                stats=self.stats,  # type: ignore[arg-type]
                now=lambda: self.shelf.clock,
                sleep=self.sleep,
                walks=lambda: self.walks,
            )
        )

    def did(self, *names: bytes | str) -> list[Any]:
        return [entry for entry in self.journal if entry[0] in names]


def pairs(*keys: bytes, value: bytes = b"v") -> Words:
    return [word for key in keys for word in (key, value)]


def only(reply: Mapping[str, Value], *names: str) -> list[Value]:
    return [reply[name] for name in names]
