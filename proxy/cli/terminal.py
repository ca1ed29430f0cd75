"""What every command of ``nearhit`` has in common at the terminal: how it says and complains, how
it reads its words, how its help shows the exit codes (errors.ExitCode).

Knows no command: main.py and bulk.py do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from .. import log
from ..errors import ExitCode
from ..settings.rows import Kind


def say(*lines: str) -> None:
    """Write lines to stdout, at once: whoever started us may wait for them."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def complain(*lines: str) -> None:
    """Write lines to stderr, each with our name in front."""
    sys.stderr.write("".join(f"nearhit: {line}\n" for line in lines))


def exit_codes(*codes: ExitCode) -> str:
    """What these exit codes mean, or all of them, as a help shows it."""
    rows = (f"  {code}  {code.meaning}" for code in codes or ExitCode)
    return "\n".join(["exit codes:", *rows]).replace("`", "")


class Parser(argparse.ArgumentParser):
    """A parser of words whose complaint is one line, like every other complaint."""

    def error(self, message: str) -> NoReturn:
        """Complain and exit; argparse calls it."""
        # What was mistyped may be a URL with a password.
        words = map(log.redacted, message.split(" "))
        complain(f"{' '.join(words)}; {self.prog} --help tells the flags")
        raise SystemExit(ExitCode.BAD_SETTINGS)


def parsed(kind: Kind[object]) -> Callable[[str], object]:
    """What reads a word as settings of this kind are read, in the form that argparse wants."""

    def parse(text: str) -> object:
        try:
            return kind.parse(text)
        except ValueError as error:
            reason = f": {error}" if str(error) else ""
            raise argparse.ArgumentTypeError(f"{text} is not {kind.wants}{reason}") from None

    return parse
