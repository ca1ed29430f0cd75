"""``nearhit completion bash``: a script that has a shell complete the words of ``nearhit``.

Made by shtab (extra ``cli``) out of the parsers that read the words, so that it knows every command
and flag of this version. Owns no word itself. main.py calls ``run``."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, cast

from ..errors import ExitCode
from .bulk_words import parser as bulk_parser
from .terminal import Parser, complain, say
from .top import parser as top_parser

SHELLS: Final = ("bash", "zsh", "fish")
MISSING: Final = "completion wants shtab: pip install 'nearhit[cli]'"

_HELP: Final = """\
bash:  nearhit completion bash > ~/.local/share/bash-completion/completions/nearhit
zsh:   nearhit completion zsh > ~/.zfunc/_nearhit       (a folder of $fpath, before compinit)
fish:  nearhit completion fish > ~/.config/fish/completions/nearhit.fish
"""

AddFlags = Callable[[argparse.ArgumentParser], None]


class _Shtab(Protocol):
    """What is used of it; it has no types of its own."""

    FILE: Mapping[str, str]

    def complete(self, parser: argparse.ArgumentParser, shell: str) -> str: ...


def run(words: Sequence[str], commands: Mapping[str, str], add_flags: AddFlags) -> int:
    """Write the script of the shell that the words name; the value is the exit code. ``commands``
    and what is said of them; ``add_flags`` adds those of the settings."""
    own = Parser(
        prog="nearhit completion",
        description="Write a script by which a shell completes commands and flags.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own.add_argument("shell", choices=SHELLS)
    shell = str(own.parse_args(words).shell)
    try:
        shtab = cast(_Shtab, importlib.import_module("shtab"))
    except ImportError:
        complain(MISSING)
        return ExitCode.BAD_SETTINGS
    say(shtab.complete(_whole(commands, add_flags, shtab.FILE), shell))
    return ExitCode.ALL_DONE


def _whole(
    commands: Mapping[str, str], add_flags: AddFlags, file: Mapping[str, str]
) -> argparse.ArgumentParser:
    """One parser of all words: main.py has one for each kind of command."""
    whole = argparse.ArgumentParser(prog="nearhit")
    add_flags(whole)
    parsers = whole.add_subparsers()
    for name, about in commands.items():
        own = [top_parser()] if name == "top" else []
        own += [bulk_parser(name)] if name in ("warm", "invalidate") else []
        one = parsers.add_parser(name, help=" ".join(about.split()), parents=own, add_help=not own)
        if name in ("serve", "check", "health"):
            add_flags(one)
        elif name == "completion":
            one.add_argument("shell", choices=SHELLS)
        elif name == "help":
            one.add_argument("about", nargs="?", choices=[*commands])
        for action in one._actions:
            if action.metavar == "FILE":
                # shtab reads it off the action, whose class does not know it.
                vars(action)["complete"] = file
    return whole
