"""What COMMAND says of the proxy's own commands: CommandSpec in, RESP frames out, in the shapes of
Redis 7.

Facts only, of our own commands only: where they stand in the server's answer is said in
session/acts/introspection.py. In RESP3 the server sends sets and maps where RESP2 has flat arrays;
flags are simple strings, and redis-cli ends itself where they are not.
https://redis.io/docs/latest/commands/command/ and command-docs/."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import BadInput, ProxyError
from ..resp.replies import bulk, integer
from .spec import Argument, CommandSpec

# The version of Nearhit that the commands came with.
SINCE: Final = "0.1.0"

# ACL categories that follow from a flag or a group (Redis: setImplicitACLCategories).
CATEGORIES: Final = (
    ("generic", ("keyspace",)),
    ("readonly", ("read",)),
    ("write", ("write",)),
    ("string", ("string",)),
    ("admin", ("admin", "dangerous")),
    ("fast", ("fast",)),
    ("blocking", ("blocking",)),
)

UNKNOWN: Final = "Invalid command specified"
NO_KEYS: Final = "The command has no key arguments"
WRONG_COUNT: Final = "Invalid number of arguments specified for command"
WRONG_ARGUMENTS: Final = "Invalid arguments specified for command"


@dataclass(frozen=True, slots=True)
class Facts:
    """A row of COMMAND: a command, or one of its subcommands under its full name."""

    name: bytes  # lock, lock|acquire
    arity: int
    summary: str
    group: str
    complexity: str
    flags: tuple[str, ...]
    keys: tuple[int, int, int]
    movable: bool  # only CommandSpec.key_names finds the keys
    arguments: tuple[Argument, ...]
    subcommands: tuple[Facts, ...] = ()

    @property
    def categories(self) -> list[str]:
        """The ACL categories."""
        marks = {*self.flags, self.group}
        found = [name for mark, names in CATEGORIES if mark in marks for name in names]
        return found if "fast" in found else [*found, "slow"]

    @property
    def has_keys(self) -> bool:
        return self.movable or self.keys[0] > 0

    @property
    def key_flags(self) -> tuple[str, ...]:
        """What the command does to its keys; what is not known to read only is taken to write."""
        access = ("RO", "access") if "readonly" in self.flags else ("RW", "access", "update")
        return (*access, "incomplete") if self.movable else access

    def accepts(self, count: int) -> bool:
        return count == self.arity if self.arity >= 0 else count >= -self.arity

    def all(self) -> Iterator[Facts]:
        """This row and its subcommands', as COMMAND LIST names them."""
        yield self
        yield from self.subcommands


def facts_of(spec: CommandSpec) -> Facts:
    """The rows of a command."""
    name = spec.name.lower()
    subcommands = tuple(
        Facts(
            name=b"%b|%b" % (name, sub.name.lower().encode()),
            arity=sub.arity,
            summary=sub.summary,
            group=spec.group,
            complexity=spec.complexity,
            flags=spec.flags,
            keys=sub.keys,
            movable=False,
            arguments=sub.arguments,
        )
        for sub in spec.subcommands
    )
    return Facts(
        name=name,
        arity=spec.arity,
        summary=spec.summary,
        group=spec.group,
        complexity=spec.complexity,
        flags=spec.flags,
        keys=spec.keys,
        movable=spec.key_names is not None,
        arguments=spec.arguments,
        subcommands=subcommands,
    )


def find(customs: Mapping[bytes, CommandSpec], name: bytes) -> Facts | None:
    """The row of that name in any case, ``lock|acquire`` among them; None: it is not ours."""
    command = name.partition(b"|")[0]
    spec = customs.get(command.upper())
    if spec is None:
        return None
    wanted = name.lower()
    return next((facts for facts in facts_of(spec).all() if facts.name == wanted), None)


# --- Frames ---------------------------------------------------------------------------------------


def row(facts: Facts, resp: int) -> bytes:
    """What COMMAND and COMMAND INFO say of it."""
    flags = facts.flags
    if facts.movable and "movablekeys" not in flags:
        flags = (*flags, "movablekeys")  # clients then ask COMMAND GETKEYS
    return _array(
        (
            bulk(facts.name),
            integer(facts.arity),
            _names(flags, resp),
            *map(integer, facts.keys),
            _names([f"@{name}" for name in facts.categories], resp),
            _set((), resp),  # tips
            _set(_key_specs(facts, resp), resp),
            _array([row(sub, resp) for sub in facts.subcommands]),
        )
    )


