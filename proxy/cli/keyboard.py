"""Keys as they are pressed, without Enter and without showing them.

Owns how the terminal reads while it is open, and puts that back at its end, whatever ended it.
Ctrl-C is a signal as ever; Ctrl-Z is a key, for whoever draws has something to put back first."""

from __future__ import annotations

import os
import select
import termios
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

SUSPEND: Final = "\x1a"
ESCAPE: Final = "\x1b"
ENDED: Final = ""  # no key will come any more: the terminal has hung up
_NO_CHARACTER: Final = b"\x00"  # what a terminal never takes for one of its own (_POSIX_VDISABLE)
_CHARACTERS: Final = 6  # where termios has them


class Keyboard:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[Any] | None = None
        self._pressed = ""

    def __repr__(self) -> str:
        return f"<Keyboard {'closed' if self._before is None else 'open'}>"

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self._fd)
        try:
            tty.setcbreak(self._fd, termios.TCSADRAIN)
            now = termios.tcgetattr(self._fd)
            now[_CHARACTERS][termios.VSUSP] = _NO_CHARACTER
            termios.tcsetattr(self._fd, termios.TCSADRAIN, now)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let it read as before."""
        before, self._before = self._before, None
        if before is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)

    def key(self, seconds: float, wait: Callable[..., Any] = select.select) -> str | None:
        """The next key; None: there was none in so many seconds. An arrow or its like is one key,
        that begins with ESCAPE."""
        if not self._pressed:
            ready, _, _ = wait([self._fd], [], [], max(0.0, seconds))
            if not ready:
                return None
            try:
                found = os.read(self._fd, 64)
            except OSError:  # EIO: it has hung up
                return ENDED
            if not found:
                return ENDED
            self._pressed = found.decode("utf-8", "replace")
        first = len(self._pressed) if self._pressed.startswith(ESCAPE) else 1
        key, self._pressed = self._pressed[:first], self._pressed[first:]
        return key
