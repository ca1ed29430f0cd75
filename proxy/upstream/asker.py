"""The server as commands of the proxy ask it: awaitable requests and scripts on a shared lane.

Turns replies into values and error replies into exceptions. Owns no connection: the lane is looked
up for each request, since a closed lane is replaced. Never repeats a request, except a script that
the server did not know."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Final, cast

import hiredis

from ...lua import Script
from ..errors import OddReply, ProxyError, ServerError
from ..resp.replies import Value, parsed, parsed_many
from .ask import AskSlot, Reply, drop
from .lane import Lane

# What servers put behind an error that a script met: the client asked for no script.
_WHERE: Final = re.compile(rb" script: \S*,? ?on @user_script:\d+\.?(?=\r\n$)")
# What Redis 6.2 puts before it.
_RAN: Final = re.compile(
    rb"-ERR Error running script \(call to \w+\): (?:@user_script: ?\d+: )*(?:-?(?=[A-Z]+ )|)"
)
# What the ACL has against a command in a script, where a command alone is refused with NOPERM.
_DENIED: Final = re.compile(
    rb"-(?:ERR )?(?:ACL failure in script: )?"
    rb"(?=The user executing the script can't |User \S+ has no permissions |No permissions )"
)
# What is read next is remembered for us (CLIENT TRACKING ON OPTIN).
CACHING: Final = (b"CLIENT", b"CACHING", b"YES")


def value_of(reply: bytes) -> Value:
    """A reply as a value. ServerError where it is an error, OddReply where it is no reply."""
    if reply.startswith(b"-"):
        raise ServerError(reply)
    try:
        return parsed(reply)
    except ValueError:
        raise OddReply("a command of the proxy") from None


def _as_of_a_command(line: bytes) -> bytes:
    """An error that a script met, as the command alone would have met it."""
    return _DENIED.sub(b"-NOPERM ", _RAN.sub(b"-", _WHERE.sub(b"", line)), count=1)


def _packed(words: tuple[bytes, ...]) -> bytes:
    """A request, packed in C: it may be long."""
    # Its stub says: tuples of one.
    pack = cast("Callable[[tuple[bytes, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]
    return pack(words)


def _bytes_of(reply: Reply) -> bytes:
    if isinstance(reply, ProxyError):
        raise reply
    return reply


class _Many:
    """Replies that are on their way, as values for who waits for them."""

    __slots__ = ("_answered", "_count")

    def __init__(self, answered: asyncio.Future[Reply], count: int) -> None:
        self._answered = answered
        self._count = count

    def __await__(self) -> Generator[object, None, list[Value]]:
        replies = _bytes_of((yield from self._answered))
        try:
            return parsed_many(replies, self._count)
        except ValueError:
            raise OddReply("a command of the proxy") from None


class Asker:
    """Asks on one shared lane, in its db and as its user (custom/spec.py, Asking).

    Each method raises ServerError for an error that the server answered, and the ProxyError of the
    lane where no reply comes. ``tracked``: the server shall remember the keys that scripts read."""

    def __init__(self, lane: Callable[[], Lane], *, tracked: bool = False) -> None:
        self._lane = lane
        self._tracked = tracked
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Asker {'tracked' if self._tracked else 'untracked'}>"

    async def ask(self, *words: bytes) -> Value:
        """The reply to one request."""
        return value_of(await self._reply(_packed(words), 1))

    async def ask_raw(self, request: bytes) -> bytes:
        """The reply to one encoded request as it came; ServerError where it is an error."""
        reply = await self._reply(request, 1)
        if reply.startswith(b"-"):
            raise ServerError(reply)
        return reply

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes],
        seen: Callable[[], None] | None = None,
    ) -> Value:
        """What a script returns; it is sent whole where the server does not know it. ``seen`` is
        called as the reply comes, in order with the pushes around it."""
        words = (b"%d" % len(keys), *keys, *args)
        request = _packed((b"EVALSHA", script.sha, *words))
        reply = await self._reply(request, 1, seen, tracks=self._tracked)
        if reply.startswith(b"-NOSCRIPT"):
            request = _packed((b"EVAL", script.text, *words))
            reply = await self._reply(request, 1, seen, tracks=self._tracked)
        return value_of(_as_of_a_command(reply) if reply.startswith(b"-") else reply)

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        """A reply to each encoded request, in order; those that are errors as ServerError
        values."""
        return await self.begin(requests, len(requests)) if requests else []

    def begin(self, requests: Sequence[bytes], count: int) -> Awaitable[list[Value]]:
        """As ``many``, of pieces that hold so many requests. They are sent now, and need not be
        waited for."""
        try:
            answered = self._sent(b"".join(requests), count)
        except ProxyError as why:
            answered = self._loop.create_future()
            answered.set_result(why)
        return _Many(answered, count)

    async def _reply(
        self,
        request: bytes,
        count: int,
        seen: Callable[[], None] | None = None,
        *,
        tracks: bool = False,
    ) -> bytes:
        """The bytes of ``count`` replies. ProxyError where they do not all come."""
        return _bytes_of(await self._sent(request, count, seen, tracks=tracks))

    def _sent(
        self,
        request: bytes,
        count: int,
        seen: Callable[[], None] | None = None,
        *,
        tracks: bool = False,
    ) -> asyncio.Future[Reply]:
        """What ``count`` replies will be: a result in any case, as it may be nobody's."""
        answered: asyncio.Future[Reply] = self._loop.create_future()

        def done(reply: Reply) -> None:
            if seen is not None:
                seen()
            if not answered.done():
                answered.set_result(reply)

        lane = self._lane()
        if tracks:
            lane.ask(drop, *CACHING)
        lane.send(request, AskSlot(done, count))
        return answered
