"""Reads of many strings for commands of the proxy, as fresh as their loaders want them.

    MGET, and PTTL of the keys whose values may be stale ─▶ Call.refreshes ─▶ what is handed out

One piece to the server. Loads nothing that is missing: who asks does."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ServerError
from ..resp.replies import BULK, Value, items
from ..resp.requests import encode
from .spec import Call

UNKNOWN = -1  # how long it lasts, where the server did not say


async def strings(call: Call, keys: Sequence[bytes]) -> list[bytes | None]:
    """The string at each key; None where there is none. ServerError, OddReply."""
    refreshes = call.refreshes
    timed = (
        [] if refreshes is None else [key for key in dict.fromkeys(keys) if refreshes.timed(key)]
    )
    asked = (b"MGET", *keys)
    if refreshes is None or not timed:
        return _values(await call.upstream.ask(*asked), keys)
    reply, *told = await call.upstream.many(
        [encode(asked), *(encode((b"PTTL", key)) for key in timed)]
    )
    values = _values(reply, keys)
    found = dict(zip(keys, values, strict=True))
    ttls = {
        key: ttl if isinstance(ttl, int) else UNKNOWN for key, ttl in zip(timed, told, strict=True)
    }
    waited: dict[bytes, tuple[bytes, int]] = {}
    for key in timed:
        value = found[key]
        if value is None:
            continue
        if refreshes.softly(key, ttls[key]):
            waited[key] = value, ttls[key]
        else:
            refreshes.seen(key, ttls[key])
    if waited:
        found.update(await refreshes.newest_of(waited))
    return [found[key] for key in keys]


def _values(reply: Value, keys: Sequence[bytes]) -> list[bytes | None]:
    if isinstance(reply, ServerError):
        raise reply
    return [*items(reply, "MGET", *[BULK] * len(keys))]
