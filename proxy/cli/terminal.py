"""What every command of ``nearhit`` has in common at the terminal: how it complains, how it reads
its words, and what the exit codes mean. Knows no command."""

from __future__ import annotations

import argparse
import sys
from typing import Final, NoReturn

from .. import log

ALL_DONE: Final = 0
SOME_FAILED: Final = 1
BAD_SETTINGS: Final = 2
REFUSED: Final = 4
UNREACHABLE: Final = 6

# The one list of them. Who ends the process with one names it by its number here.
EXIT_CODES: Final = (
    (0, "ended by SIGTERM or SIGINT; `warm`, `invalidate`: every key is done"),
    (1, "failed while it ran; `warm`, `invalidate`: some keys failed, or it was stopped"),
    (2, "the settings have mistakes"),
    (3, "cannot listen: an address is in use, not permitted or not there"),
    (4, "the upstream refused the proxy: password or ACL"),
    (5, "no upstream named, and no server of its own could be started"),
    (6, "`warm`, `invalidate`: the proxy or its upstream could not be reached, or was lost"),
)


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def complain(*lines: str) -> None:
    sys.stderr.write("".join(f"nearhit: {line}\n" for line in lines))


def exit_codes(*codes: int) -> str:
    """These, or all, as a help shows them."""
    rows = (f"  {code}  {meaning}" for code, meaning in EXIT_CODES if code in codes or not codes)
    return "\n".join(["exit codes:", *rows]).replace("`", "")


class Parser(argparse.ArgumentParser):
    """A parser of words whose complaint is one line, like every other."""

    def error(self, message: str) -> NoReturn:
        # What was mistyped may be a URL with a password.
        words = map(log.redacted, message.split(" "))
        complain(f"{' '.join(words)}; {self.prog} --help tells the flags")
        raise SystemExit(BAD_SETTINGS)
