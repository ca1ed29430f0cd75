"""Whether a user may do what its tracked lane does. It is asked of ACL DRYRUN, not as that user:
ACL LOG would show a refusal that the user never asked for.
https://redis.io/docs/latest/commands/acl-dryrun/"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

from ..errors import ProxyError
from .ask import Done, Reply

# What a tracked lane asks beside what its clients ask.
TRACKING_NEEDS: Final = (
    (b"CLIENT", b"TRACKING", b"ON", b"OPTIN"),
    (b"CLIENT", b"CACHING", b"YES"),
    (b"PTTL", b"key"),
)


class Asking(Protocol):
    """One request of the proxy itself (Lane.ask)."""

    def __call__(self, done: Done, /, *args: bytes) -> None: ...


async def may_track(ask: Asking, user: bytes) -> bool:
    """False where the server says that the user may not. An error is a yes: the proxy itself may
    not ask, or the server (Redis 6) cannot say."""
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Future[Reply]] = []
    for words in TRACKING_NEEDS:
        answers.append(loop.create_future())
        ask(_set_once(answers[-1]), b"ACL", b"DRYRUN", user, *words)
    return not any(
        is_no(reply) and b" command" in cast(bytes, reply)
        for reply in await asyncio.gather(*answers)
    )


def is_no(reply: Reply) -> bool:
    """Whether this answer of ACL DRYRUN is that the user may not."""
    return not isinstance(reply, ProxyError) and reply.startswith(b"$")


def _set_once(answer: asyncio.Future[Reply]) -> Done:
    def done(reply: Reply) -> None:
        if not answer.done():  # whoever asked may have given up
            answer.set_result(reply)

    return done
