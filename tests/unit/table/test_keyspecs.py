"""Key specifications, out of COMMAND's maps and flat arrays."""

from __future__ import annotations

import pytest
from nearhit.proxy.table.keyspecs import Counted, KeySpec, Range, specs_of, written

FLAT = [
    b"flags", [b"RO"],
    b"begin_search", [b"type", b"index", b"spec", [b"index", 2]],
    b"find_keys", [b"type", b"keynum", b"spec", [b"keynumidx", 0, b"firstkey", 1, b"keystep", 1]],
]  # fmt: skip
MAP = {
    b"begin_search": {b"type": b"keyword", b"spec": {b"keyword": b"STREAMS", b"startfrom": 1}},
    b"find_keys": {b"type": "range", "spec": {"lastkey": -1, "keystep": 1, "limit": 2}},
}
UNKNOWN = {"begin_search": {"type": "unknown", "spec": {}}, "find_keys": {"type": "unknown"}}

SPECS = (
    KeySpec(b"", 2, Counted(0, 1, 1)),
    KeySpec(b"STREAMS", 1, Range(-1, 1, 2)),
    KeySpec(b"", 0, None),
)


def test_maps_and_flat_arrays_are_read() -> None:
    assert specs_of([FLAT, MAP, UNKNOWN]) == SPECS


def test_what_was_written_is_read_again() -> None:
    assert specs_of(written(SPECS)) == SPECS


@pytest.mark.parametrize("value", [None, b"", {}, [], [[b"flags", [b"RO"]]], [5]])
def test_what_says_nothing_of_keys_is_none(value: object) -> None:
    assert specs_of(value) == ()
