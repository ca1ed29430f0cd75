"""What ``nearhit invalidate --dry-run`` looks at: which keys are there that INVALIDATE would take.

    KEYS      EXISTS of each
    PATTERN   SCAN MATCH, without the keys that are Nearhit's own, as INVALIDATE leaves them
    TAG       ZSCAN of the tag's keys and of those set apart, then EXISTS of each

Asks only what reads. A key that two of them name is found twice, and what others write meanwhile
may be missed: it is a look, not a promise. bulk.py calls ``found_by``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, cast

from ..keys.ours import OurKeys, tag_closed_key, tag_key
from ..settings.config import ROWS
from .reach import Link

PAGE: Final = b"1000"

Found = Iterator[tuple[int, list[bytes]]]


def found_by(link: Link, form: bytes, names: Sequence[bytes]) -> Found:
    """How many keys were looked at, and those of them that are there, page after page."""
    if form == b"PATTERN":
        # Of another stats_key the proxy knows: one key too many is shown then.
        ours = OurKeys((ROWS["stats_key"].default or "").encode())
        for glob in names:
            chosen = ours.left_by(glob)
            for page in link.pages(b"SCAN", b"MATCH", glob, b"COUNT", PAGE):
                yield len(page), chosen(page)
    elif form == b"TAG":
        for tag in names:
            parts = cast("set[bytes] | list[bytes]", link.ask(b"SMEMBERS", tag_closed_key(tag)))
            for name in (tag_key(tag), *parts):
                for page in link.pages(b"ZSCAN", name, b"COUNT", PAGE):
                    keys = page[::2]
                    yield len(keys), _there(link, keys)
    else:
        yield len(names), _there(link, list(dict.fromkeys(names)))


def _there(link: Link, keys: list[bytes]) -> list[bytes]:
    if not keys:
        return []
    replies = link.many([(b"EXISTS", key) for key in keys])
    return [key for key, there in zip(keys, replies, strict=True) if there]
