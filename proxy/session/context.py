"""What all sessions of a process have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..custom.spec import CommandSpec, LoaderKeys
from ..hot.answers import Turn
from ..near.cache import NearCache
from ..resp.inline import Dialect
from ..resp.kernel import RouteMap
from ..resp.replies import patch_id
from ..spans import OFF, Traces
from ..stats.keys import Keys
from ..stats.sampler import Sampler
from ..stats.slowlog import SlowLog
from ..table.table import Table
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from .allowance import Allowance
from .clients import Clients
from .holding import Holding
from .offenders import Offenders
from .scopes import Scopes
from .swapping import Swapping
from .unread import Unread


@dataclass(slots=True)
class Context:
    lanes: Lanes
    clients: Clients
    table: Table
    turn: Turn
    scopes: Scopes
    loaders: LoaderKeys
    start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    # A command that the table does not know has worked: read COMMAND again.
    learn: Callable[[], None]
    dialect: Dialect = Dialect.REDIS
    valkey: bool = False  # the upstream has said that it is one
    fields: tuple[bytes, ...] = ()  # of the upstream's CLIENT LIST lines
    shows_query: bool = True  # there, of whoever asks for them, what it asks
    customs: Mapping[bytes, CommandSpec] = field(
        default_factory=dict[bytes, CommandSpec]
    )  # ours, by upper-case name
    info: Callable[[], bytes] = lambda: b""  # our section of INFO
    # The server's answer to HELLO as a client gets it, with our number of the client.
    hello: Callable[[bytes, int], bytes] = patch_id
    near: NearCache | None = None
    # What is known of the users' rights may be old.
    rights_changed: Callable[[], None] = lambda: None
    swapping: Swapping = field(default_factory=Swapping)
    holding: Holding = field(default_factory=Holding)
    unread: Unread = field(default_factory=Unread)
    offenders: Offenders = field(default_factory=Offenders)
    allowance: Allowance = field(default_factory=Allowance)
    sampler: Sampler = field(default_factory=Sampler)
    slow: SlowLog = field(default_factory=SlowLog)
    keys: Keys = field(default_factory=Keys)
    traces: Traces = OFF

    def maps(self, key: LaneKey, *, near: bool) -> list[RouteMap]:
        """The maps of routes for clients with this key; ``near``: who read near."""
        narrow = near and self.scopes.scope(key).tracked.narrow
        return self.table.narrow if narrow else self.table.maps
