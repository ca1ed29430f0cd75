"""The clients of this proxy: who is connected, and what others may do to them.

Ids, addresses and names are the proxy's own; the upstream knows only lanes. How CLIENT LIST shows
them is client_lines.py, whom it chooses filters.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from .identity import Identity
from .reasons import HOLD_REDIRECTED
from .refusals import Refusals
from .transaction import Transaction


class Berthed(Protocol):
    """Where a client's requests go (berth.py)."""

    lane_key: LaneKey
    blocking: int
    holds: int

    @property
    def lane(self) -> Lane | None: ...
    @property
    def own(self) -> Lane | None: ...
    @property
    def user(self) -> bytes: ...
    @property
    def flags(self) -> str: ...
    @property
    def postponed(self) -> bool: ...
    @property
    def subscriptions(self) -> tuple[int, int, int]: ...

    @property
    def quiet(self) -> bool: ...

    def pin_now(self) -> bool: ...
    def let_go(self, why: int) -> None: ...
    def settle(self) -> None: ...
    def hold(self, why: int) -> None: ...
    def choose_mode(self) -> None: ...
    def rekey(self, key: LaneKey) -> None: ...
    def take_pause(self) -> None: ...


@dataclass(slots=True)
class Traffic:
    """What a client has sent and been told, and what of both is still with us."""

    received: int = 0  # bytes, since it came
    sent: int = 0
    answered: int = 0  # commands
    unread: int = 0  # bytes that are no whole request yet, or wait for their turn,
    room: int = 0  # and how many more are read ahead
    gathered: tuple[int, int] = (0, 0)  # replies of this loop turn: bytes, pieces
    unsent: int = 0  # bytes that the socket does not take yet


class Client(Protocol):
    """What a session shows of itself, and how it is ended."""

    active: float
    last: bytes
    queued: int
    queued_bytes: int
    timed: bool  # it asks how long some keys last

    @property
    def cut(self) -> bool: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def berth(self) -> Berthed: ...
    @property
    def wire(self) -> asyncio.Transport | None: ...
    @property
    def transaction(self) -> Transaction: ...
    @property
    def traffic(self) -> Traffic: ...

    def stall(self, reason: int) -> object: ...
    def resume(self, reason: int) -> None: ...
    def abort(self, why: str) -> None: ...
    def close(self) -> None: ...
    def drain(self) -> bool: ...


class Cuttable(Protocol):
    """Whose connection can be cut."""

    def abort(self, why: str) -> None: ...


Test = Callable[[Client], bool]


class Clients:
    """Sessions by id; ids only grow, as Redis's do."""

    def __init__(self, limit: int, left: Callable[[], None]) -> None:
        self.limit = limit
        self.refusals = Refusals()
        self.cuts = 0  # of clients, for what they had in buffers
        self._left = left
        self._by_id: dict[int, Client] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._by_id.values()))

    def __repr__(self) -> str:
        return f"<Clients {len(self)}/{self.limit}>"

    def join(self, client: Client) -> bool:
        """Number the client; False when the limit is reached."""
        self._last_id += 1
        client.identity.id = self._last_id
        if len(self._by_id) >= self.limit:
            self.refusals.refused(self.limit, client.active)
            return False
        self._by_id[client.identity.id] = client
        return True

    def leave(self, client: Client) -> None:
        self.redirect(client, None)
        self._by_id.pop(client.identity.id, None)
        self._left()

    def get(self, number: int) -> Client | None:
        return self._by_id.get(number)

    def burden(self, client: Client, target: Client) -> None:
        """The client is about to redirect to the target, which has a lane for it from now on."""
        client.identity.asks = target.identity.id
        target.identity.redirected.add(client.identity.id)

    def redirect(self, client: Client, target: Client | None) -> None:
        """The client's invalidations go to the target from now on, None: to nobody else."""
        former = client.identity.redirect
        client.identity.redirect = target.identity.id if target is not None else -1
        self._release(client, former)
        self.unburden(client)

    def unburden(self, client: Client) -> None:
        """It is decided whether it redirects to the one that it asked for, or it never will be."""
        asked, client.identity.asks = client.identity.asks, -1
        self._release(client, asked)

    def _release(self, client: Client, number: int) -> None:
        """Let a target have a lane like anybody's again, if nobody redirects to it any more."""
        target = self._by_id.get(number)
        if target is None or number == client.identity.redirect:
            return
        target.identity.redirected.discard(client.identity.id)
        if not target.identity.redirected:
            target.berth.let_go(HOLD_REDIRECTED)
            if target.berth.quiet:
                target.berth.settle()

    def cut(self, client: Cuttable, why: str) -> None:
        """Cut a client for what it has in our buffers."""
        self.cuts += 1
        client.abort(why)

    def kill(self, tests: Iterable[Test], by: Client) -> int:
        """Close the clients that pass all tests; how many. The one who asks gets its answer
        first."""
        tests = list(tests)
        chosen = [
            client for client in self if not client.cut and all(test(client) for test in tests)
        ]
        for client in chosen:
            if client is not by:
                client.abort("CLIENT KILL")
        return len(chosen)
