"""The loaders at work: which one is for a key, and what it returns.

    key ─▶ Loaders.match ─▶ Loader ─ load ─▶ its Source (url, call, redis, demo) ─▶ Loaded

Owns what the sources hold open: one HTTP session, threads, connections; nothing is open before the
first load, and ``close`` ends it all. Never stores a value and knows no lease and no waiter: who
asks here (flight.py) waits at the loader's gate and gives each load its time limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .errors import LoadError, StartError
from .gate import Gate
from .load_call import CallSource, imported
from .load_demo import DemoSource
from .load_redis import RedisSource
from .load_url import Http, UrlSource
from .loaded import Loaded, Source, SourceError
from .loader_settings import DEMO, LoaderSettings

BAD_SETTINGS: Final = 2  # exit code: see cli.EXIT_CODES


class Loader:
    """One configured loader."""

    def __init__(self, settings: LoaderSettings, source: Source) -> None:
        self.settings = settings
        self.name = settings.name
        self.gate = Gate(settings.concurrency)
        self._source = source

    def __repr__(self) -> str:
        return f"<Loader {self.name} {self.settings.match} {self._source!r} {self.gate!r}>"

    async def load(self, key: bytes) -> Loaded:
        """What its source has for the key, or LoadError. Takes no turn at the gate and has no time
        limit: both are the caller's. It may be cancelled at any time."""
        try:
            return await self._source.load(key, self.settings.match.match(key))
        except SourceError as error:
            raise LoadError(self.name, str(error)) from error

    async def close(self) -> None:
        await self._source.close()


class Loaders:
    """All loaders of this process. StartError, when it is made: a function that a loader calls is
    not there."""

    def __init__(self, settings: Sequence[LoaderSettings], *, demo: bool = False) -> None:
        if demo and all(one.name != DEMO.name for one in settings):
            settings = (*settings, DEMO)
        self._http = Http()
        self._by_name = {one.name: one for one in _made(settings, self._http)}
        # Sorting keeps the file's order among equals.
        self._by_weight = sorted(
            self._by_name.values(), key=lambda loader: -loader.settings.match.weight
        )
        self._heads = tuple(loader.settings.match.head for loader in self._by_weight)
        managing = [loader for loader in self._by_weight if not loader.settings.demo]
        self._managed = [loader.settings.match for loader in managing]
        self._managed_heads = tuple(match.head for match in self._managed)
        self.any_managed = bool(managing)
        self.any_read_through = any(loader.settings.read_through for loader in self._by_weight)

    def __repr__(self) -> str:
        return f"<Loaders {' '.join(self._by_name)}>" if self._by_name else "<Loaders none>"

    def match(self, key: bytes) -> Loader | None:
        """The loader for a key: of those that match, the one with the most literal text."""
        if key.startswith(self._heads):
            for loader in self._by_weight:
                if loader.settings.match.match(key) is not None:
                    return loader
        return None

    def named(self, name: str) -> Loader | None:
        return self._by_name.get(name)

    def manages(self, key: bytes) -> bool:
        """Whether a plain write of the key has to void loads. The demo's keys are left alone: its
        values are always the same."""
        # Asked for each write. One call tells most other keys apart: 0.1 us, whatever their number.
        return key.startswith(self._managed_heads) and any(
            match.match(key) is not None for match in self._managed
        )

    def read_through(self, key: bytes) -> bool:
        """Whether a plain read that misses loads."""
        if not self.any_read_through:
            return False
        loader = self.match(key)
        return loader is not None and loader.settings.read_through

    async def close(self) -> None:
        for loader in self._by_name.values():
            await loader.close()
        await self._http.close()


def _made(settings: Sequence[LoaderSettings], http: Http) -> list[Loader]:
    """StartError with every mistake, not the first alone."""
    loaders: list[Loader] = []
    mistakes: list[str] = []
    for one in settings:
        try:
            loaders.append(Loader(one, _source(one, http)))
        except SourceError as error:
            given = one.given.get("call")
            mistakes.append(f"{given.place if given else f'[loaders.{one.name}] call'}: {error}")
    if mistakes:
        raise StartError("; ".join(mistakes), BAD_SETTINGS)
    return loaders


def _source(settings: LoaderSettings, http: Http) -> Source:
    if settings.url is not None:
        return UrlSource(
            settings.url,
            http,
            ttl_ms=round(settings.ttl * 1000),
            honour_cache_control=settings.honour_cache_control,
        )
    if settings.call is not None:
        function = imported(settings.call, settings.match.names)
        return CallSource(settings.call, function, settings.concurrency)
    if settings.redis is not None:
        return RedisSource(settings.redis, settings.concurrency)
    assert settings.demo, settings.name
    return DemoSource()
