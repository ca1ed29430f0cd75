"""The loaders at work: which one is for a key, and what it returns.

    key ─▶ Loaders.match ─▶ Loader ─ load ─▶ its Source (url, call, redis, demo) ─▶ Loaded

Owns what the sources hold open: one HTTP session, threads, connections; nothing is open before the
first load, and ``close`` ends it all. Never stores a value and knows no lease and no waiter: who
asks here (flights.py) waits at the loader's gate and gives each load its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, cast

from ..errors import ExitCode, LoadError, LoadTimeout, StartError
from ..settings.address import Upstream
from ..settings.loaders import DEMO, LoaderSettings
from ..spans import OFF, Traces
from .batch import Batches, Outcomes, Start
from .call import CallSource, imported
from .complaint import Complaint
from .demo import DemoSource
from .freshness import Freshness
from .gate import Gate
from .http import Http
from .source import Confirming, KeySource, Loaded, ManySource, Source, SourceError

# Warming lets live loads go first: it waits for its turn by so many seconds longer.
WARM_PATIENCE: Final = 60.0


class Loader:
    """One configured loader."""

    def __init__(self, settings: LoaderSettings, source: Source) -> None:
        self.settings = settings
        self.name = settings.name
        # Of a batch's keys each has its place: Batches bounds the calls.
        self.gate = Gate(settings.concurrency * settings.batch)
        self.complaint = Complaint(settings.name)
        self.freshness = Freshness(settings)
        self._source = source
        self._confirming: Confirming | None = None
        self._batches: Batches | None = None
        if settings.batch == 1:
            self._confirming = source if isinstance(source, Confirming) else None
        else:
            self._batches = Batches(
                self._load_many,
                most=settings.batch,
                calls=settings.concurrency,
                seconds=settings.timeout,
            )

    def __repr__(self) -> str:
        return f"<Loader {self.name} {self.settings.match} {self._source!r} {self.gate!r}>"

    @property
    def kind(self) -> str:
        """What it loads from: no address and no word of a URL, which may be secret."""
        one = self.settings
        kinds = {"url": one.url or one.batch_url, "call": one.call, "redis": one.redis}
        return next((kind for kind, source in kinds.items() if source is not None), "demo")

    @property
    def address(self) -> str:
        """Of the server that it asks, as spans have it; empty: it asks none."""
        one = self.settings
        if (url := one.url or one.batch_url) is not None:
            return url.host
        return "" if one.redis is None else Upstream.parse(one.redis).address

    def tags(self, key: bytes) -> list[bytes]:
        """What the key belongs to, each once."""
        templates = self.settings.tags
        captures = self.settings.match.match(key) if templates else None
        # Loaded by name (WARM LOADER), a key need not match.
        whole = [] if captures is None else [one.fill(captures) for one in templates]
        return list(dict.fromkeys(whole))

    def coming(self, start: Start) -> AbstractContextManager[None]:
        """For the length of the block it is not known whether a key will have to be loaded: what
        loads many keys at once waits for it."""
        return nullcontext() if self._batches is None else self._batches.coming(start)

    def confirms(self, key: bytes, digest: bytes) -> bool:
        """Whether ``load`` can have the value that stands confirmed, given as ``known``, instead
        of getting it anew. ``digest`` is that of the value, as take.lua has it."""
        return self._confirming is not None and self._confirming.confirms(key, digest)

    async def load(self, key: bytes, start: Start, known: bytes | None = None) -> Loaded:
        """What its source has for the key, or LoadError. Takes no turn at the gate and has no time
        limit: both are the caller's. It may be cancelled at any time. ``start`` runs what others
        may share. ``known`` is the value that stands, if that is at hand: the source may say that
        it still holds."""
        try:
            if self._batches is not None:
                return await self._batches.load(key, start)
            captures = self.settings.match.match(key)
            if known is not None and self._confirming is not None:
                return await self._confirming.refresh(key, captures, known)
            return await self._source.load(key, captures)
        except SourceError as error:
            raise LoadError(self.name, str(error)) from error
        except (asyncio.CancelledError, Exception):
            raise  # we are told to end, or have a defect
        except BaseException as error:
            # Nothing that a loader should raise, as a panic of a library in Rust: a failure like
            # any other, which ends neither the load nor the process. Its words may be anything.
            raise LoadError(self.name, type(error).__name__) from error

    async def _load_many(self, keys: Sequence[bytes]) -> Outcomes:
        captures = [self.settings.match.match(key) for key in keys]
        if len(keys) > 1:
            return await cast(ManySource, self._source).load_many(keys, captures)
        try:
            return [await self._source.load(keys[0], captures[0])]
        except SourceError as error:
            return [error]

    async def page(self, glob: bytes, cursor: int) -> tuple[int, Sequence[bytes]]:
        """Some of the keys that its server has by such names, and the cursor of the next page, 0
        behind the last; of a redis loader. LoadError, LoadTimeout."""
        limit = self.settings.timeout
        try:
            async with asyncio.timeout(limit):
                return await cast(KeySource, self._source).page(glob, cursor)
        except TimeoutError:
            raise LoadTimeout(self.name, round(limit * 1000)) from None
        except SourceError as error:
            raise LoadError(self.name, str(error)) from error

    async def close(self) -> None:
        await self._source.close()


def _nobody(loader: str, result: str, seconds: float) -> None: ...


class Loaders:
    """All loaders of this process. StartError, when it is made: a function that a loader calls is
    not there, or a file that its URL names."""

    def __init__(
        self,
        settings: Sequence[LoaderSettings],
        *,
        demo: bool = False,
        traces: Traces = OFF,
    ) -> None:
        self._demo = demo
        self.traces = traces
        # Told of each load: of which loader, what came of it, and its seconds.
        self.told: Callable[[str, str, float], None] = _nobody
        self._http = Http(traces.headers)
        self._replaced: list[Loader] = []  # and not closed yet
        self._by_name: dict[str, Loader] = {}
        self.replace(settings)

    def replace(self, settings: Sequence[LoaderSettings]) -> None:
        """Have these from now on; what is as it was stays, with what it knows and has open. A load
        that runs ends as it began. StartError, and nothing has changed, as when they are made."""
        if self._demo and all(one.name != DEMO.name for one in settings):
            settings = (*settings, DEMO)
        kept = {name: one for name, one in self._by_name.items() if one.settings in settings}
        made = _made([one for one in settings if one.name not in kept], self._http)
        self._replaced += [one for name, one in self._by_name.items() if name not in kept]
        by_name = kept | {one.name: one for one in made}
        self._by_name = {one.name: by_name[one.name] for one in settings}
        # Sorting keeps the file's order among equals.
        loaders = sorted(self._by_name.values(), key=lambda one: -one.settings.match.weight)
        self._all = _Index(loaders)
        self._managing = _Index([one for one in loaders if not one.settings.demo])
        self.any_managed = bool(self._managing.heads)
        self.any_read_through = any(one.settings.read_through for one in loaders)
        self._timed = _Index([one for one in loaders if one.freshness.timed])
        self.any_timed = bool(self._timed.heads)

    def __repr__(self) -> str:
        return f"<Loaders {' '.join(self._by_name)}>" if self._by_name else "<Loaders none>"

    def __iter__(self) -> Iterator[Loader]:
        return iter(self._by_name.values())

    def match(self, key: bytes) -> Loader | None:
        """The loader for a key: of those that match, the one with the most literal text."""
        return self._all.find(key)

    def named(self, name: str) -> Loader | None:
        return self._by_name.get(name)

    def manages(self, key: bytes) -> bool:
        """Whether a plain write of the key has to void loads. The demo's keys are left alone: its
        values are always the same."""
        return self._managing.find(key) is not None

    def read_through(self, key: bytes) -> bool:
        """Whether a plain read that misses loads."""
        if not self.any_read_through:
            return False
        loader = self.match(key)
        return loader is not None and loader.settings.read_through

    def timed(self, key: bytes) -> bool:
        """Whether who reads the key has to know how long it will last: it may be stale, or due to
        be refreshed."""
        return self.any_timed and self._timed_loader(key) is not None

    def near_ms(self, key: bytes, ttl_ms: int) -> int:
        """How long what is kept so long upstream may be kept near."""
        loader = self._timed_loader(key)
        return ttl_ms if loader is None else loader.freshness.near_ms(ttl_ms)

    def _timed_loader(self, key: bytes) -> Loader | None:
        # Of those that match the most literal one loads, and it may be another one.
        found = self._timed.find(key)
        return found if found is not None and self.match(key) is found else None

    async def traced(self, loader: Loader, key: bytes, load: Awaitable[Loaded]) -> Loaded:
        """What a load of the key brings, which traces are told of. What it raises."""
        with self.traces.load(loader.name, loader.kind, loader.address, key) as span:
            loaded = await load
            span.tell("nearhit.load.result", loaded.result)
            return loaded

    async def close_replaced(self) -> None:
        """Close those that ``replace`` has put aside, once nobody loads by them any more."""
        for loader in list(self._replaced):
            # The longest that a flight takes: for another's lease, for its turn, for the load.
            longest = 2 * (loader.settings.lease + loader.settings.timeout) + WARM_PATIENCE
            await asyncio.sleep(longest)
            if loader in self._replaced:
                self._replaced.remove(loader)
                await loader.close()

    async def close(self) -> None:
        for loader in (*self._by_name.values(), *self._replaced):
            await loader.close()
        await self._http.close()


class _Index:
    """Loaders by what their keys begin with, in the order in which they are tried."""

    def __init__(self, loaders: Sequence[Loader]) -> None:
        self.heads = tuple(one.settings.match.head for one in loaders)
        self._rows = [(one.settings.match.head, one.settings.match.match, one) for one in loaders]

    def find(self, key: bytes) -> Loader | None:
        # Plain reads and writes ask too, and most of their keys are no loader's: one call for all
        # heads tells those apart.
        if key.startswith(self.heads):
            for head, match, loader in self._rows:
                if key.startswith(head) and match(key) is not None:
                    return loader
        return None


def _made(settings: Sequence[LoaderSettings], http: Http) -> list[Loader]:
    """StartError with every mistake, not the first alone."""
    loaders: list[Loader] = []
    mistakes: list[str] = []
    for one in settings:
        try:
            loaders.append(Loader(one, _source(one, http)))
        except SourceError as error:
            mistakes.append(f"{_place(one)}: {error}")
    if mistakes:
        raise StartError("; ".join(mistakes), ExitCode.BAD_SETTINGS)
    return loaders


def mistakes_of(settings: Sequence[LoaderSettings]) -> Iterator[str]:
    """What makes a ``Loaders`` of them fail, line by line, for those who want no loaders."""
    http = Http()
    for one in settings:
        try:
            _source(one, http)
        except SourceError as error:
            yield f"{_place(one)}: {error}"


def _place(one: LoaderSettings) -> str:
    given = one.given.get(one.source)
    return given.place if given else f"[loaders.{one.name}] {one.source}"


def _source(settings: LoaderSettings, http: Http) -> Source:
    # The libraries of the two that need any cost a start 0.4 s and 25 MB.
    if settings.url is not None:
        from .url import UrlSource

        return UrlSource(
            settings.url,
            http,
            ttl_ms=round(settings.ttl * 1000),
            honour_cache_control=settings.honour_cache_control,
            batch_url=settings.batch_url,
            headers=dict(settings.headers.pairs),
            conditional=settings.conditional,
        )
    if settings.call is not None:
        function = imported(settings.call, settings.match.names)
        return CallSource(settings.call, function, settings.concurrency, lists=settings.batch > 1)
    if settings.redis is not None:
        from .redis import RedisSource

        return RedisSource(settings.redis, settings.concurrency)
    assert settings.demo, settings.name
    return DemoSource()
