"""How a request is told of to people: its name and its keys, each shortened, and never a value.

Which of its words are keys is the table's to know, and of the proxy's own commands their facts'. Of
what neither knows nothing but the name is told: a word may be a password. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..custom.spec import CommandSpec
from ..log import shortened
from ..resp.kernel import Cutter, split
from ..table.table import Table

KEYS_MOST: Final = 8
WORDS_MOST: Final = 64  # of a request of which only the beginning is there


def words_in(data: bytes, skip: int = 0) -> list[bytes]:
    """The words of a request behind so many others, as far as they are there."""
    at = 0
    if skip:
        cutter = Cutter(True)
        at = cutter.cut(data, 0, skip)
        if cutter.done < skip:
            return []
    if not data.startswith(b"*", at):
        return data[at:].partition(b"\r\n")[0].split()
    words, _ = split(data, at)
    return _beginning(data, at) if words is None else words


def _beginning(data: bytes, at: int) -> list[bytes]:
    words: list[bytes] = []
    at = data.find(b"\n", at) + 1
    while at and data.startswith(b"$", at) and len(words) < WORDS_MOST:
        head = data.find(b"\r\n", at)
        size = data[at + 1 : head]
        if head < 0 or not size.isdigit():
            break
        words.append(data[head + 2 : head + 2 + int(size)])
        at = head + 4 + int(size)
    return words


def keys_at(words: Sequence[bytes], table: Table, ours: Mapping[bytes, CommandSpec]) -> range:
    """Where the keys stand among the words of a request, as far as its name tells."""
    name = words[0].upper()
    first, last, step = 0, 0, 1
    if (spec := ours.get(name)) is not None:
        first, last, step = spec.keys
        for sub in spec.subcommands if len(words) > 1 else ():
            if sub.name.encode() == words[1].upper():
                first, last, step = sub.keys
    elif (command := table.commands.get(name)) is not None:
        first, last, step = command.keys
        if len(words) > 1 and (under := command.under.get(words[1].upper())) is not None:
            first, last, step = under.keys
    if not first:
        return range(0)
    end = last + 1 if last >= 0 else len(words) + last + 1
    return range(first, min(end, len(words)), max(step, 1))


def told(words: Sequence[bytes], table: Table, ours: Mapping[bytes, CommandSpec]) -> str:
    """The request in one line."""
    if not words:
        return "?"
    keys = keys_at(words, table, ours)
    name = words[0].upper()
    shown, hidden = [shortened(words[0])], len(words) - 1
    known, spec = table.commands.get(name), ours.get(name)
    subcommands = known.subcommands if known is not None else frozenset[bytes]()
    if spec is not None:
        subcommands = frozenset(sub.name.encode() for sub in spec.subcommands)
    if len(words) > 1 and words[1].upper() in {word.upper() for word in subcommands}:
        shown.append(shortened(words[1]))
        hidden -= 1
    shown += [shortened(words[at]) for at in keys[:KEYS_MOST]]
    hidden -= len(keys[:KEYS_MOST])
    if hidden > 0:
        shown.append(f"... ({hidden} more argument{'s' * (hidden != 1)})")
    return " ".join(shown)
