from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..near.index import Index
from ..near.sketch import Sketch
from ..near.worth import Worth

ROUTES: Final[Mapping[str, int]]
DRY: Final[int]
DONE: Final[int]
PUSH: Final[int]
BROKEN: Final[int]

class RouteMap:
    end: int
    last: int
    route: int
    reads: int
    asking: int
    writing: int
    marks: bytes | None
    words: int
    tells: bool
    told: bytes | None
    nils: int
    missing: int
    asked: bytes | None
    gaps: list[int]
    doubts: list[tuple[int, bytes]]
    sampled: list[int]
    worth: Worth | None
    def __init__(
        self, routes: Mapping[bytes, int], groups: Mapping[bytes, int] | None = None
    ) -> None: ...
    def get(self, name: bytes) -> int: ...
    def group(self, name: bytes) -> int: ...
    def scan(self, data: bytes, pos: int, limit: int) -> int: ...
    def key(self, data: bytes, pos: int) -> bytes | None: ...
    def hash_slot(self, data: bytes, pos: int) -> int: ...
    def near(
        self,
        data: bytes,
        pos: int,
        limit: int,
        index: Index,
        sketch: Sketch,
        now: float,
        flat: bool,
        mixed: bool,
    ) -> int: ...
    def many(
        self, data: bytes, pos: int, index: Index, sketch: Sketch, now: float, flat: bool
    ) -> int: ...
    def part(self, data: bytes, start: int, end: int) -> bytes: ...

class Cutter:
    done: int
    bulks: int
    nulls: int
    errors: int
    stop: int
    places: list[int] | None
    skip: int
    def __init__(self, requests: bool = False) -> None: ...
    @property
    def inside(self) -> bool: ...
    def cut(self, data: bytes, pos: int, want: int, pushes: bool = False) -> int: ...
    def part(self, data: bytes, start: int, end: int) -> bytes: ...
    def flat(self, data: bytes, pos: int, at: int) -> bytes: ...

def mix(key: bytes) -> int: ...
def hash_slot(key: bytes) -> int: ...
def split(data: bytes, pos: int) -> tuple[list[bytes], int] | tuple[None, int]: ...
def pack_keys(name: bytes, keys: list[bytes], before: bytes, behind: bytes) -> bytes: ...
def pack_sets(head: bytes, keys: list[bytes], values: list[bytes], tails: list[bytes]) -> bytes: ...
def spread(
    routes: RouteMap, data: bytes, owners: Sequence[int], count: int
) -> list[Any] | None: ...
def weave(order: bytes, texts: list[bytes]) -> bytes: ...
def fit(
    there: bytes,
    gaps: list[int],
    replies: bytes,
    pos: int,
    nil: bytes,
    fills: Sequence[object],
) -> tuple[bytes, int, int, list[bytes | None]]: ...
