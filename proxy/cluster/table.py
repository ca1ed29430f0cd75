"""Where each command of the server goes in a cluster, and how its replies become one.

    hand overrides  >  tips of the server's COMMAND  >  its keys  >  refused

Owns that choice for every command and subcommand; nothing lands nowhere. Refuses to look at slots
and to cut or merge: that is split.py and merge.py. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, Flag, auto, unique
from functools import cache
from typing import Final

from ..errors import BadInput
from ..table.table import Command, snapshot


@unique
class Target(Enum):
    """Who executes it."""

    KEYED = auto()  # the owner of its keys' slot; any primary where it names none
    LOCAL = auto()  # the proxy itself answers, or it changes what the proxy knows of its client
    ANY_PRIMARY = auto()
    ALL_PRIMARIES = auto()
    ALL_NODES = auto()  # replicas too
    SCAN = auto()  # the primary that its cursor names
    SUBSCRIBE = auto()  # the client's subscriptions, wherever they are held
    REFUSE = auto()


@unique
class Splitter(Enum):
    """What is cut by slots (split.py)."""

    NONE = auto()
    KEYS = auto()  # each word behind the name is a key
    PAIRS = auto()  # key and value, key and value
    COUNTED_PAIRS = auto()  # how many, the pairs, and options for all


@unique
class Merger(Enum):
    """How several replies become one (merge.py)."""

    ONE = auto()  # there is only one
    ALL_OK = auto()
    ONE_OK = auto()  # it ran on one of them, the others said NOTBUSY
    SAME = auto()
    SUM = auto()
    MIN = auto()
    AND = auto()  # of arrays, item by item
    CONCAT = auto()
    UNION = auto()  # the same, each item once
    CHANNELS = auto()  # the same, without those that are the proxy's own
    SUM_PAIRS = auto()  # name and number, name and number
    KEYED = auto()  # in the order in which the keys were asked for
    RANDOM = auto()
    INFO = auto()


class Trait(Flag):
    """What else whoever sends it must know."""

    NONE = 0
    WRITE = auto()
    READ = auto()  # it may be sent again: it changes nothing
    BLOCK = auto()
    PIN = auto()  # it leaves something on its connection
    ADMIN = auto()  # for clients with the permission to administer only
    FLUSH = auto()  # it empties every database or one, so the near cache too


@dataclass(frozen=True, slots=True)
class Row:
    """Where one command goes. ``why``: of REFUSE, a half sentence for the client."""

    target: Target
    merger: Merger = Merger.ONE
    splitter: Splitter = Splitter.NONE
    traits: Trait = Trait.NONE
    why: str = ""


UNKNOWN: Final = "nobody knows on which nodes it must run"
_ONE_NODE: Final = "it is about one node: connect to that node"
_LAYOUT: Final = "it changes the cluster, or a node of it: connect to that node"
_DATABASES: Final = "a cluster cannot swap databases"
_REPLICATION: Final = "it is for replicas: connect to a node"
_CURSOR: Final = "its cursors are of single nodes: use SCAN"

_LOCAL: Final = Row(Target.LOCAL)
_ANY: Final = Row(Target.ANY_PRIMARY)
_ANY_ADMIN: Final = Row(Target.ANY_PRIMARY, traits=Trait.ADMIN)
_NODES_OK: Final = Row(Target.ALL_NODES, Merger.ALL_OK, traits=Trait.ADMIN)
_NODES_SUM: Final = Row(Target.ALL_NODES, Merger.SUM, traits=Trait.ADMIN)
_SUBSCRIBE: Final = Row(Target.SUBSCRIBE)
_COUNTED: Final = Row(Target.KEYED, Merger.SUM, Splitter.KEYS)
_FLUSHED: Final = Row(Target.ALL_PRIMARIES, Merger.ALL_OK, traits=Trait.FLUSH)


def _refused(why: str) -> Row:
    return Row(Target.REFUSE, why=why)


def _rows(row: Row, names: str) -> dict[bytes, Row]:
    return dict.fromkeys(names.encode().split(), row)


# "CLIENT *": each of its subcommands that has no line of its own.
OVERRIDES: Final[Mapping[bytes, Row]] = {
    # What is about the client, or about the endpoint that it sees.
    **_rows(_LOCAL, "ASKING AUTH CLIENT|* CLUSTER|* COMMAND|* COMMAND DISCARD ECHO EXEC HELLO"),
    **_rows(_LOCAL, "MULTI PING QUIT READONLY READWRITE RESET ROLE SELECT TIME UNWATCH"),
    **_rows(_LOCAL, "WAIT"),
    b"WAITAOF": _refused("nodes tell of their disks only to the connection that wrote"),
    **_rows(Row(Target.KEYED, traits=Trait.PIN), "WATCH"),
    **_rows(_SUBSCRIBE, "PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE"),
    # Cut by slots, where that is honest.
    **_rows(_COUNTED, "DEL EXISTS TOUCH UNLINK"),
    b"MGET": Row(Target.KEYED, Merger.KEYED, Splitter.KEYS),
    b"MSET": Row(Target.KEYED, Merger.ALL_OK, Splitter.PAIRS),
    b"MSETEX": Row(Target.KEYED, Merger.SAME, Splitter.COUNTED_PAIRS),
    # Never cut: 7.0's tip for MSETNX says otherwise, and would half execute it.
    **_rows(Row(Target.KEYED), "MSETNX"),
    # The whole keyspace.
    b"DBSIZE": Row(Target.ALL_PRIMARIES, Merger.SUM),
    b"KEYS": Row(Target.ALL_PRIMARIES, Merger.CONCAT),
    b"RANDOMKEY": Row(Target.ALL_PRIMARIES, Merger.RANDOM),
    **_rows(Row(Target.SCAN), "SCAN"),
    **_rows(_FLUSHED, "FLUSHALL FLUSHDB"),
    b"CLUSTERSCAN": _refused(_CURSOR),
    b"SWAPDB": _refused(_DATABASES),
    b"INFO": Row(Target.ALL_PRIMARIES, Merger.INFO),
    # Scripts are not replicated, functions are.
    **_rows(Row(Target.ALL_NODES, Merger.SAME), "SCRIPT|LOAD"),
    **_rows(Row(Target.ALL_NODES, Merger.ALL_OK), "SCRIPT|FLUSH"),
    **_rows(Row(Target.ALL_PRIMARIES, Merger.AND), "SCRIPT|EXISTS"),
    **_rows(Row(Target.ALL_PRIMARIES, Merger.ONE_OK), "SCRIPT|KILL FUNCTION|KILL"),
    **_rows(_ANY, "SCRIPT|SHOW FUNCTION|DUMP FUNCTION|LIST FUNCTION|STATS"),
    **_rows(Row(Target.ALL_PRIMARIES, Merger.SAME), "FUNCTION|LOAD"),
    **_rows(
        Row(Target.ALL_PRIMARIES, Merger.ALL_OK), "FUNCTION|DELETE FUNCTION|FLUSH FUNCTION|RESTORE"
    ),
    b"SCRIPT|DEBUG": _refused(_ONE_NODE),
    # The bus carries messages to every node, whose counts are their own.
    **_rows(_ANY, "PUBLISH LOLWUT LASTSAVE"),
    **_rows(Row(Target.ALL_NODES, Merger.SUM), "PUBSUB|NUMPAT"),
    **_rows(Row(Target.ALL_NODES, Merger.UNION), "PUBSUB|CHANNELS"),
    **_rows(Row(Target.ALL_NODES, Merger.CHANNELS), "PUBSUB|SHARDCHANNELS"),
    **_rows(Row(Target.ALL_NODES, Merger.SUM_PAIRS), "PUBSUB|NUMSUB PUBSUB|SHARDNUMSUB"),
    # Administration.
    **_rows(_ANY, "ACL|CAT ACL|GENPASS ACL|WHOAMI"),
    **_rows(_ANY_ADMIN, "CONFIG|GET ACL|* MODULE|LIST"),
    **_rows(_NODES_OK, "CONFIG|SET CONFIG|RESETSTAT CONFIG|REWRITE ACL|SETUSER ACL|SAVE ACL|LOAD"),
    **_rows(_NODES_OK, "SLOWLOG|RESET COMMANDLOG|RESET MEMORY|PURGE"),
    **_rows(Row(Target.ALL_NODES, Merger.SAME, traits=Trait.ADMIN), "ACL|DELUSER"),
    **_rows(_NODES_SUM, "SLOWLOG|LEN COMMANDLOG|LEN LATENCY|RESET"),
    **_rows(_refused(_ONE_NODE), "SLOWLOG|GET COMMANDLOG|GET LATENCY|* MEMORY|*"),
    **_rows(_refused(_ONE_NODE), "ACL|LOG CLIENT|PAUSE CLIENT|UNPAUSE DEBUG MONITOR"),
    **_rows(_refused(_ONE_NODE), "BGREWRITEAOF BGSAVE PFSELFTEST SAVE SHUTDOWN"),
    **_rows(_refused(_LAYOUT), "FAILOVER MIGRATE MODULE|LOAD MODULE|LOADEX MODULE|UNLOAD"),
    **_rows(_refused(_LAYOUT), "REPLICAOF SLAVEOF RESTORE-ASKING"),
    **_rows(_refused(_REPLICATION), "PSYNC REPLCONF SYNC"),
}

_TARGETS: Final = {
    b"request_policy:all_nodes": Target.ALL_NODES,
    b"request_policy:all_shards": Target.ALL_PRIMARIES,
}
# "special", or none at all: nobody can merge it unseen.
_MERGERS: Final = {
    b"response_policy:agg_logical_and": Merger.AND,
    b"response_policy:agg_min": Merger.MIN,
    b"response_policy:agg_sum": Merger.SUM,
    b"response_policy:all_succeeded": Merger.ALL_OK,
    b"response_policy:one_succeeded": Merger.ONE_OK,
}
ONE_KEY: Final = (1, 1, 1)


def facts(words: Sequence[bytes], commands: Mapping[bytes, Command]) -> Command | None:
    """The command, or subcommand, that a request names; None: the server has none such."""
    command = commands.get(words[0].upper())
    if command is None or not has_subcommands(command) or len(words) < 2:
        return command
    sub = words[1].upper()
    known = known_under(command)
    if sub in command.subcommands and sub not in known:
        return Command(command.name + b"|" + sub, -2, command.flags, (0, 0, 0))
    return known.get(sub)


def row(words: Sequence[bytes], commands: Mapping[bytes, Command]) -> Row:
    """The row of a request, name first. What the server does not know goes to any primary, which
    says so in its own words; what this module knows by name does not depend on that."""
    name = words[0].upper()
    command = facts(words, commands)
    if command is not None and not (has_subcommands(command) and len(words) < 2):
        return row_of(command)
    every = OVERRIDES.get(name + b"|*", _ANY)
    return OVERRIDES.get(name, every if every.target is Target.LOCAL else _ANY)


def row_of(command: Command) -> Row:
    """The row of a command, or of a subcommand (``CONFIG|GET``), by its facts."""
    found = OVERRIDES.get(command.name)
    if found is None:
        container, bar, sub = command.name.partition(b"|")
        if bar and sub == b"HELP":
            found = OVERRIDES.get(container + b"|*", _ANY)
            found = found if found.target is Target.LOCAL else _ANY
        elif bar and not command.keys[0]:
            found = OVERRIDES.get(container + b"|*")
    if found is None:
        found = _tipped(command) or _keyed(command)
    traits = found.traits | _traits(command)
    return Row(found.target, found.merger, found.splitter, traits, found.why)


def _tipped(command: Command) -> Row | None:
    """By the server's tips, where they say both to whom and how to merge."""
    tips = command.tips
    target = next((_TARGETS[tip] for tip in tips if tip in _TARGETS), None)
    merger = next((_MERGERS[tip] for tip in tips if tip in _MERGERS), None)
    if target is not None:
        return Row(target, merger) if merger is not None else _refused(UNKNOWN)
    return None


