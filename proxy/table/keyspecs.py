"""Where the keys of a request stand, as COMMAND tells it since Redis 7.0.

Owns reading key specifications; finding keys by them is cluster/keys.py. Pure.
Source: https://redis.io/docs/latest/develop/reference/key-specs/"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Range:
    """Keys up to ``last`` words behind the first, or from the end where it is negative; only the
    first of ``limit`` equal parts where that is more than 1."""

    last: int
    step: int
    limit: int


@dataclass(frozen=True, slots=True)
class Counted:
    """A number ``at`` words behind the start says how many keys follow from ``first`` on."""

    at: int
    first: int
    step: int


@dataclass(frozen=True, slots=True)
class KeySpec:
    """The search begins at a word's index, or behind a keyword that is looked for from there on
    (backwards from the end where it is negative). ``find``: None where only the server knows."""

    keyword: bytes  # b"": none
    start: int
    find: Range | Counted | None


def specs_of(value: object) -> tuple[KeySpec, ...]:
    """The key specifications of a row of COMMAND; those that say nothing are left out."""
    specs = cast("list[object]", value) if isinstance(value, list) else []
    return tuple(_spec(spec) for spec in map(_map, specs) if b"begin_search" in spec)


def written(specs: tuple[KeySpec, ...]) -> list[object]:
    """The same in the form that ``specs_of`` reads."""
    return [_written(spec) for spec in specs]


def _spec(spec: Mapping[bytes, Any]) -> KeySpec:
    begin, begins = _typed(spec[b"begin_search"])
    find, finds = _typed(spec.get(b"find_keys"))
    found: Range | Counted | None = None
    if find == b"range":
        found = Range(*(int(finds[name]) for name in (b"lastkey", b"keystep", b"limit")))
    elif find == b"keynum":
        found = Counted(*(int(finds[name]) for name in (b"keynumidx", b"firstkey", b"keystep")))
    if begin == b"index":
        return KeySpec(b"", int(begins[b"index"]), found)
    if begin == b"keyword":
        return KeySpec(_word(begins[b"keyword"]), int(begins[b"startfrom"]), found)
    return KeySpec(b"", 0, None)


def _written(spec: KeySpec) -> dict[str, object]:
    begin: dict[str, object] = {"index": spec.start}
    if spec.keyword:
        begin = {"keyword": spec.keyword.decode(), "startfrom": spec.start}
    kind = "keyword" if spec.keyword else "index"
    find: dict[str, object] = {"type": "unknown", "spec": {}}
    if isinstance(spec.find, Range):
        said = {"lastkey": spec.find.last, "keystep": spec.find.step, "limit": spec.find.limit}
        find = {"type": "range", "spec": said}
    elif isinstance(spec.find, Counted):
        said = {"keynumidx": spec.find.at, "firstkey": spec.find.first, "keystep": spec.find.step}
        find = {"type": "keynum", "spec": said}
    return {"begin_search": {"type": kind, "spec": begin}, "find_keys": find}


def _typed(value: object) -> tuple[bytes, Mapping[bytes, Any]]:
    whole = _map(value)
    return _word(whole.get(b"type", b"")), _map(whole.get(b"spec"))


def _map(value: object) -> dict[bytes, Any]:
    """A map of RESP3, or the flat array that it is in RESP2."""
    if isinstance(value, Mapping):
        items = cast("Mapping[object, Any]", value).items()
        return {_word(name): item for name, item in items}
    if isinstance(value, list):
        flat: Iterator[Any] = iter(cast(Any, value))
        return {_word(name): item for name, item in zip(flat, flat, strict=False)}
    return {}


def _word(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
