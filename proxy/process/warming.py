"""What loaders' ``warm`` names is filled as the proxy starts: a job for each such loader.

    settings ─▶ keys, page by page ─▶ WARM KEYS ... ─▶ the loaders, live loads first
                file | pattern | the loader's server

Owns which of them have begun: one worker of several begins them, once, and again where a ``warm``
has changed (SIGHUP). Never holds the start: a job waits for the server by itself. What is there
already is skipped, so that many proxies may do the same. server.py makes it."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from ..errors import BadInput, ProxyError, ServerError, shown
from ..jobs.board import Owner
from ..jobs.jobs import Jobs
from ..loading.loaders import Loaders
from ..resp.replies import Value
from ..settings.loaders import LoaderSettings
from ..settings.warming import WarmKeys
from .wiring import Parts

COMMAND: Final = "WARM"
PAGE: Final = 500  # keys
ERRORS_MOST: Final = 100
# Keys at once: with 600 a live load took 100 ms, with these 62 (test_warm_up.py, soak).
CONCURRENCY_MOST: Final = 128
LINE_MAX: Final = 64 * 1024
# Seconds until the server is asked again whether it is there.
LOOK_S: Final = 1.0
# And until a page is tried again of which every key has failed: its loader or the server is away.
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)

Run = Callable[[Sequence[bytes]], Awaitable[Value]]
Pages = AsyncGenerator[Sequence[bytes], None]


@dataclass(slots=True)
class Tally:
    """WARM's maps, added up."""

    began: float
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("requested", "loaded", "skipped", "not_found", "failed"), 0
        )
    )
    errors: list[Value] = field(default_factory=list[Value])

    def add(self, reply: Mapping[str, Value]) -> None:
        for name in self.counts:
            self.counts[name] += cast(int, reply[name])
        errors = cast("Sequence[Value]", reply["errors"])
        self.errors += errors[: ERRORS_MOST - len(self.errors)]

    def shown(self, now: float) -> Mapping[str, Value]:
        elapsed = int((now - self.began) * 1000)
        return {**self.counts, "elapsed_ms": elapsed, "errors": list(self.errors)}


