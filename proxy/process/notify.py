"""What the service manager that started us hears: systemd's ``Type=notify``, ``notify-reload`` and
``WatchdogSec``.

    READY=1   RELOADING=1, then READY=1   STOPPING=1   WATCHDOG=1, while the event loop turns

A datagram each, to the socket that NOTIFY_SOCKET names; without one nobody is told. A manager that
does not listen is no reason to serve nobody. Source: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

from ..log import event

log = logging.getLogger(__name__)

_ABSTRACT: Final = "@"


class Notifier:
    """To be made by the process that the manager knows, before it forks. Times are seconds by
    ``time.monotonic``."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = path if path[:1] in ("/", _ABSTRACT) else ""
        if self._address.startswith(_ABSTRACT):
            self._address = "\0" + self._address[1:]
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        watched = self._address and usec.isascii() and usec.isdigit() and int(usec) > 0
        mine = not pid or pid == str(os.getpid())
        # Twice in the time after which we are held to be dead.
        self._every = int(usec) / 2e6 if watched and mine else math.inf
        self._due = -math.inf if watched and mine else math.inf

    def __repr__(self) -> str:
        return f"<Notifier {'on' if self._address else 'off'} every={self._every:g}>"

    def ready(self, status: str = "") -> None:
        """We serve; ``status`` is a line for ``systemctl status``."""
        self._tell("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """Settings are being read again; ``ready`` says that it is over."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """We are about to end."""
        self._tell("STOPPING=1")

    def beat(self, now: float) -> float:
        """Say that we live, where it is due; when it is due again, infinity: never."""
        if now >= self._due:
            self._tell("WATCHDOG=1")
            self._due = now + self._every
        return self._due

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as own:
                own.setblocking(False)
                own.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            event(log, logging.WARNING, "service manager not told", what=lines[0], error=error)
