"""The replies of several nodes as one, in bytes of the protocol that they came in.

Owns what each Merger does, and what the client is told where a part failed. Where none of them did
anything the whole is that error; where some did, the error says how many: the client must know that
it is half done. Values are never decoded, only where they end. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ..errors import OddReply
from ..resp.replies import bulk, integer, null
from .canary import is_canary
from .local import merged_info
from .table import Merger

_AGGREGATES: Final = b"*~>%|"
_BULKS: Final = b"$=!"
_NULLS: Final = (b"$-1\r\n", b"*-1\r\n", b"_\r\n")
DEPTH_MAX: Final = 32  # of arrays in arrays: more is no answer to anything that is merged

Pick = Callable[[int], int]


def merge(
    merger: Merger,
    replies: Sequence[bytes],
    resp: int = 2,
    places: Sequence[Sequence[int]] = (),
    pick: Pick = lambda count: 0,
    parts: bytes = b"slots",
) -> bytes:
    """The one reply out of a whole reply of each part, in their order.

    ``places``: of KEYED, the places of each part's keys. ``pick``: of RANDOM, gives a number below
    the one it gets. ``parts``: what the error of a half done command calls them.
    OddReply where a part is not of the kind that was asked for."""
    assert replies, "a command must have gone to somebody"
    if merger is Merger.ONE_OK:
        return one_ok(replies)
    failed = first_error(replies)
    if failed is not None:
        return failed if merger in _READS else half_done(failed, replies, parts)
    if merger is Merger.KEYED:
        return keyed(replies, places)
    if merger is Merger.RANDOM:
        return random_of(replies, resp, pick)
    return _MERGES[merger](replies)


def is_error(reply: bytes) -> bool:
    return reply[:1] in (b"-", b"!")


def first_error(replies: Sequence[bytes]) -> bytes | None:
    return next(filter(is_error, replies), None)


def half_done(failed: bytes, replies: Sequence[bytes], parts: bytes) -> bytes:
    """The error of a command that has changed something on some nodes and not on others."""
    done = len(replies) - sum(map(is_error, replies))
    if not done:
        return failed
    text = failed[1:].rstrip(b"\r\n")
    if failed.startswith(b"!"):
        text = failed.partition(b"\r\n")[2].rstrip(b"\r\n").replace(b"\r\n", b" ")
    return b"-%b (%d of %d %b done)\r\n" % (text, done, len(replies), parts)


# --- Mergers -----------------------------------------------------------------------------------


def one_ok(replies: Sequence[bytes]) -> bytes:
    """The first success. Else the first error that is not NOTBUSY: on those that say so there was
    nothing to do."""
    for reply in replies:
        if not is_error(reply):
            return reply
    return next((reply for reply in replies if not reply.startswith(b"-NOTBUSY")), replies[0])


def all_ok(replies: Sequence[bytes]) -> bytes:
    return replies[0]


def same(replies: Sequence[bytes]) -> bytes:
    """What all say. OddReply where they disagree."""
    if any(reply != replies[0] for reply in replies):
        raise OddReply("a question that all nodes answer alike")
    return replies[0]


def total(replies: Sequence[bytes]) -> bytes:
    return integer(sum(map(_integer, replies)))


def least(replies: Sequence[bytes]) -> bytes:
    """The least of numbers, or item by item of arrays of them (WAITAOF)."""
    if replies[0].startswith(b"*"):
        return _joined([integer(min(column)) for column in _columns(replies)])
    return integer(min(map(_integer, replies)))


def every(replies: Sequence[bytes]) -> bytes:
    return _joined([integer(int(all(column))) for column in _columns(replies)])


def concat(replies: Sequence[bytes]) -> bytes:
    """Arrays one behind the other; of sets of RESP3 a set."""
    heads = [_head(reply) for reply in replies]
    body = b"".join(reply[at:] for reply, (_, at) in zip(replies, heads, strict=True))
    return replies[0][:1] + b"%d\r\n" % sum(count for count, _ in heads) + body


def union(replies: Sequence[bytes]) -> bytes:
    found = dict.fromkeys(item for reply in replies for item in items(reply))
    return _joined(list(found), replies[0][:1])


def channels(replies: Sequence[bytes]) -> bytes:
    found = [item for reply in replies for item in items(reply) if not _is_canary(item)]
    return _joined(list(dict.fromkeys(found)), replies[0][:1])


def _is_canary(item: bytes) -> bool:
    return is_canary(item.partition(b"\r\n")[2].removesuffix(b"\r\n"))


def sum_pairs(replies: Sequence[bytes]) -> bytes:
    """Names and numbers, flat or as a map: the numbers of a name together."""
    sums: dict[bytes, int] = {}
    order: list[bytes] = []  # a name that was asked for twice is answered twice
    for number, reply in enumerate(replies):
        pairs = list(items(reply))
        names = pairs[::2]
        if number == 0:
            order = names
        elif names != order:
            raise OddReply("PUBSUB NUMSUB")
        for name, count in dict(zip(names, pairs[1::2], strict=True)).items():
            sums[name] = sums.get(name, 0) + _integer(count)
    flat = [word for name in order for word in (name, integer(sums[name]))]
    kind = replies[0][:1]
    return kind + b"%d\r\n" % (len(order) if kind == b"%" else len(flat)) + b"".join(flat)


def keyed(replies: Sequence[bytes], places: Sequence[Sequence[int]]) -> bytes:
    """The items of the parts at the places of their keys."""
    whole: list[bytes] = [b""] * sum(map(len, places))
    for reply, those in zip(replies, places, strict=True):
        found = list(items(reply))
        if len(found) != len(those):
            raise OddReply("a request of several keys")
        for place, item in zip(those, found, strict=True):
            whole[place] = item
    return _joined(whole)


def random_of(replies: Sequence[bytes], resp: int, pick: Pick) -> bytes:
    """One that is not nil; nil only where all are."""
    found = [reply for reply in replies if reply not in _NULLS]
    return found[pick(len(found))] if found else null(resp)


def info(replies: Sequence[bytes]) -> bytes:
    """INFO of the first node as that of a single server, with the keyspaces of all."""
    texts = [_text(reply) for reply in replies]
    text = merged_info(texts)
    if replies[0].startswith(b"="):
        return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)
    return bulk(text)


# --- Where values end --------------------------------------------------------------------------


def items(reply: bytes) -> Iterator[bytes]:
    """The items of an array, a set or a map (name and value one after the other), each with its
    framing. OddReply where it is none, or not whole."""
    count, at = _head(reply)
    for _ in range(count * 2 if reply[:1] == b"%" else count):
        end = _end(reply, at, 0)
        yield reply[at:end]
        at = end
    if at != len(reply):
        raise OddReply("a request of several nodes")


def _end(data: bytes, at: int, depth: int) -> int:
    line = data.find(b"\r\n", at)
    if line < 0 or depth > DEPTH_MAX:
        raise OddReply("a request of several nodes")
    kind = data[at : at + 1]
    end = line + 2
    if kind in _BULKS or kind in _AGGREGATES:
        size = _size(data[at + 1 : line])
        if kind in _BULKS:
            end = end if size < 0 else end + size + 2
        else:
            for _ in range(max(size, 0) * (2 if kind in (b"%", b"|") else 1)):
                end = _end(data, end, depth + 1)
    if end > len(data):
        raise OddReply("a request of several nodes")
    return end


def _size(digits: bytes) -> int:
    try:
        return int(digits)
    except ValueError:
        raise OddReply("a request of several nodes") from None


def _head(reply: bytes) -> tuple[int, int]:
    """How many items an aggregate has, and where they begin."""
    line = reply.find(b"\r\n")
    if reply[:1] not in (b"*", b"~", b"%") or line < 0:
        raise OddReply("a request of several nodes")
    return max(_size(reply[1:line]), 0), line + 2


def _integer(reply: bytes) -> int:
    if reply[:1] != b":":
        raise OddReply("a count")
    return _size(reply[1:-2])


def _columns(replies: Sequence[bytes]) -> list[tuple[int, ...]]:
    rows = [[_integer(item) for item in items(reply)] for reply in replies]
    if any(len(row) != len(rows[0]) for row in rows):
        raise OddReply("a request of several nodes")
    return list(zip(*rows, strict=True))


def _text(reply: bytes) -> bytes:
    line = reply.find(b"\r\n")
    if reply[:1] not in (b"$", b"=") or line < 0:
        raise OddReply("INFO")
    return reply[line + 2 : -2].removeprefix(b"txt:" if reply[:1] == b"=" else b"")


def _joined(found: Sequence[bytes], kind: bytes = b"*") -> bytes:
    return kind + b"%d\r\n" % len(found) + b"".join(found)


# What changes nothing is not half done where a part fails.
_READS: Final = frozenset(
    {Merger.KEYED, Merger.CONCAT, Merger.UNION, Merger.CHANNELS, Merger.AND, Merger.RANDOM}
    | {Merger.INFO, Merger.SUM_PAIRS, Merger.MIN, Merger.ONE}
)
_MERGES: Final[dict[Merger, Callable[[Sequence[bytes]], bytes]]] = {
    Merger.ONE: all_ok,
    Merger.ALL_OK: all_ok,
    Merger.SAME: same,
    Merger.SUM: total,
    Merger.MIN: least,
    Merger.AND: every,
    Merger.CONCAT: concat,
    Merger.UNION: union,
    Merger.CHANNELS: channels,
    Merger.SUM_PAIRS: sum_pairs,
    Merger.INFO: info,
}
