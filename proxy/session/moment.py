"""`$` in XREAD BLOCK is the moment at which the request comes. On a lane that has still to be
opened it would be a later one, and an entry that another client adds meanwhile would be lost: the
last id is asked on the shared lane then, and put in its place.

Source: https://redis.io/docs/latest/commands/xread/ (the special id $)."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ProxyError


def moments(args: Sequence[bytes]) -> dict[int, bytes]:
    """Where `$` stands in an XREAD, and for which key; empty where it does not, or for anything
    else."""
    if args[0].upper() != b"XREAD":
        return {}
    at = 1
    while at < len(args) and args[at].upper() in (b"COUNT", b"BLOCK"):
        at += 2
    if at >= len(args) or args[at].upper() != b"STREAMS":
        return {}
    half, odd = divmod(len(args) - at - 1, 2)
    if odd:
        return {}
    ids = range(at + 1 + half, len(args))
    return {place: args[place - half] for place in ids if args[place] == b"$"}


def last_id(key: bytes) -> tuple[bytes, ...]:
    """The request that tells the last id of a stream."""
    return (b"XREVRANGE", key, b"+", b"-", b"COUNT", b"1")


def id_of(reply: bytes | ProxyError) -> bytes:
    """What its reply says; `$` where it does not: the user may not ask, or it is no stream."""
    if not isinstance(reply, bytes):
        return b"$"
    if reply == b"*0\r\n":
        return b"0-0"  # any entry is a new one
    lines = reply.split(b"\r\n", 4)
    whole = len(lines) == 5 and lines[:2] == [b"*1", b"*2"] and lines[2].startswith(b"$")
    return lines[3] if whole else b"$"
