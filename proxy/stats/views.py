"""What STATS tells beside its rows: keys, slow commands, latencies, and the proxy as it is now. Of
all workers, by any of them.

    Keys, SlowLog, Sampler ─▶ once a second ─▶ the worker's text on the board ─▶ read by all
    reset: a number on the board goes up; each forgets when it sees it, and what others have shown
           under the former number counts no more

Knows no client: who may see what is commands/stats.py's to ask."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

from ..resp.replies import Value
from .keys import LARGE, PREFIX, SHOWN, VIEWS, Keys, Seen, seen_of, top
from .sampler import Class, Histogram, Sampler, Tier
from .slowlog import Slow, SlowLog, slowest

QUANTILES: Final = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
ALL: Final = "all"  # tiers
# Counts and the longest, by class and tier.
Latencies = Mapping[str, tuple[list[int], float]]


class Shelf(Protocol):
    """A worker's place on the board (stats/shared.py)."""

    @property
    def resets(self) -> int:
        """How often all have begun anew."""
        ...

    @resets.setter
    def resets(self, count: int, /) -> None: ...

    def show(self, text: bytes) -> bool:
        """Have the others see it; False: it is too long."""
        ...

    def others(self) -> Sequence[bytes]:
        """What the others show."""
        ...


class Views:
    """``shelf``: None where there is one worker."""

    def __init__(
        self, keys: Keys, slow: SlowLog, sampler: Sampler, shelf: Shelf | None = None
    ) -> None:
        self._keys, self._slow, self._sampler, self._shelf = keys, slow, sampler, shelf
        self._resets = shelf.resets if shelf is not None else 0
        self.proxy: Callable[[], Mapping[str, Value]] = dict  # process/present.py, once it is made

    def __repr__(self) -> str:
        return f"<Views {self._keys!r} {self._slow!r}>"

    def join(self, shelf: Shelf) -> None:
        self._shelf, self._resets = shelf, shelf.resets

    def of(self, db: int) -> OwnViews:
        """For the commands of one db."""
        return OwnViews(self, db)

    # --- What is told -------------------------------------------------------------------------

    def seen(self, view: str, db: int) -> list[tuple[bytes, Mapping[str, Value]]]:
        """The first of a view, in one db; with each the key that its reader must be able to
        read."""
        found: dict[bytes, Seen] = {}
        records = [one.record() for one in self._keys.top(view)]
        for record in (*records, *(one for other in self._others() for one in other[view])):
            one = seen_of(record)
            if one.db != db:
                continue
            if (there := found.get(one.name)) is None:
                found[one.name] = one
            else:
                there.add(one)
        return [(one.example, _row(view, one)) for one in top(found.values(), view)]

    def slowest(self) -> list[Mapping[str, Value]]:
        others = (Slow(**one) for other in self._others() for one in other["slow"])
        return [one.reply() for one in slowest((*self._slow.slowest, *others))]

    def latency(self) -> list[Mapping[str, Value]]:
        """A row for each class of commands and, behind it, for each tier that has answered some."""
        others = (cast("Latencies", other["latency"]) for other in self._others())
        texts: list[Latencies] = [_latencies(self._sampler), *others]
        rows: list[Mapping[str, Value]] = []
        for kind in Class:
            tiers: dict[str, Histogram] = {}
            for text in texts:
                for tier in Tier:
                    found = text.get(f"{kind.value} {tier.value}")
                    if found is None:
                        continue
                    counts, most = found
                    for name in (ALL, tier.value):
                        _merge(tiers.setdefault(name, Histogram()), counts, most)
            rows += (_quantiles(kind.value, name, one) for name, one in tiers.items())
        return rows

    # --- The others ---------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Once a second."""
        self._keys.tick(now)
        shelf = self._shelf
        if shelf is None:
            return
        if shelf.resets != self._resets:
            self._forget(shelf.resets)
        for most in (SHOWN, SHOWN // 4, 1):
            if shelf.show(self._text(most)):
                break

    def reset(self) -> None:
        """Begin anew, in all workers."""
        resets = self._resets
        if self._shelf is not None:
            resets = self._shelf.resets = self._shelf.resets + 1
        self._forget(resets)

    def _forget(self, resets: int) -> None:
        self._resets = resets
        self._keys.reset()
        self._slow.reset()
        self._sampler.reset()

    def _text(self, most: int) -> bytes:
        views = {view: [one.record() for one in self._keys.top(view)[:most]] for view in VIEWS}
        slow = [one.record() for one in self._slow.slowest[:most]]
        latency = _latencies(self._sampler)
        return json.dumps(
            {"resets": self._resets, **views, "slow": slow, "latency": latency}
        ).encode()

    def _others(self) -> Iterator[Mapping[str, Any]]:
        for text in self._shelf.others() if self._shelf is not None else ():
            other = cast("Mapping[str, Any]", json.loads(text))
            if other["resets"] == self._resets:
                yield other


class OwnViews:
    """What commands see of it (custom/spec.py, Views)."""

    def __init__(self, views: Views, db: int) -> None:
        self._views, self._db = views, db

    def __repr__(self) -> str:
        return f"<OwnViews db={self._db} {self._views!r}>"

    def seen(self, view: str) -> Sequence[tuple[bytes, Mapping[str, Value]]]:
        return self._views.seen(view, self._db)

    def slowest(self) -> Sequence[Mapping[str, Value]]:
        return self._views.slowest()

    def latency(self) -> Sequence[Mapping[str, Value]]:
        return self._views.latency()

    def proxy(self) -> Mapping[str, Value]:
        return self._views.proxy()


def _row(view: str, one: Seen) -> Mapping[str, Value]:
    hits, misses = one.found
    return {
        "prefix" if view == PREFIX else "key": one.name,
        "reads": round(one.reads),
        "hits": hits,
        "misses": misses,
        "bytes": round(one.size) if one.hits or view == LARGE else None,
    }


def _latencies(sampler: Sampler) -> Latencies:
    """What was seen since the reset, by class and tier: counts, and the longest."""
    return {
        f"{kind.value} {tier.value}": (one.since, one.most)
        for (kind, tier), one in sampler.commands.items()
        if one.recent
    }


def _merge(into: Histogram, counts: Sequence[int], most: float) -> None:
    into.counts = [one + other for one, other in zip(into.counts, counts, strict=True)]
    into.most = max(into.most, most)


def _quantiles(kind: str, tier: str, one: Histogram) -> Mapping[str, Value]:
    found = {name: one.quantile(part) for name, part in QUANTILES.items()}
    return {
        "class": kind,
        "tier": tier,
        "samples": one.count,
        **{name: round((seconds or 0.0) * 1e6) for name, seconds in found.items()},
        "max_us": round(one.most * 1e6),
    }
