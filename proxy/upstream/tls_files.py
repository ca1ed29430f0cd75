"""What TLS reads from files, the certificate for clients or what connections to a server need, read
again when these change.

    look(), once a second ─▶ changed? ─▶ at rest since the last look? ─▶ read ─▶ in force
                                                                          └─▶ log why not, once
    renew(), at SIGHUP, of all at once ─────────────────────────────────▶ read ─▶ in force
                                                                          └─▶ StartError

Connections that stand keep what they have; handshakes that begin later see what is in force then.
Files that cannot be used change nothing. Owns no connection: dial.py, sentinel/ and entrance.py
have them, and take ``context`` anew for each. server.py calls both."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..errors import StartError
from ..log import event

log = logging.getLogger(__name__)

# What tells one state of the files from another: of each its inode, size and time of change.
_State = tuple[tuple[int, int, int] | None, ...]


class TlsFiles:
    """``make`` reads the files of these paths. StartError, when it is made: one cannot be used.
    ``told``: the events of the log that new files are in force, and that they are not."""

    def __init__(
        self,
        paths: Sequence[str | None],
        make: Callable[[], ssl.SSLContext],
        told: tuple[str, str],
    ) -> None:
        self._paths: Final = [path for path in paths if path is not None]
        self._make = make
        self._renewed, self._unusable = told
        self._read = self._seen = self._state()
        self.context = make()

    def __repr__(self) -> str:
        return f"<TlsFiles {' '.join(self._paths)}>"

    def look(self) -> None:
        """Read the files if they have changed, and have not changed again since the last look: who
        renews them writes one after the other."""
        before, self._seen = self._seen, self._state()
        if self._seen != before or self._seen == self._read:
            return
        self._read = self._seen
        try:
            self.context = self._make()
        except StartError as error:
            event(log, logging.ERROR, self._unusable, error=error, in_use="the former")
        else:
            self._tell()

    def _tell(self) -> None:
        event(log, logging.INFO, self._renewed, files=",".join(self._paths))

    def _state(self) -> _State:
        return tuple(map(_of_file, self._paths))

    def read(self) -> Callable[[], None]:
        """Read the files now; what is returned has that in force. StartError: one cannot be used,
        and nothing has changed."""
        state = self._state()
        context = self._make()

        def take() -> None:
            self.context = context
            if state != self._read:
                self._tell()
            self._read = self._seen = state

        return take


def renew(every: Iterable[TlsFiles]) -> None:
    """Read the files of all now. StartError: one cannot be used, and nothing of any has changed."""
    for take in [one.read() for one in every]:
        take()


def _of_file(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
