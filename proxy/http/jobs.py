"""Jobs over HTTP, by the words that WARM and INVALIDATE have for them.

    GET    /api/cache/jobs        those of both commands     JOBS, and STATUS of each
    GET    /api/cache/jobs/{id}   one                        STATUS
    DELETE /api/cache/jobs/{id}   have it end                CANCEL

Gives values; api.py makes answers of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, cast

from ..resp.replies import Value

COMMANDS: Final = (b"WARM", b"INVALIDATE")

Run = Callable[[Sequence[bytes]], Awaitable[Value]]


class Jobs:
    def __init__(self, run: Run) -> None:
        self._run = run

    def __repr__(self) -> str:
        return "<Jobs over HTTP>"

    async def all(self) -> list[Mapping[str, Value]]:
        """Those that run or have ended lately, without what failed in them key by key."""
        found: list[Mapping[str, Value]] = []
        for command in COMMANDS:
            for id in cast("Sequence[bytes]", await self._run([command, b"JOBS"])):
                job = await self._status(command, id)
                if job is not None:
                    found.append({name: job[name] for name in job if name != "errors"})
        return found

    async def one(self, id: bytes) -> Mapping[str, Value] | None:
        for command in COMMANDS:
            job = await self._status(command, id)
            if job is not None:
                return job
        return None

    async def cancel(self, id: bytes) -> bool:
        """Whether it ran."""
        return any([await self._run([command, b"CANCEL", id]) for command in COMMANDS])

    async def _status(self, command: bytes, id: bytes) -> Mapping[str, Value] | None:
        status = await self._run([command, b"STATUS", id])
        if status is None:
            return None
        return {"id": id, "command": command, **cast("Mapping[str, Value]", status)}
