"""Runs the commands of the proxy's own: for sessions, and for HTTP with the same words.

Owns one Call for each db and upstream user: its lanes, flights and locks. Knows no command by name:
process/wiring.py hands them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..custom.spec import Call, CommandSpec
from ..errors import BadInput, NoLoader, ProxyError, WrongArity, is_away, shown
from ..forgoing import forgoing
from ..loading.flights import Flights
from ..loading.leases import Leases
from ..loading.writes import Voidable
from ..locking.locks import Locks
from ..locking.tenure import Tenure
from ..resp.replies import Value
from ..upstream.lane_key import LaneKey
from ..upstream.tracked import TrackedLane

# A db and user that nobody has asked for in so many seconds is forgotten, if nothing runs there.
IDLE_TICKS: Final = 60


@dataclass(slots=True)
class Scope:
    """What one db and user has: the call to hand to commands, but for its request."""

    tracked: TrackedLane
    flights: Flights
    leases: Leases
    locks: Locks
    call: Call
    idle_ticks: int = 0


def _nothing(tracked: TrackedLane) -> None: ...


class Scopes:
    def __init__(
        self,
        specs: Sequence[CommandSpec],
        build: Callable[[LaneKey], Scope],
        used: Callable[[], None] = lambda: None,
    ) -> None:
        self.specs: Mapping[bytes, CommandSpec] = {spec.name: spec for spec in specs}
        self.used = used  # told of each use of a command
        self._build = build
        self.born: Callable[[TrackedLane], None] = _nothing  # told of each scope that is made
        self._scopes: dict[LaneKey, Scope] = {}

    def __repr__(self) -> str:
        return f"<Scopes {len(self.specs)} scopes={len(self._scopes)}>"

    def parse(self, words: Sequence[bytes]) -> tuple[CommandSpec, object]:
        """The command and its request. BadInput in Redis's words."""
        spec = self.specs.get(words[0].upper())
        if spec is None:
            raise BadInput(f"unknown command {shown(words[0])}")
        if not spec.accepts(len(words)):
            raise WrongArity(spec.name.decode())
        self.used()
        return spec, spec.parse(words)

    async def run(
        self, spec: CommandSpec, request: object, key: LaneKey, tenure: Tenure | None = None
    ) -> Value:
        """Run a parsed request; its probe, if it has one, has been asked already."""
        return await spec.run(replace(self.scope(key).call, request=request, tenure=tenure))

    async def ask(self, words: Sequence[bytes], key: LaneKey) -> Value:
        """Run one request. ProxyError with the line that a client would get."""
        return await self.probe_and_run(*self.parse(words), key)

    async def probe_and_run(self, spec: CommandSpec, request: object, key: LaneKey) -> Value:
        probe = spec.probe(request)
        if probe is None:
            return await self.run(spec, request, key)
        call, away = self.scope(key).call, None
        if not call.loads.alone(probe[1]):
            try:
                with forgoing(call.loads.fails_open(probe[1])):
                    value = await call.upstream.ask(*probe)
            except ProxyError as why:
                if not is_away(why):
                    raise
                away = why  # a loader may do without the server
            else:
                call.stats.read(hit=value is not None)
                if value is not None:
                    return value
        try:
            return await self.run(spec, request, key)
        except NoLoader:
            if away is None:
                raise
            raise away from None

    def scope(self, key: LaneKey) -> Scope:
        """What the db and user of a session's key has."""
        here = LaneKey(db=key.db, user=key.user)
        scope = self._scopes.get(here)
        if scope is None:
            scope = self._scopes[here] = self._build(here)
            self.born(scope.tracked)
        scope.idle_ticks = 0
        return scope

    def void(self, key: LaneKey, keys: Sequence[bytes]) -> None:
        """Keys that a plain write changes: their loads must not be joined any more."""
        for running in self.running(key.db):
            running.void(keys)

    def running(self, db: int) -> Iterator[Voidable]:
        """Loads and leases of a db, whoever they are of."""
        for here, scope in self._scopes.items():
            if here.db == db:
                yield scope.flights
                yield scope.leases

    def wake(self) -> None:
        """Any key may have changed, and the server may not tell: whoever waits for one looks."""
        for scope in self._scopes.values():
            scope.tracked.fire_all()

    @property
    def tracked(self) -> Iterator[TrackedLane]:
        """The tracked lane of each db and user."""
        return (scope.tracked for scope in self._scopes.values())

    @property
    def leases_held(self) -> int:
        """Leases that clients have through this proxy."""
        return sum(scope.leases.held for scope in self._scopes.values())

    @property
    def locks_renewing(self) -> int:
        """Locks that are renewed for clients that stay."""
        return sum(scope.locks.keeping for scope in self._scopes.values())

    @property
    def watched(self) -> bool:
        """Whether anybody waits for a key to change."""
        return any(scope.tracked.watches for scope in self._scopes.values())

    @property
    def tracking(self) -> bool:
        """Whether any server that we asked tells us of changes."""
        return any(scope.tracked.tracking for scope in self._scopes.values())

    def tick(self) -> None:
        """Once a second."""
        for key, scope in list(self._scopes.items()):
            scope.tracked.tick()
            scope.leases.tick()
            scope.idle_ticks = scope.idle_ticks + 1 if scope.tracked.idle else 0
            if scope.idle_ticks > IDLE_TICKS:
                del self._scopes[key]
