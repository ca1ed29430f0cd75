"""The words behind ``nearhit warm`` and ``nearhit invalidate``, and their help.

Owns flags, defaults and examples; values are read as settings of the same kind are (rows.py). Does
nothing with them: that is bulk.py."""

from __future__ import annotations

import argparse
import os
from typing import Final

from ..errors import ExitCode
from ..settings.config import VERSION
from ..settings.rows import UPSTREAM, duration, whole
from .terminal import Parser, exit_codes, parsed

DEFAULT: Final = "redis://127.0.0.1:6380"
_CODES: Final = (
    ExitCode.ALL_DONE,
    ExitCode.SOME_FAILED,
    ExitCode.BAD_SETTINGS,
    ExitCode.REFUSED,
    ExitCode.UNREACHABLE,
)

_WARM: Final = """\
examples:
  nearhit warm user:1 user:2                          these two, through their loaders
  nearhit warm --pattern 'user:{1..100000}'           a hundred thousand
  nearhit warm --from keys.txt --concurrency 32       one key on each line
  nearhit warm --config nearhit.toml --pattern 'user:*' --loader old
                                                      what another server has by such names
  nearhit warm --upstream redis://127.0.0.1:6379 --config nearhit.toml --from keys.txt
                                                      with no proxy running
"""
_INVALIDATE: Final = """\
examples:
  nearhit invalidate user:1 user:2                    these two
  nearhit invalidate --pattern 'user:*'               all that match
  nearhit invalidate --from keys.txt                  one key on each line
  nearhit invalidate --tag team                       all under the tag
  nearhit invalidate --soft --pattern 'user:*'        stale for their loader's grace, not removed
  nearhit invalidate --dry-run --pattern 'user:*'     how many would go, and the first of them
"""


def parser(command: str) -> Parser:
    """The parser of the words behind ``warm`` or ``invalidate``."""
    words = Parser(
        prog=f"nearhit {command}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_place(words)
    words.add_argument(
        "--from", dest="source", metavar="FILE", help="Keys, one on each line; - is standard input."
    )
    if command == "warm":
        words.description = "Fill keys before anybody asks for them, through the proxy's loaders."
        words.epilog = _WARM
        _add_loading(words)
    else:
        words.description = "Remove keys; no load which began before can store them again."
        words.epilog = _INVALIDATE
        _add_removing(words)
    words.epilog += "\n" + exit_codes(*_CODES)
    words.add_argument("--version", action="version", version=f"nearhit {VERSION}")
    words.add_argument("keys", nargs="*", metavar="key", type=os.fsencode, help="A key.")
    return words


def _add_removing(words: Parser) -> None:
    words.add_argument(
        "--pattern",
        metavar="GLOB",
        action="append",
        default=[],
        help="All keys that match, as for SCAN MATCH. May be repeated.",
    )
    words.add_argument(
        "--tag",
        metavar="TAG",
        action="append",
        default=[],
        help="All keys under this tag. May be repeated.",
    )
    words.add_argument(
        "--soft",
        action="store_true",
        help="Make stale what has a loader with a grace, instead of removing it.",
    )
    words.add_argument(
        "--dry-run",
        action="store_true",
        help="Remove nothing: count the keys that are there, and show the first 20. One that is "
        "named twice counts twice.",
    )


def _add_place(words: Parser) -> None:
    place = words.add_mutually_exclusive_group()
    place.add_argument(
        "--proxy",
        metavar="URL",
        type=parsed(UPSTREAM),
        default=DEFAULT,
        help=f"A Nearhit that runs. Default: {DEFAULT}.",
    )
    place.add_argument(
        "--upstream",
        metavar="URL",
        type=parsed(UPSTREAM),
        help="Start a Nearhit in front of this server, for as long as it takes.",
    )
    words.add_argument(
        "--config", metavar="FILE", help="The settings of that one, its loaders among them."
    )


def _add_loading(words: Parser) -> None:
    words.add_argument(
        "--pattern",
        metavar="PATTERN",
        action="append",
        default=[],
        help="Keys by a pattern: {1..100} and {a,b} are written out. One with *, ? or [ is looked "
        "up in the server that its loader in --config names (redis = URL). May be repeated.",
    )
    words.add_argument(
        "--loader", metavar="NAME", help="This loader for all of them, not the one that matches."
    )
    words.add_argument(
        "--ttl",
        metavar="TIME",
        type=parsed(duration("1ms", "8760h")),
        help="How long the values are kept, give or take a tenth. Default: as the loader says.",
    )
    words.add_argument(
        "--concurrency",
        metavar="N",
        type=parsed(whole(1, 1024)),
        default=8,
        help="Loads at once. Default: 8.",
    )
    words.add_argument("--refresh", action="store_true", help="Load also what is there already.")
