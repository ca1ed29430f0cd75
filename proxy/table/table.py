"""What is known about each command: the upstream's own COMMAND reply, and one small overlay for
what COMMAND cannot say (which commands change the state of the connection they run on).

Facts only; what the words of a request change in them is route.py, and what a session's mode does
is modes.py. A command that stands in neither source is unknown, and unsafe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any, Final, cast

from ..resp.kernel import RouteMap
from ..resp.modes import Mode
from ..resp.routes import ASKING, WRITING, Route
from .keyspecs import KeySpec, specs_of
from .modes import Transform, transforms

NAME_MAX: Final = 32  # bytes: as the kernel has it

OVERLAY: Final[Mapping[bytes, Route]] = {
    b"ACL": Route.PERMIT,
    b"ASKING": Route.STICKY,
    b"AUTH": Route.AUTH,
    b"CLIENT": Route.CLIENT,
    b"COMMAND": Route.COMMAND,
    b"CONFIG": Route.PERMIT,
    b"DEBUG": Route.DEBUG,
    b"DISCARD": Route.DISCARD,
    b"EVAL": Route.SCRIPTED,
    b"EVALSHA": Route.SCRIPTED,
    b"EVALSHA_RO": Route.SCRIPTED,
    b"EVAL_RO": Route.SCRIPTED,
    b"EXEC": Route.EXEC,
    b"FCALL": Route.SCRIPTED,
    b"FCALL_RO": Route.SCRIPTED,
    b"FUNCTION": Route.SCRIPT,
    b"HELLO": Route.HELLO,
    b"INFO": Route.INFO,
    b"MONITOR": Route.MONITOR,
    b"MULTI": Route.MULTI,
    b"PSUBSCRIBE": Route.SUBSCRIBE,
    b"PSYNC": Route.TUNNEL,
    b"PUNSUBSCRIBE": Route.UNSUBSCRIBE,
    b"QUIT": Route.QUIT,
    b"READONLY": Route.STICKY,
    b"READWRITE": Route.STICKY,
    b"REPLCONF": Route.TUNNEL,
    b"RESET": Route.RESET,
    b"SCRIPT": Route.SCRIPT,
    b"SELECT": Route.SELECT,
    b"SHUTDOWN": Route.SHUTDOWN,
    b"SSUBSCRIBE": Route.SUBSCRIBE,
    b"SUBSCRIBE": Route.SUBSCRIBE,
    b"SUNSUBSCRIBE": Route.UNSUBSCRIBE,
    b"SYNC": Route.TUNNEL,
    b"UNSUBSCRIBE": Route.UNSUBSCRIBE,
    b"UNWATCH": Route.UNWATCH,
    b"WAIT": Route.WAIT,
    b"WAITAOF": Route.WAIT,
    b"WATCH": Route.WATCH,
    b"XREAD": Route.BLOCK_OPTION,
    b"XREADGROUP": Route.BLOCK_OPTION,
}

# Answered with a bulk or nil for each key, and nothing else but an error: what is a hit and what a
# miss shows in the framing alone.
READS: Final = frozenset({b"GET", b"GETDEL", b"GETEX", b"MGET"})

NEAR_READS: Final = {b"GET": Route.NEAR, b"MGET": Route.NEAR_MANY}
# The reads of one key, the word behind the name, that ``near_reads = "all"`` adds.
NEAR_ANY: Final = frozenset(
    b"EXISTS HEXISTS HGET HGETALL HLEN HMGET LLEN LRANGE SCARD SISMEMBER SMEMBERS STRLEN TYPE "
    b"ZCARD ZRANGE ZSCORE".split()
)
# By their answers a client learns how new a string is.
TELLS: Final = frozenset(
    b"BITCOUNT BITFIELD_RO BITPOS DBSIZE DUMP EXISTS EXPIRETIME GETBIT GETRANGE KEYS LCS OBJECT "
    b"PEXPIRETIME PTTL RANDOMKEY SCAN SORT_RO STRLEN SUBSTR TOUCH TTL TYPE".split()
)
# No writes by their flags, but what GET says of the key changes: PFCOUNT keeps its result there.
CHANGES: Final = frozenset({b"PFCOUNT"})
# Reads by their flags, whose doing twice may be noticed, or that pass through modules.
NOT_TWICE: Final = frozenset({b"PFCOUNT", b"TOUCH"})
NOT_TWICE_FLAGS: Final = frozenset({b"blocking", b"may_replicate", b"module", b"pubsub", b"write"})
# Writes of keys that they do not name.
WRITES_ALL: Final = frozenset({b"FLUSHALL", b"FLUSHDB", b"SWAPDB"})


@dataclass(frozen=True, slots=True)
class Command:
    """One row of COMMAND: https://redis.io/docs/latest/commands/command/."""

    name: bytes
    arity: int
    flags: frozenset[bytes]
    keys: tuple[int, int, int]  # first, last, step; zeros: none, or only the server knows
    subcommands: frozenset[bytes] = frozenset()
    # What a server tells since Redis 7.0: https://redis.io/docs/latest/develop/reference/command-tips/
    tips: frozenset[bytes] = frozenset()
    specs: tuple[KeySpec, ...] = ()  # only where ``keys`` does not say it all
    under: Mapping[bytes, Command] = field(default_factory=dict[bytes, "Command"], hash=False)

    def accepts(self, count: int) -> bool:
        """Whether a request of this many words passes the server's arity check."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity


@dataclass(frozen=True, slots=True)
class Ours:
    """What the proxy does beyond the server's commands."""

    commands: frozenset[bytes] = frozenset()  # of its own
    voids: bool = False  # loaders have keys whose leases end with a write
    reads_through: bool = False  # loaders answer misses of plain reads
    near: bool = False  # the near cache answers plain reads, and forgets what is written
    near_any: bool = False  # and those of hashes, sets, sorted sets and lists


