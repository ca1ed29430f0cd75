"""Which request of a virtual connection is what: the one table of commands that are more than to be
sent to the node that has their keys.

Owns names only. Whatever is not here is ordinary: the shared lane's router knows where it goes, and
no command that leaves something on its connection may be ordinary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from . import identity, pubsub, watching
from .blocking import block, blocks
from .connection import Act, Connection, Passing
from .pubsub import Subscriptions
from .uploading import upload
from .waits import wait
from .watching import Multi, Watch

# Those done when all before them are answered.
ALONE: Final[Mapping[bytes, Act]] = {
    b"AUTH": identity.auth,
    b"HELLO": identity.hello,
    b"PSUBSCRIBE": pubsub.subscribe,
    b"PUNSUBSCRIBE": pubsub.unsubscribe,
    b"RESET": identity.reset,
    b"SELECT": identity.select,
    b"SSUBSCRIBE": pubsub.subscribe,
    b"SUBSCRIBE": pubsub.subscribe,
    b"SUNSUBSCRIBE": pubsub.unsubscribe,
    b"UNSUBSCRIBE": pubsub.unsubscribe,
    b"WAIT": wait,
    b"WATCH": watching.watch,
}
BESIDE: Final[Mapping[bytes, Act]] = {
    b"ASKING": identity.no_cluster,
    b"CLIENT": identity.client,
    b"DISCARD": watching.discard,
    b"EXEC": watching.execute,
    b"MONITOR": identity.refuse,
    b"MULTI": watching.multi,
    b"PING": identity.ping,
    b"PSYNC": identity.refuse,
    b"READONLY": identity.no_cluster,
    b"READWRITE": identity.no_cluster,
    b"REPLCONF": identity.refuse,
    b"SYNC": identity.refuse,
    b"UNWATCH": watching.unwatch,
}
# Not queued inside MULTI.
AT_ONCE: Final = frozenset({b"DISCARD", b"EXEC", b"MULTI", b"RESET", b"WATCH"})


class Table:
    """connection.Acts."""

    def find(self, connection: Connection, words: Sequence[bytes]) -> tuple[Act | None, bool]:
        name = words[0].upper()
        if connection.state(Multi) is not None and name not in AT_ONCE:
            return watching.queue, False
        if pubsub.only_some(connection, name):
            return pubsub.not_now, False
        if name == b"PING" and connection.key.resp == 2 and connection.state(Subscriptions):
            return pubsub.ping, False
        if name == b"EXEC" and connection.state(Watch) is not None:
            return watching.execute, True
        act = BESIDE.get(name)
        if act is not None:
            return act, False
        act = ALONE.get(name)
        if act is not None:
            return act, True
        if blocks(words, connection.commands):
            return block, True
        return None, False

    def upload(self, connection: Connection, pieces: Sequence[bytes]) -> Passing | None:
        busy = connection.state(Multi) is not None or connection.state(Subscriptions) is not None
        return None if busy or connection.state(Watch) is not None else upload(connection, pieces)
