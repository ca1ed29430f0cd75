"""Async unit tests run on uvloop, which serves clients, and with ``--loop debug`` on asyncio's own
loop in debug mode: CI does both, one with the suite and one with the gates (.ci/coverage)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import uvloop


class DebugLoop(asyncio.SelectorEventLoop):
    """In debug mode whatever its runner says: it refuses calls from other threads and tells
    where what was never awaited comes from."""

    def set_debug(self, enabled: bool) -> None:
        super().set_debug(True)


def uvloop_that_times_out() -> asyncio.AbstractEventLoop:
    """pytest-timeout fails a test by what it raises in a signal handler. uvloop takes that for a
    failed callback and goes on: stop it, so that the test that hangs fails."""

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        if isinstance(context.get("exception"), pytest.fail.Exception):
            loop.stop()

    loop = uvloop.new_event_loop()
    loop.set_exception_handler(handle)
    return loop


def pytest_asyncio_loop_factories(
    config: pytest.Config,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    wanted = config.getoption("loop", "both")  # it is tests/conftest.py's
    loops = {"debug": DebugLoop, "uvloop": uvloop_that_times_out}
    return loops if wanted == "both" else {wanted: loops[wanted]}


@pytest.fixture(autouse=True)
def own_log_level() -> Iterator[None]:
    """Settings have a log level, which is the process's: what one test takes is not the next
    one's."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