def _keyed(command: Command) -> Row:
    if command.keys[0] or b"movablekeys" in command.flags:
        return Row(Target.KEYED)
    if b"readonly" in command.flags:
        return _ANY
    return _refused(UNKNOWN)


def _traits(command: Command) -> Trait:
    traits = Trait.NONE
    if b"write" in command.flags:
        traits |= Trait.WRITE
    elif b"readonly" in command.flags:
        traits |= Trait.READ
    if b"blocking" in command.flags:
        traits |= Trait.BLOCK
    if b"admin" in command.flags:
        traits |= Trait.ADMIN
    return traits


def has_subcommands(command: Command) -> bool:
    return bool(command.subcommands or known_under(command))


@cache
def _shipped() -> Mapping[bytes, Command]:
    return snapshot().commands


def known_under(command: Command) -> Mapping[bytes, Command]:
    """The subcommands of a command with their facts; before 7.0 COMMAND has none, then those that
    the table that ships with us has."""
    if command.under or command.subcommands:
        return command.under
    shipped = _shipped().get(command.name)
    return shipped.under if shipped is not None else {}


def refusal(words: Sequence[bytes], why: str) -> BadInput:
    """The error of a request whose row is REFUSE: which command it was, and why."""
    name = words[0].upper()
    if len(words) > 1 and name in _shipped() and has_subcommands(_shipped()[name]):
        name += b" " + words[1].upper()
    told = name[:64].decode("ascii", "replace")
    return BadInput(f"{told} is not possible in cluster mode: {why}")


def one_key(commands: Mapping[bytes, Command]) -> frozenset[bytes]:
    """The commands whose only key is the word behind their name, which go to its owner and need
    nothing else: neither blocking, nor cut, nor leaving anything on their connection."""
    return frozenset(name for name, command in commands.items() if _is_one_key(command))


def _is_one_key(command: Command) -> bool:
    if command.keys != ONE_KEY or command.flags & {b"movablekeys", b"blocking"}:
        return False
    if has_subcommands(command):
        return False
    found = row_of(command)
    plain = found.splitter is Splitter.NONE and not found.traits & (Trait.BLOCK | Trait.PIN)
    return found.target is Target.KEYED and plain
