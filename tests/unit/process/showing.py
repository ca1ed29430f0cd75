"""Parts of a proxy for what shows it: servers that are scripts, and time in the test's hands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from nearhit.lua import Script
from nearhit.proxy.cluster.lanes import ClusterLanes
from nearhit.proxy.custom.spec import Call
from nearhit.proxy.errors import ProxyError
from nearhit.proxy.jobs.board import Owner, Record
from nearhit.proxy.process.status import VALUE_MOST
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.stats.counters import Stats
from nearhit.proxy.stats.families import Families
from nearhit.proxy.upstream.lane_key import LaneKey

KEY = b"user:1"


class Server:
    """Answers by the words it is asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[bytes, ...], object] = {
            (b"TYPE", KEY): "string",
            (b"STRLEN", KEY): 2000,
            (b"GETRANGE", KEY, b"0", b"%d" % (VALUE_MOST - 1)): b"value",
            (b"PTTL", KEY): 1500,
            (b"GET", b"lease:{user:1}"): None,
        }

        self.hidden: Sequence[bytes] = ()  # keys that its user may not read
        self.silence: Exception | None = None

    async def ask(self, *words: bytes) -> object:
        return self.answers[words]

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        if self.silence is not None:
            raise self.silence
        return [int(key not in self.hidden) for key in args]


class Pool:
    def __init__(self, address: str, down: ProxyError | None = None) -> None:
        self.dial = SimpleNamespace(address=address)
        self.down = down
        self.primary_key = SimpleNamespace(db=3)
        self.newcomer_key = object()
        self.is_locked = False

    def locked(self, key: object) -> bool:
        return self.is_locked


class Cluster(ClusterLanes):
    def __init__(self) -> None:
        self.down = None
        self.primary_key = LaneKey()
        self.newcomers = cast("Any", SimpleNamespace(barred=False, era=0))

    shards = cast("Any", [("a:1", ["b:1"])])
    slots = cast("Any", [16384])
    pools = cast("Any", [Pool("a:1"), Pool("c:1", ProxyError(b"-UPSTREAM gone"))])


class World:
    """Parts of a proxy, and time in the test's hands."""

    def __init__(self, lanes: object | None = None) -> None:
        self.now = 100.0
        self.server = Server()
        self.pool = Pool("127.0.0.1:6379")
        self.stats, self.families = Stats(), Families()
        self.jobs: list[Record] = []
        self.loader: Any = None
        self.near: Any = SimpleNamespace(budget=1000)
        self.hot: list[tuple[bytes, Mapping[str, Value]]] = []
        tracked = SimpleNamespace(upstream=self.server)
        scope = SimpleNamespace(tracked=tracked, call=cast("Call", tracked))
        self.parts: Any = SimpleNamespace(
            stats=self.stats,
            families=self.families,
            context=SimpleNamespace(near=self.near),
            lanes=self.pool if lanes is None else lanes,
            jobs=SimpleNamespace(all=self._jobs),
            views=SimpleNamespace(seen=self._seen),
            scopes=SimpleNamespace(scope=lambda key: scope),
            loaders=SimpleNamespace(match=lambda key: self.loader),
        )

    def _jobs(self, owner: Owner) -> Sequence[Record]:
        return [one for one in self.jobs if one.owner == owner]

    def _seen(self, view: str, db: int) -> Sequence[tuple[bytes, Mapping[str, Value]]]:
        return self.hot if (view, db) == ("hotkeys", 3) else []
