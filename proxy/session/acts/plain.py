"""What most acts do: send the request on, or send it and wait for what its reply says."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import ProxyError
from ...hot.fills import forget
from ...resp.requests import encode
from ...table.table import READS
from ...upstream.lane import Lane
from ..conducted import Conducted
from ..reasons import STALL_DRAIN, STALL_END, STALL_REPLY
from ..slots import line_of

Act = Callable[[Conducted, list[bytes]], bool]
Answer = Callable[[bytes], bytes]
Lost = Callable[[ProxyError], bytes]


def forward(session: Conducted, args: list[bytes]) -> bool:
    """Send the request where the session's requests go."""
    # Inside MULTI a read is answered QUEUED, which counts as neither hit nor miss.
    session.forward(encode(args), reads=int(args[0].upper() in READS))
    return True


def ending(session: Conducted) -> Lost:
    """For a request that asks for state, whose lane is lost: what follows was meant for the state,
    so the client is told and closed, as where there is no place for a lane (Session._act)."""

    def lost(why: ProxyError) -> bytes:
        session.stall(STALL_END)
        return why.line

    return lost


def forgetting(
    session: Conducted, keys: list[bytes] | None, seen: Answer, lost: Lost = line_of
) -> tuple[Answer, Lost]:
    """For a peeked request that writes these keys, None: any: the near cache forgets them now, and
    again before the client hears of it; what was filled in between may be older."""
    cache = session.near.cache
    if cache is None:
        return seen, lost
    forget(cache, keys)

    def seen_and_forgotten(reply: bytes) -> bytes:
        forget(cache, keys)
        return seen(reply)

    def lost_and_forgotten(why: ProxyError) -> bytes:
        forget(cache, keys)
        return lost(why)

    return seen_and_forgotten, lost_and_forgotten


def write_any(session: Conducted, args: list[bytes], seen: Answer = bytes) -> None:
    """Send a request that may write any key; as it is answered everybody who waits for one
    looks."""

    def woken(reply: bytes) -> bytes:
        session.context.scopes.wake()
        return seen(reply)

    def lost(why: ProxyError) -> bytes:
        session.context.scopes.wake()
        return why.line

    answered, failed = forgetting(session, None, woken, lost)
    session.peek(encode(args), answered, lost=failed)


def ask(
    session: Conducted,
    args: list[bytes],
    seen: Answer,
    lane: Lane | None = None,
    lost: Lost = line_of,
) -> None:
    """Send the request, and parse no further until its reply has told how to go on."""
    resume = session.stall(STALL_REPLY)

    def resumed(text: bytes) -> bytes:
        session.stall(STALL_DRAIN)
        resume()
        return text

    session.peek(
        encode(args), lambda reply: resumed(seen(reply)), lane, lambda why: resumed(lost(why))
    )