class Table:
    """The commands of one server, and what the kernel needs to know of them in each mode of a
    session."""

    def __init__(self, commands: Mapping[bytes, Command], ours: Ours) -> None:
        self.commands = commands
        self.ours = ours
        routes = {name: self._route(command) for name, command in commands.items()}
        for name in ours.commands:
            routes[name] = Route.GETORSET if name == b"GETORSET" else Route.CUSTOM
        # The kernel holds no longer names: such a command takes the slow way, as an unknown one.
        routes = {name: route for name, route in routes.items() if len(name) <= NAME_MAX}
        self._routes = routes
        self._groups = {name: group_of(command) for name, command in commands.items()}
        self.maps = self._maps(routes)

    def _maps(self, routes: Mapping[bytes, Route]) -> list[RouteMap]:
        made = transforms(keys_matter=self.ours.voids or self.ours.near)
        return [_mapped(routes, made[mode], self._groups) for mode in Mode]

    @cached_property
    def narrow(self) -> list[RouteMap]:
        """The maps for users who may not MGET all that they may GET: their MGETs are asked."""
        routes = self._routes
        if routes.get(b"MGET") is not Route.NEAR_MANY:
            return self.maps
        return self._maps({**routes, b"MGET": Route.READ})

    @cached_property
    def repeatable(self) -> RouteMap:
        """The commands that only read, and may be asked again where an answer was lost."""
        reads = {
            name: Route.PLAIN for name, command in self.commands.items() if _only_reads(command)
        }
        return RouteMap({name: route for name, route in reads.items() if len(name) <= NAME_MAX})

    def _route(self, command: Command) -> Route:
        if self.ours.reads_through and command.name in (b"GET", b"MGET"):
            return Route.READ_THROUGH
        route = OVERLAY.get(command.name)
        if route is not None:
            return route
        if b"blocking" in command.flags:
            return Route.BLOCK
        if command.name == b"SWAPDB":
            return Route.WRITE  # of which the server tells nobody who waits for a key
        if (b"write" in command.flags or command.name in CHANGES) and (
            self.ours.voids or self.ours.near
        ):
            quick = not self.ours.voids and command.name not in READS
            quick = quick and self.writes_one(command.name)
            return Route.WRITE_ONE if quick else Route.WRITE
        if self.ours.near and command.name in NEAR_READS:
            return NEAR_READS[command.name]
        if self.ours.near and self.ours.near_any and command.name in NEAR_ANY:
            return Route.NEAR_ANY
        if self.ours.near and self._tells(command):
            return Route.TELL
        return Route.READ if command.name in READS else Route.PLAIN

    def _tells(self, command: Command) -> bool:
        if self.ours.near_any and (b"readonly" in command.flags or command.name == b"MEMORY"):
            return True  # what it says of a hash or a set may be newer than what stands near
        return command.name in TELLS

    def writes_one(self, name: bytes) -> bool:
        """Whether the word behind the name is the only key of a command."""
        command = self.commands.get(name)
        one = command is not None and command.keys == (1, 1, 1)
        return one and command is not None and b"movablekeys" not in command.flags

    def written(self, args: Sequence[bytes]) -> list[bytes] | None:
        """The keys that a request may write, None: any; where only the server could tell them,
        every word."""
        command = self.commands.get(args[0].upper())
        if args[0].upper() in WRITES_ALL:
            return None
        if command is None or b"movablekeys" in command.flags or not command.keys[0]:
            return list(args[1:])
        first, last, step = command.keys
        return list(args[first : last + 1 if last >= 0 else len(args) + last + 1 : step])

    def group(self, name: bytes) -> int:
        """What a command is counted as (routes.py); 0: neither, or unknown."""
        return self._groups.get(name, 0)

    def knows(self, name: bytes, subcommand: bytes) -> bool:
        """Whether this server has the subcommand (``client|setinfo`` came with 7.2)."""
        command = self.commands.get(name)
        return command is not None and subcommand in command.subcommands

    def __repr__(self) -> str:
        return f"<Table {len(self.commands)} commands>"


