"""What to do with a request, out of the command table (table.py): the plan that router.py carries
out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..resp.kernel import hash_slot
from ..table.table import Command
from .plans import Anywhere, One, Plan


class Planner:
    def __init__(self, commands: Callable[[], Mapping[bytes, Command]]) -> None:
        self._commands = commands

    def plan(self, words: Sequence[bytes]) -> Plan:
        command = self._commands().get(words[0].upper())
        if command is not None and command.keys[0] and len(words) > 1:
            return One(hash_slot(words[command.keys[0]]))
        if words[0].upper() in (b"EVAL", b"EVALSHA") and len(words) > 3 and int(words[2]):
            return One(hash_slot(words[3]))
        return Anywhere()


def one_key(commands: Mapping[bytes, Command]) -> frozenset[bytes]:
    """Commands of one key, which stands behind the name."""
    return frozenset(
        name
        for name, command in commands.items()
        if command.keys == (1, 1, 1)
        and not command.flags & {b"movablekeys", b"blocking"}
        and len(name) <= 32
    )
