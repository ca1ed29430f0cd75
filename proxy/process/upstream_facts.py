"""What the upstream is, as it tells itself: version, commands, fields of its CLIENT LIST.

    primary lane ─ INFO ────────▶ version_of ──▶ dialect, whether the near cache can be used
                                  maxclients ──▶ how many lanes may be lent
                 ─ COMMAND ─────▶ table_of ────▶ the table, and the routes of every session
                 ─ CLIENT INFO ─▶ fields_of ───▶ the fields of our own CLIENT LIST

The functions read replies and are pure; ``UpstreamFacts`` asks, and writes what they return into
the context that all sessions share. server.py says when to ask: at the start, with every new
primary connection, when a client knew a command that the table does not know, and when a node of a
cluster has been connected to."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ..errors import ProxyError, ServerError, is_mode_switch
from ..log import event
from ..resp.inline import Dialect
from ..resp.replies import parsed
from ..session.client_lines import fields_of, shows_query
from ..session.context import Context
from ..stats.fleet import Sending
from ..table.table import Ours, Table, table_from_reply
from ..upstream.ask import Reply

log = logging.getLogger(__name__)

LEARN_EVERY: Final = 10.0  # seconds between two times of asking because of clients
NEAR_FROM: Final = 7  # version of Redis
VALKEY_DIALECT_FROM: Final = 9  # version of Valkey

_MAXCLIENTS: Final = re.compile(rb"\nmaxclients:(\d{1,9})\r")
NO_ANSWER: Final = "no answer yet"
NO_LOGIN: Final = "wants a login"


# --- Reading replies --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """A server and its version; ``major`` is 0 where the version does not begin with a number."""

    server: str  # Redis or Valkey
    text: str
    major: int

    def __str__(self) -> str:
        return f"{self.server} {self.text}"

    @property
    def dialect(self) -> Dialect:
        """How the server reads requests where Redis and Valkey differ."""
        valkey = self.server == "Valkey" and self.major >= VALKEY_DIALECT_FROM
        return Dialect.VALKEY if valkey else Dialect.REDIS

    @property
    def can_near(self) -> bool:
        """Whether values may be read near. Redis 6 puts pushes inside of other replies
        (redis#8935); a Redis of no known version might do so too."""
        return self.server == "Valkey" or self.major >= NEAR_FROM


def version_of(info: bytes) -> Version | None:
    """The version in a reply to INFO server; None where it has none: an error, a proxy's INFO."""
    rows = dict(
        row.split(":", 1) for row in info.decode("utf-8", "replace").split("\r\n") if ":" in row
    )
    # Valkey also names the Redis it is compatible with.
    for server in ("Valkey", "Redis"):
        text = rows.get(f"{server.lower()}_version")
        if text is not None:
            digits = re.match(r"[0-9]{1,9}", text)
            return Version(server, text, int(digits[0]) if digits else 0)
    return None


def table_of(reply: bytes, ours: Ours) -> Table:
    """The table in a reply to COMMAND, ours added. ValueError where it is no such reply."""
    try:
        return table_from_reply(parsed(reply), ours)
    except ServerError as error:
        raise ValueError(str(error)) from error


# --- Asking for them --------------------------------------------------------------------------


class UpstreamFacts:
    """Keeps the context in step with the server. ``learnt`` is called each time all has been
    answered, be it with errors; the clock gives seconds."""

    def __init__(
        self,
        context: Context,
        ask: Sending,
        *,
        clock: Callable[[], float],
        learnt: Callable[[], None],
        workers: int = 1,
    ) -> None:
        self.version = ""  # for people
        self._context = context
        self._ours = context.table.ours
        self._near = self._ours.near  # whether it is wanted; the server decides whether it can be
        self._ask = ask
        self._clock = clock
        self._learnt = learnt
        self._workers = workers  # that share the server's connections
        self._asked_at = 0.0

    def __repr__(self) -> str:
        return f"<UpstreamFacts {self.version or NO_ANSWER} near={self._ours.near}>"

    def learn(self) -> None:
        """Ask for everything."""
        self._asked_at = self._clock()
        questions = (
            (self._take_info, (b"INFO", b"server")),
            (self._take_maxclients, (b"INFO", b"clients")),
            (self._take_commands, (b"COMMAND",)),
            (self._take_fields, (b"CLIENT", b"INFO")),
        )
        left = len(questions)

        def answered(take: Callable[[Reply], None], reply: Reply) -> None:
            nonlocal left
            left -= 1  # nodes of a cluster answer in any order
            take(reply)
            if not left:
                self._learnt()

        for take, words in questions:
            self._ask(partial(answered, take), *words)

    def restate(self, *, voids: bool, reads_through: bool) -> None:
        """The loaders are others: what follows from them is in force at once."""
        self._ours = replace(self._ours, voids=voids, reads_through=reads_through)
        ours = replace(self._context.table.ours, voids=voids, reads_through=reads_through)
        if ours != self._context.table.ours:
            self._become(Table(self._context.table.commands, ours))

    def _become(self, table: Table) -> None:
        self._context.table = table
        self._context.lanes.dial.reads = table.repeatable
        for session in self._context.clients:
            session.berth.choose_mode()

    def learn_again(self) -> None:
        """Ask because the table may lack something: a client knew a command that it does not know,
        or a node of the cluster is another version. Not at every one."""
        if self._clock() - self._asked_at > LEARN_EVERY:
            self.learn()

    def _take_info(self, reply: Reply) -> None:
        if isinstance(reply, ProxyError):
            self.version = self.version or NO_ANSWER
            return
        version = version_of(reply)
        if version is None:
            self.version = self.version or NO_LOGIN
            return
        self.version = str(version)
        self._context.dialect = version.dialect
        self._context.valkey = version.server == "Valkey"
        # In force with the table that COMMAND gives next.
        self._ours = replace(self._ours, near=self._near and version.can_near)
        if self._near and not version.can_near:
            event(log, logging.WARNING, "near cache off", server=self.version, needs=NEAR_FROM)

    def _take_maxclients(self, reply: Reply) -> None:
        found = _MAXCLIENTS.search(reply) if isinstance(reply, bytes) else None
        if found is not None:
            self._context.lanes.take_maxclients(int(found[1]) // self._workers)

    def _take_commands(self, answer: Reply) -> None:
        reply = answer.line if isinstance(answer, ProxyError) else answer
        try:
            table = table_of(reply, self._ours)
        except ValueError:
            start = reply[:80].decode("latin-1")
            level = logging.DEBUG if is_mode_switch(answer) else logging.INFO
            event(log, level, "upstream gives no COMMAND", reply=start)
            return
        self._become(table)

    def _take_fields(self, reply: Reply) -> None:
        if isinstance(reply, bytes):
            self._context.fields = fields_of(reply)
            self._context.shows_query = shows_query(reply)
