"""The signals that serving processes get, and what becomes of a process that does not end.

    SIGTERM, SIGINT   the first asks it to stop, the second to do so at once
    SIGHUP, ...       would end it without a word to its clients: a line in the log, and no more

Owns the handlers of a process while it starts, serves and stops: Python's own, which also run where
the event loop is busy, or not there yet. Decides nothing about the stopping: cli, server.py and
workers.py hand in what is done."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Final

from ..errors import ExitCode
from ..log import event

log = logging.getLogger(__name__)

STOP: Final = (signal.SIGTERM, signal.SIGINT)
_NAMES: Final = (
    *("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR"),
    *("SIGSTKFLT", "SIGXCPU"),
)
# All that end a process by default, but for SIGQUIT, which asks for just that, and those that tell
# of a defect (SIGSEGV and the like). Python itself ignores SIGPIPE and SIGXFSZ.
OTHERS: Final[tuple[int, ...]] = (
    *(getattr(signal, name) for name in _NAMES if hasattr(signal, name)),
    *(range(signal.SIGRTMIN, signal.SIGRTMAX + 1) if hasattr(signal, "SIGRTMIN") else ()),
)


def name_of(number: int) -> str:
    """SIGTERM for 15; a real-time signal is its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def tell_ignored(number: int) -> None:
    """Log that a signal of ``OTHERS`` came."""
    event(log, logging.WARNING, "signal ignored", signal=name_of(number))


class _Handler:
    """One of ours, to be told from those of others."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self._act = act

    def __call__(self, number: int, frame: object) -> None:
        self._act(number)


@contextlib.contextmanager
def heard(numbers: Iterable[int], act: Callable[[int], None]) -> Generator[None]:
    """Have ``act`` called with each of these signals for the length of the block, between any two
    steps of the main thread. But for ``STOP``, what is ignored already (nohup) stays so, and what
    others handle (a profiler, a loader's module) stays theirs."""
    before = {number: signal.getsignal(number) for number in numbers}
    taken = {
        number: handler
        for number, handler in before.items()
        if number in STOP or handler is signal.SIG_DFL or isinstance(handler, _Handler)
    }
    for number in taken:
        signal.signal(number, _Handler(act))
    try:
        yield
    finally:
        for number, handler in taken.items():
            # None: set by something that is not Python, which cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Ending:
    """Ends the process where it has not ended by itself in the time that it has for it."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def __repr__(self) -> str:
        return f"<Ending ended={self._ended.is_set()}>"

    def within(self, seconds: float) -> None:
        """From now on; a call with less time makes the time shorter, none makes it longer."""
        # A thread: what keeps the process may keep its main thread, or its event loop.
        watch = threading.Thread(target=self._watch, args=[seconds], name="ending", daemon=True)
        watch.start()

    def done(self) -> None:
        """It ends by itself."""
        self._ended.set()

    def _watch(self, seconds: float) -> None:
        if not self._ended.wait(seconds):
            event(log, logging.ERROR, "did not end", seconds=seconds)
            os._exit(ExitCode.SOME_FAILED)
