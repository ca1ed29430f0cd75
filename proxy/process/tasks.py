"""The tasks of a process: each is kept until it ends, its failure is logged, and all are ended at
stop.

Owns two groups for server.py, which is the only one to make them: what runs for as long as the
process does, and commands of the proxy's own. Knows nothing of what the tasks do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ..forgoing import forgoing

log = logging.getLogger(__name__)


class Tasks:
    """A group of tasks on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Tasks running={len(self._running)}>"

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the coroutine as a task of this group."""
        # The event loop itself keeps only weak references to tasks.
        with forgoing(False):  # of who starts it that may be true, and a connection outlives him
            task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", exc_info=error)

    async def stop(self, seconds: float = 0.0) -> None:
        """Cancel all tasks and wait for them. Tasks that these start as they end (to give up a
        lease, say) get so many seconds, then they are cancelled too."""
        cancelled = set(self._running)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        if self._running and seconds:
            await asyncio.wait(self._running, timeout=seconds)
        if self._running:
            await self.stop()