def _key_specs(facts: Facts, resp: int) -> list[bytes]:
    first, last, step = facts.keys
    if not facts.has_keys:
        return []
    if first:
        span = {"lastkey": last if last < 0 else last - first, "keystep": step, "limit": 0}
        begin, keys = _how("index", {"index": first}, resp), _how("range", span, resp)
    else:
        begin = keys = _how("unknown", {}, resp)
    flags = _names(facts.key_flags, resp)
    return [_map({"flags": flags, "begin_search": begin, "find_keys": keys}, resp)]


def _how(kind: str, spec: Mapping[str, int], resp: int) -> bytes:
    numbers = {name: integer(value) for name, value in spec.items()}
    return _map({"type": _text(kind), "spec": _map(numbers, resp)}, resp)


def docs(facts: Facts, resp: int) -> bytes:
    """What COMMAND DOCS says of it: its name, then its documentation."""
    fields = {
        "summary": _text(facts.summary),
        "since": _text(SINCE),
        "group": _text(facts.group),
        "complexity": _text(facts.complexity),
    }
    if facts.arguments:
        fields["arguments"] = _arguments(facts, facts.arguments, resp)
    if facts.subcommands:
        inner = b"".join(docs(sub, resp) for sub in facts.subcommands)
        fields["subcommands"] = _map_head(len(facts.subcommands), resp) + inner
    return bulk(facts.name) + _map(fields, resp)


def _arguments(facts: Facts, arguments: Sequence[Argument], resp: int) -> bytes:
    return _array([_argument(facts, argument, resp) for argument in arguments])


def _argument(facts: Facts, argument: Argument, resp: int) -> bytes:
    fields = {"name": _text(argument.name), "type": _text(argument.type)}
    if not argument.arguments:
        fields["display_text"] = _text(argument.name)  # Redis 7.2 and Valkey have it, 7.0 has not
    if argument.type == "key" and facts.has_keys:
        fields["key_spec_index"] = integer(0)  # there is one at most
    if argument.token:
        fields["token"] = _text(argument.token)
    if argument.flags:
        fields["flags"] = _names(argument.flags, resp)
    if argument.arguments:
        fields["arguments"] = _arguments(facts, argument.arguments, resp)
    return _map(fields, resp)


def _text(text: str) -> bytes:
    return bulk(text.encode())


def _names(names: Iterable[str], resp: int) -> bytes:
    return _set([b"+%b\r\n" % name.encode() for name in names], resp)


def _array(frames: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(frames) + b"".join(frames)


def _set(frames: Sequence[bytes], resp: int) -> bytes:
    return b"%b%d\r\n" % (b"~" if resp == 3 else b"*", len(frames)) + b"".join(frames)


def _map(fields: Mapping[str, bytes], resp: int) -> bytes:
    inner = b"".join(_text(name) + value for name, value in fields.items())
    return _map_head(len(fields), resp) + inner


def _map_head(pairs: int, resp: int) -> bytes:
    return b"%%%d\r\n" % pairs if resp == 3 else b"*%d\r\n" % (2 * pairs)


# --- COMMAND GETKEYS ------------------------------------------------------------------------------


def keys_of(spec: CommandSpec, words: Sequence[bytes]) -> Sequence[bytes]:
    """The keys of a request to one of our commands; BadInput in Redis's words."""
    facts = _addressed(spec, words)
    if not facts.has_keys:
        raise BadInput(NO_KEYS)
    if not facts.accepts(len(words)):
        raise BadInput(WRONG_COUNT)
    if spec.key_names is not None:
        try:
            return spec.key_names(words)
        except ProxyError:
            raise BadInput(WRONG_ARGUMENTS) from None
    first, last, step = facts.keys
    last = last if last >= 0 else len(words) + last
    if not first <= last < len(words):
        raise BadInput(WRONG_ARGUMENTS)
    return words[first : last + 1 : step or 1]


def _addressed(spec: CommandSpec, words: Sequence[bytes]) -> Facts:
    """The row that a request falls under: a subcommand's where its second word is one."""
    facts = facts_of(spec)
    if spec.key_names is not None or not facts.subcommands or len(words) < 2:
        return facts
    full = b"%b|%b" % (facts.name, words[1].lower())
    for sub in facts.subcommands:
        if sub.name == full:
            return sub
    raise BadInput(UNKNOWN)


def keys_and_flags(spec: CommandSpec, words: Sequence[bytes], resp: int) -> bytes:
    """COMMAND GETKEYSANDFLAGS' answer."""
    keys = keys_of(spec, words)
    flags = _names(_addressed(spec, words).key_flags, resp)
    return _array([_array((bulk(key), flags)) for key in keys])


def keys_alone(spec: CommandSpec, words: Sequence[bytes]) -> bytes:
    """COMMAND GETKEYS' answer."""
    return _array([bulk(key) for key in keys_of(spec, words)])