class Warming:
    """``run`` runs a command of ours as ``owner``; ``reached`` raises ProxyError where the server
    does not answer."""

    def __init__(
        self,
        jobs: Jobs,
        owner: Owner,
        loaders: Loaders,
        settings: Sequence[LoaderSettings],
        *,
        run: Run,
        reached: Callable[[], Awaitable[object]],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._jobs = jobs
        self._owner = owner
        self._loaders = loaders
        self._settings = settings
        self._run = run
        self._reached = reached
        self._clock = clock
        self._sleep = sleep
        self._serves = False
        self._begun: dict[str, tuple[WarmKeys, str]] = {}  # by loader: what, and the job's id

    def __repr__(self) -> str:
        return f"<Warming {' '.join(self._begun)}>"

    def begin(self) -> None:
        """As the process begins to serve. A worker that takes the place of one that has died goes
        on as if all had begun: what has ended a process is not done again by itself."""
        self._serves = True
        if self._jobs.first:
            self._begin_new()
        elif self._jobs.leads:
            self._begun = {name: (keys, "") for name, _, keys in self._wanted()}

    def take(self, settings: Sequence[LoaderSettings]) -> None:
        """Begin what is new in these, and end what they have no more."""
        self._settings = settings
        if self._serves:
            self._begin_new()

    def _wanted(self) -> Iterator[tuple[str, LoaderSettings, WarmKeys]]:
        for one in self._settings if self._jobs.leads else ():
            if one.warm is not None:
                yield one.name, one, one.warm

    def _begin_new(self) -> None:
        wanted = {name: keys for name, _, keys in self._wanted()}
        for name, (keys, job) in list(self._begun.items()):
            if wanted.get(name) != keys:
                self._jobs.cancel(self._owner, COMMAND, job)
                del self._begun[name]
        for name, one, keys in self._wanted():
            if name not in self._begun:
                self._begun[name] = keys, self._start(one, keys)

    def _start(self, one: LoaderSettings, keys: WarmKeys) -> str:
        tally = Tally(self._clock())
        return self._jobs.start(
            self._owner,
            COMMAND,
            lambda: self._fill(one, keys, tally),
            lambda: tally.shown(self._clock()),
            total=keys.count,
            bounded=False,
        )

    # --- A job --------------------------------------------------------------------------------

    async def _fill(self, one: LoaderSettings, keys: WarmKeys, tally: Tally) -> None:
        await self._wait_for_the_server()
        concurrency = min(CONCURRENCY_MOST, max(1, one.concurrency * one.batch * 3 // 4))
        words = [COMMAND.encode(), b"CONCURRENCY", b"%d" % concurrency, b"KEYS"]
        async with aclosing(self._pages(one.name, keys)) as pages:
            async for page in pages:
                if page:
                    tally.add(await self._page([*words, *page]))

    async def _wait_for_the_server(self) -> None:
        while True:
            try:
                await self._reached()
            except ServerError:
                return  # it says what it has against us at each key too
            except ProxyError:
                await self._sleep(LOOK_S)
            else:
                return

    async def _page(self, words: Sequence[bytes]) -> Mapping[str, Value]:
        """WARM's map. ProxyError: every key fails, and went on to do so."""
        pauses = iter(PAUSES)
        while True:
            reply = cast("Mapping[str, Value]", await self._run(words))
            count = cast(int, reply["requested"])
            if reply["failed"] != count:
                return reply
            pause = next(pauses, None)
            if pause is None:
                (key, why), *_ = cast("Sequence[tuple[bytes, bytes]]", reply["errors"])
                where = f" (each of {count} keys in a row, {shown(key)} first)"
                raise ProxyError(b"-" + why + where.encode())
            await self._sleep(pause)

    def _pages(self, name: str, keys: WarmKeys) -> Pages:
        if keys.is_file:
            return _of_file(keys.text)
        return self._found(name, keys) if keys.is_wild else _written_out(keys)

    async def _found(self, name: str, keys: WarmKeys) -> Pages:
        for glob in keys.expanded():
            cursor = 0
            while True:
                loader = self._loaders.named(name)  # SIGHUP may have made another
                if loader is None:
                    raise BadInput(f"warm: there is no loader '{name}' any more")
                cursor, page = await loader.page(glob, cursor)
                yield page
                if not cursor:
                    break


async def _written_out(keys: WarmKeys) -> Pages:
    expanded = keys.expanded()
    while page := list(itertools.islice(expanded, PAGE)):
        yield page


def warming_of(
    parts: Parts, settings: Sequence[LoaderSettings], clock: Callable[[], float]
) -> Warming:
    """As HTTP does it: in the db, and as the user, of the upstream's URL."""
    key, scopes = parts.lanes.primary_key, parts.scopes
    return Warming(
        parts.jobs,
        Owner(key.db),
        parts.loaders,
        settings,
        run=lambda words: scopes.ask(words, key),
        reached=lambda: scopes.scope(key).tracked.upstream.ask(b"PING"),
        clock=clock,
    )


# --- Files ------------------------------------------------------------------------------------


async def _of_file(path: str) -> Pages:
    """Keys, one on each line; empty lines are none. In a thread: a disk may take its time."""
    try:
        file = await asyncio.to_thread(_opened, path)
        with file:
            lines = _lines(file, path)
            while page := await asyncio.to_thread(lambda: list(itertools.islice(lines, PAGE))):
                yield page
    except OSError as error:
        raise BadInput(f"warm: cannot read {path}: {error.strerror or error}") from None


def _opened(path: str) -> BinaryIO:
    # A pipe would be waited for, and for ever.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise BadInput(f"warm: {path} is no file")
    return open(file, "rb")


def _lines(file: BinaryIO, path: str) -> Iterator[bytes]:
    while line := file.readline(LINE_MAX + 2):
        key = line.removesuffix(b"\n").removesuffix(b"\r")
        if len(key) > LINE_MAX:
            raise BadInput(f"warm: {path}: a line is longer than {LINE_MAX >> 10} KB")
        if key:
            yield key