def _only_reads(command: Command) -> bool:
    flags = command.flags
    if command.name in OVERLAY or command.name in NOT_TWICE:
        return False
    return b"readonly" in flags and not flags & NOT_TWICE_FLAGS


def group_of(command: Command) -> int:
    """What a command is counted as."""
    if b"write" in command.flags:
        return WRITING
    return ASKING if b"readonly" in command.flags else 0


def _mapped(
    routes: Mapping[bytes, Route], transform: Transform, groups: Mapping[bytes, int]
) -> RouteMap:
    """The map of one mode; what is ODD in it is not in the map at all."""
    changed = {name: transform(name, route) for name, route in routes.items()}
    kept = {name: route for name, route in changed.items() if route is not Route.ODD}
    return RouteMap(kept, groups)


def table_from_reply(rows: object, ours: Ours = Ours()) -> Table:
    """The table out of a COMMAND reply as hiredis parses it. ValueError when it is not one."""
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"not a COMMAND reply: {rows!r:.80}")
    commands = map(command_of, cast("list[object]", rows))
    return Table({command.name: command for command in commands}, ours)


def command_of(row: object) -> Command:
    """One row of a COMMAND reply. ValueError when it is not one."""
    words: list[Any] = cast(Any, row) if isinstance(row, list) else []
    if len(words) < 6:
        raise ValueError(f"not a row of COMMAND: {row!r:.80}")
    name, arity, flags, first, last, step = words[:6]
    marks = frozenset(map(_word, flags))
    subcommands: list[Any] = words[9] if len(words) > 9 else []
    under = [command_of(sub) for sub in subcommands if len(sub) >= 6]
    return Command(
        name=_word(name).upper(),
        arity=int(arity),
        flags=marks,
        keys=(int(first), int(last), int(step)),
        subcommands=frozenset(_word(sub[0]).partition(b"|")[2].upper() for sub in subcommands),
        tips=frozenset(map(_word, words[7])) if len(words) > 7 else frozenset(),
        specs=specs_of(words[8]) if len(words) > 8 and b"movablekeys" in marks else (),
        under={sub.name.partition(b"|")[2]: sub for sub in under},
    )


def _word(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def snapshot(ours: Ours = Ours()) -> Table:
    """The table that ships with us (Redis 7.0 and Valkey 9 together), for a server that gives none
    yet."""
    rows = json.loads(files(__name__.rpartition(".")[0]).joinpath("snapshot.json").read_bytes())
    return table_from_reply(rows, ours)
