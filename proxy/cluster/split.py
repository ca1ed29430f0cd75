"""A request whose keys are in several slots, cut into requests of one slot each.

Owns the cutting of MGET, MSET, DEL, EXISTS, TOUCH, UNLINK and MSETEX. By slot, not by node: two
slots of one node are CROSSSLOT to it too. By key, while those of one slot are at two nodes and stay
there (TRYAGAIN). Refuses what would not do as a whole what it says:
its replies cannot be made one (PFCOUNT), or it must be one step (MSETNX). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ServerError
from ..resp.kernel import hash_slot
from .table import Row, Splitter

# As the servers word it.
CROSSSLOT: Final = b"-CROSSSLOT Keys in request don't hash to the same slot"
_CONDITIONS: Final = frozenset({b"NX", b"XX"})


@dataclass(frozen=True, slots=True)
class Piece:
    """The request to one slot; ``places``: which of the whole's keys are its, in its order."""

    slot: int
    words: tuple[bytes, ...]
    places: tuple[int, ...]


def one_slot(keys: Sequence[bytes]) -> int | None:
    """The slot of all of the keys; None: there are none. ServerError where they are in several."""
    slots = set(map(hash_slot, keys))
    if len(slots) > 1:
        raise ServerError(CROSSSLOT)
    return slots.pop() if slots else None


def split(words: Sequence[bytes], row: Row) -> list[Piece]:
    """The request in pieces, in the order of each slot's first key; a key that is named twice is
    named twice in its piece, in order. A malformed request is one piece that its server refuses
    in its own words. ServerError where it cannot be cut."""
    assert row.splitter is not Splitter.NONE
    if row.splitter is Splitter.KEYS:
        return _cut(words[:1], words[1:], 1, ())
    if row.splitter is Splitter.PAIRS:
        if len(words) % 2 == 0 or len(words) < 3:
            # Cut short to where the server counts words, not slots: the same error for any keys.
            return [_whole(words[:2])]
        return _cut(words[:1], words[1:], 2, ())
    return _counted_pairs(words)


def by_key(words: Sequence[bytes], row: Row) -> list[Piece]:
    """The request in pieces of one key each, in their order; none where it has one key only, or
    where it is to be executed as it is."""
    step = {Splitter.KEYS: 1, Splitter.PAIRS: 2}.get(row.splitter, 0)
    if not step or len(words) < 1 + 2 * step or (len(words) - 1) % step:
        return []
    return [
        Piece(hash_slot(words[at]), (words[0], *words[at : at + step]), ((at - 1) // step,))
        for at in range(1, len(words), step)
    ]


def _counted_pairs(words: Sequence[bytes]) -> list[Piece]:
    """MSETEX count key value [key value ...] [NX | XX] [EX seconds ...]"""
    digits = words[1] if len(words) > 1 else b""
    count = int(digits) if digits.isdigit() and len(digits) < 10 else 0
    if count < 1 or len(words) < 2 + 2 * count:
        return [_whole(words)]
    options = tuple(words[2 + 2 * count :])
    pieces = _cut(words[:1], words[2 : 2 + 2 * count], 2, options, counted=True)
    if len(pieces) > 1 and any(option.upper() in _CONDITIONS for option in options):
        raise ServerError(CROSSSLOT)  # all keys or none: no piece could know
    return pieces


def _cut(
    head: Sequence[bytes],
    words: Sequence[bytes],
    step: int,
    tail: tuple[bytes, ...],
    counted: bool = False,
) -> list[Piece]:
    places: dict[int, list[int]] = {}
    for place in range(len(words) // step):
        places.setdefault(hash_slot(words[place * step]), []).append(place)
    return [
        Piece(
            slot,
            (
                *head,
                *((b"%d" % len(those),) if counted else ()),
                *(word for place in those for word in words[place * step : (place + 1) * step]),
                *tail,
            ),
            tuple(those),
        )
        for slot, those in places.items()
    ] or [_whole((*head, *words, *tail))]


def _whole(words: Sequence[bytes]) -> Piece:
    """The request as it is. Where it goes does not matter: no node executes it."""
    return Piece(hash_slot(words[1]) if len(words) > 1 else 0, tuple(words), ())
