"""Which of the keys that were seen somebody is told of: those that he may GET, by the server's ACL.

STATS asks it for its client, the status page for the user of the upstream's URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ...lua import script
from ..errors import ServerError
from ..resp.replies import Value
from .spec import Call

MAY_READ: Final = script("may_read")


async def visible(
    call: Call, found: Sequence[tuple[bytes, Mapping[str, Value]]]
) -> list[Mapping[str, Value]]:
    """Of rows, each with the key that its reader must be able to read, those that this user may
    see. ProxyError: the server does not say."""
    allowed = await _readable(call, [key for key, _ in found])
    return [row for (_, row), may in zip(found, allowed, strict=True) if may]


async def _readable(call: Call, keys: Sequence[bytes]) -> Sequence[bool]:
    """Which of the keys this user may read."""
    if not keys:
        return ()
    may = await call.upstream.run(MAY_READ, (), keys)
    if isinstance(may, list | tuple):
        return [one == 1 for one in may]
    # Redis 6.2 knows no keys that are only read: who may do anything with one may do this.
    return [not isinstance(one, ServerError) for one in await call.bulk.many(_exist(keys))]


def _exist(keys: Sequence[bytes]) -> list[bytes]:
    return [b"*2\r\n$6\r\nEXISTS\r\n$%d\r\n%b\r\n" % (len(key), key) for key in keys]
