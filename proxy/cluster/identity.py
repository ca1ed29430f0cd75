"""Who a virtual connection is: HELLO, AUTH, SELECT, RESET, and what CLIENT would change.

What a node says decides: of a login on its lane for that, of a db by a lane that has selected it.
Acts of acts.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ..errors import BadInput, ProxyError
from ..resp.replies import OK, bulk
from ..resp.requests import integer_of, is_name, parse_hello
from ..table.table import Command
from ..upstream.ask import Reply
from ..upstream.handshake import login
from ..upstream.lane_key import LaneKey, User
from ..upstream.lanes import Lanes
from . import local
from .connection import Answer, Connection
from .redirects import NOT_SERVED
from .table import facts
from .transaction import HARMLESS

# Hints to the server about one connection, which is none: subcommands of CLIENT, and the first word
# that each takes.
_ON_OFF: Final = frozenset({b"ON", b"OFF"})
_HINTS: Final[Mapping[bytes, frozenset[bytes] | None]] = {
    b"CAPA": None,
    b"NO-EVICT": _ON_OFF,
    b"NO-TOUCH": _ON_OFF,
    b"SETINFO": frozenset({b"LIB-NAME", b"LIB-VER"}),
    b"SETNAME": None,
}


def hello(connection: Connection, words: list[bytes], request: bytes) -> None:
    answer = connection.alone()
    if len(words) == 1:
        _say_hello(connection, connection.key, answer)
        return
    wanted = parse_hello(words)
    if wanted is None:  # refused whoever asks
        _ask(connection, words, answer, lambda _: answer(OK))
        return
    key = connection.key.with_resp(wanted.resp)
    if wanted.login is None:
        _say_hello(connection, key, answer)
        return
    name, password = wanted.login

    def taken(_: bytes) -> None:
        _say_hello(connection, _as(connection, key, name, password), answer)

    _ask(connection, [b"AUTH", name, password], answer, taken)


def _say_hello(connection: Connection, key: LaneKey, answer: Answer) -> None:
    """As a node says it. Nobody waits for one that has said it before: what a node says now is for
    the next time, and a node that hangs must not keep new connections waiting."""
    pool, hellos = connection.cluster.any_pool(), connection.virtual.hellos
    before = hellos.get(key.resp)

    def told(reply: Reply) -> None:
        line = reply.line if isinstance(reply, ProxyError) else reply
        if not line.startswith(b"-"):
            hellos[key.resp] = line
        if before is None:
            tell(line)

    def tell(line: bytes) -> None:
        if not line.startswith(b"-"):
            connection.key = key
        answer(local.hello(line, connection.id))

    if before is not None:
        tell(before)
    if pool is not None:
        pool.shared(LaneKey(resp=key.resp)).ask(told, b"HELLO")
    elif before is None:
        answer(NOT_SERVED)


def auth(connection: Connection, words: list[bytes], request: bytes) -> None:
    answer = connection.alone()

    def taken(reply: bytes) -> None:
        name = words[1] if len(words) == 3 else b"default"
        connection.key = _as(connection, connection.key, name, words[-1])
        answer(reply)

    _ask(connection, words, answer, taken)


def _ask(
    connection: Connection, words: list[bytes], answer: Answer, taken: Callable[[bytes], None]
) -> None:
    """Ask where any user may be asked for; what is no error is ``taken``."""
    pool: Lanes | None = connection.cluster.any_pool()

    def told(reply: Reply) -> None:
        line = reply.line if isinstance(reply, ProxyError) else reply
        (answer if line.startswith(b"-") else taken)(line)

    if pool is None:
        answer(NOT_SERVED)
    else:
        pool.asking().ask(told, *words)


def _as(connection: Connection, key: LaneKey, name: bytes, password: bytes) -> LaneKey:
    """The key of that user; of nobody where it is the proxy itself."""
    pool = connection.cluster.any_pool()
    ours = login(LaneKey(), pool.dial.upstream) if pool is not None else []
    if any(step.words in ((b"AUTH", name, password), (b"AUTH", password)) for step in ours):
        return key.with_user(None)
    return key.with_user(User(name, password))


def select(connection: Connection, words: list[bytes], request: bytes) -> None:
    answer = connection.alone()
    db = integer_of(words[1]) if len(words) == 2 else None
    key = connection.key if db is None or db < 0 else connection.key.with_db(db)
    pool = connection.cluster.any_pool()
    if pool is None:
        answer(NOT_SERVED)
        return

    def told(reply: Reply) -> None:
        line = reply.line if isinstance(reply, ProxyError) else reply
        if line.startswith(b"-"):
            pool.forget(key)
        else:
            connection.key = key
        answer(line)

    pool.shared(key).ask(told, *words)


def reset(connection: Connection, words: list[bytes], request: bytes) -> None:
    connection.drop_states()
    connection.key = LaneKey()
    connection.say(b"+RESET\r\n")


def ping(connection: Connection, words: list[bytes], request: bytes) -> None:
    if len(words) > 2:
        connection.say(b"-ERR wrong number of arguments for 'ping' command\r\n")
    else:
        connection.say(bulk(words[1]) if len(words) == 2 else b"+PONG\r\n")


def client(connection: Connection, words: list[bytes], request: bytes) -> None:
    """Nothing of it may act on a lane that others share."""
    sub = words[1].upper() if len(words) > 1 else b""
    command = connection.commands.get(b"CLIENT")
    known = command is None or not command.subcommands or sub in command.subcommands
    if sub in HARMLESS or not known or len(words) < 2:
        connection.ordinary(request)
    elif sub not in _HINTS:
        refuse(connection, words, request)
    elif _is_hint(words, connection.commands):
        connection.say(OK)
    else:
        connection.ordinary(request)  # a node refuses it, in its words


def _is_hint(words: Sequence[bytes], commands: Mapping[bytes, Command]) -> bool:
    """Whether a server would take it. Sessions ask with a name that none takes (acts/client.py)."""
    first = _HINTS[words[1].upper()]
    found = facts(words, commands)
    if len(words) < 3 or (found is not None and not found.accepts(len(words))):
        return False
    return (first is None or words[2].upper() in first) and is_name(words[-1])


def refuse(connection: Connection, words: list[bytes], request: bytes) -> None:
    """What acts on the one connection of a client to the one server."""
    name = words[0].upper()
    if name == b"CLIENT":
        name += b" " + words[1].upper()[:32]
    told = name.decode("latin-1")
    connection.say(BadInput(f"{told} is not supported in cluster mode").line)


def no_cluster(connection: Connection, words: list[bytes], request: bytes) -> None:
    connection.ordinary(request)  # it is the planner that says so, on shared lanes too
