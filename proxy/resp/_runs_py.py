"""Runs of requests for several nodes, and such as are answered in part, in plain Python: a part of
_kernel_py.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

RUN_MAX = 256


class Routes(Protocol):
    """RouteMap, as far as this needs it."""

    end: int

    def hash_slot(self, data: bytes, pos: int) -> int: ...


def spread(routes: Routes, data: bytes, owners: Sequence[int], count: int) -> list[Any] | None:
    if count > RUN_MAX:
        return None
    order, pieces, pos = bytearray(), dict[int, list[bytes]](), 0
    for _ in range(count):
        found = routes.hash_slot(data, pos)
        if found < 0 or owners[found] < 0:
            return None
        pieces.setdefault(owners[found], []).append(data[pos : routes.end])
        order.append(list(pieces).index(owners[found]))
        pos = routes.end
    if pos != len(data):
        return None
    made: list[Any] = [bytes(order) if len(pieces) > 1 else None]
    for owner, texts in pieces.items():
        made += [owner, len(texts), b"".join(texts)]
    return made


def weave(order: bytes, texts: list[bytes]) -> bytes:
    at = [0] * len(texts)
    replies: list[bytes] = []
    for piece in order:
        text = texts[piece] if piece < len(texts) else b""
        begin = at[piece] if text else 0
        end = _reply_end(text, begin)
        if not begin < end <= len(text):
            raise ValueError("fewer replies than requests")
        at[piece] = end
        replies.append(text[begin:end])
    if at != [len(text) for text in texts]:
        raise ValueError("more replies than requests")
    return b"".join(replies)


def fit(
    there: bytes, gaps: list[int], replies: bytes, pos: int, nil: bytes, fills: Sequence[object]
) -> tuple[bytes, int, int, list[bytes | None]]:
    out: list[bytes] = []
    kept: list[bytes | None] = []
    said = hits = nils = 0
    for at, gap in enumerate(gaps):
        end = _reply_end(replies, pos)
        if not pos < end <= len(replies):
            raise ValueError("fewer replies than gaps")
        reply, pos = replies[pos:end], end
        is_nil = reply.startswith(b"_")
        nils += is_nil
        hits += reply.startswith(b"$")
        out += there[said:gap], nil if is_nil else reply
        said = gap
        if fills and fills[at] is not None:
            kept.append(None if is_nil else reply)
    if pos != len(replies):
        raise ValueError("more replies than gaps")
    return b"".join(out) + there[said:], hits, nils, kept


def _reply_end(text: bytes, at: int) -> int:
    """Where the reply at this offset ends; 0: not in the text."""
    pending = 1
    while pending:
        line = text.find(b"\n", at)
        if line < 0:
            return 0
        kind, head, at = text[at : at + 1], text[at + 1 : line], line + 1
        pending -= kind != b"|"
        if kind in b"$*%~=!|>" and not head.startswith(b"-"):
            value = int(head)
            if kind in b"$=!":
                at += value + 2
            else:
                pending += 2 * value if kind in b"%|" else value
    return at
