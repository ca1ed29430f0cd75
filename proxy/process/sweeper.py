"""A folder that goes with its process, also where that is killed and can remove nothing.

    we ── a pipe nobody writes to ──▶ sh, adopted by init: at its end it removes the folder

Owns that shell, which ignores the signals that end us and is nobody's child. embedded.py and
cli/reach.py use it for their private folders, and remove these themselves where they end well."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Final

# In the background, with the pipe by another number: there a shell's own input is /dev/null.
_SCRIPT: Final = """
trap '' HUP INT TERM USR1 USR2
exec 3<&0
{ read -r nothing <&3; exec rm -rf -- "$1"; } &
"""


@contextlib.contextmanager
def swept(folder: Path) -> Generator[None]:
    """Have the folder removed should this process, and those that it forks, end within the
    block. Without a shell to do it the folder is left as it would be anyway."""
    reading, writing = os.pipe()
    try:
        with contextlib.suppress(OSError):
            subprocess.run(
                ["/bin/sh", "-c", _SCRIPT, "nearhit-sweeper", str(folder)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                check=False,
            )
    finally:
        os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
