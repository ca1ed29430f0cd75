"""What every command of ``nearhit`` has in common at the terminal: how it complains, how it reads
its words, and what the exit codes mean. Knows no command."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from .. import log
from ..errors import ExitCode


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def complain(*lines: str) -> None:
    sys.stderr.write("".join(f"nearhit: {line}\n" for line in lines))


def exit_codes(*codes: ExitCode) -> str:
    """What these exit codes mean, or all of them, as a help shows it."""
    rows = (f"  {code}  {code.meaning}" for code in codes or ExitCode)
    return "\n".join(["exit codes:", *rows]).replace("`", "")


class Parser(argparse.ArgumentParser):
    """A parser of words whose complaint is one line, like every other."""

    def error(self, message: str) -> NoReturn:
        # What was mistyped may be a URL with a password.
        words = map(log.redacted, message.split(" "))
        complain(f"{' '.join(words)}; {self.prog} --help tells the flags")
        raise SystemExit(ExitCode.BAD_SETTINGS)
