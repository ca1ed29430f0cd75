"""Invalidations of one tag that cross each other and a load, or are killed half-way: every order of
their requests to a real server, one request at a time.

    one invalidation does i requests, a load does j, in either order
    a new version is published; another invalidation is done whole      nothing older is fresh
    the first one ends, or is killed; the load ends                     nothing older is fresh
    a last invalidation                                                 nothing stands

The commands' own code asks; what is new is who may go on. Then the same with a fault in it, which
must be found."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, cast

import pytest
from nearhit.commands import invalidate
from nearhit.lua import Script
from nearhit.proxy.custom import tags
from nearhit.proxy.custom.spec import Call, Expiry
from nearhit.proxy.custom.tags import attach, epochs
from nearhit.proxy.loading.lease_scripts import FILL, SETTLE, TAKE
from nearhit.proxy.resp.replies import Value, parsed
from nearhit.proxy.resp.requests import Request, parse_request

from tests.servers import Kind, server_binary, upstream
from tests.shelf import FakeCounts, FakeLoads
from tests.wire.link import Link

KEY, LEASE, TAG = b"k", b"lease:{k}", b"t"
GRACE_MS, TTL_MS = 5_000, 65_000
SPINS: Final = 12  # turns of the loop until whoever was answered asks again
HARD, SOFT = (b"INVALIDATE", b"TAG", TAG), (b"INVALIDATE", b"SOFT", b"TAG", TAG)


class Steps:
    """One who asks the server, a request at a time, as it is told to (spec.Asking)."""

    def __init__(self, link: Link, work: Callable[[Steps], Coroutine[Any, Any, None]]) -> None:
        self._link = link
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._task = asyncio.get_running_loop().create_task(work(self))

    async def step(self, count: int = 1) -> None:
        """Let so many requests pass."""
        for _ in range(count):
            await self._spin()
            if self._waiting:
                self._waiting.popleft().set_result(None)
        await self._spin()

    async def _spin(self) -> None:
        for _ in range(SPINS):
            if self._waiting or self._task.done():
                return
            await asyncio.sleep(0)

    async def end(self) -> None:
        while not self._task.done():
            await self.step()
        await self._task

    async def kill(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def ask(self, *words: bytes) -> Value:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn
        reply = self._link.ask(*words)
        assert not reply.startswith(b"-"), (words, reply)
        return parsed(reply)

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        return await self.ask(b"EVAL", script.text, b"%d" % len(keys), *keys, *args)

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        """Others may come between any two."""
        found: list[Value] = []
        for request in requests:
            words = parse_request(request, 0)
            assert isinstance(words, Request)
            found.append(await self.ask(*words.args))
        return found


@dataclass
class Round:
    link: Link
    version: int = 0
    replied: int = 0  # the version that was published before an invalidation that is answered
    soft: bool = False  # it was a soft one

    async def load(self, server: Steps) -> None:
        asking = cast(Any, server)
        token = b"t%d" % random.getrandbits(64)
        took = await server.run(TAKE, (KEY, LEASE), (token, b"10000", b"fresh", b""))
        assert isinstance(took, list)
        if took[0] != 2:
            return
        known = await epochs(asking, [TAG])
        value = b"%d" % self.version
        expiry = Expiry(b"PX", TTL_MS)
        if await attach(asking, [(KEY, expiry)], [TAG], known, 1000):
            await server.run(FILL, (KEY, LEASE), (token, value, *expiry.words, took[1]))
        else:
            await server.run(SETTLE, (KEY, LEASE), (token, b"", b"0", b""))

    def invalidating(self, words: Sequence[bytes]) -> Callable[[Steps], Coroutine[Any, Any, None]]:
        async def work(server: Steps) -> None:
            loads = FakeLoads([])
            loads.graces = {KEY: GRACE_MS}
            world = cast(Any, dict.fromkeys(Call.__slots__))
            world |= {"request": invalidate.parse(words), "bulk": server, "loads": loads}
            await invalidate.run(Call(**world | {"writes": loads, "stats": FakeCounts()}))

        return work

    def check(self, when: str) -> None:
        value = parsed(self.link.ask("GET", KEY))
        if value is None or int(cast(bytes, value)) >= self.replied:
            return
        left = parsed(self.link.ask("PTTL", KEY))
        assert isinstance(left, int)
        assert self.soft, f"{when}: version {value!r} stands behind {self.replied}"
        assert 0 <= left <= GRACE_MS, f"{when}: version {value!r} is fresh behind {self.replied}"


@dataclass(frozen=True)
class Order:
    first: tuple[bytes, ...]
    second: tuple[bytes, ...]
    there: bool  # the key, before all of it
    load_first: bool
    load_ends_first: bool
    killed: bool
    i: int
    j: int


def orders(*kinds: tuple[tuple[bytes, ...], tuple[bytes, ...]]) -> Iterator[Order]:
    flags = itertools.product((False, True), repeat=4)
    for pair, flag, i, j in itertools.product(kinds, list(flags), range(8), range(5)):
        yield Order(*pair, *flag, i, j)


async def one_round(link: Link, order: Order) -> None:
    link.ask("FLUSHALL")
    here = Round(link)
    if order.there:
        await Steps(link, here.load).end()
    load: Steps | None = None

    async def some_of_the_load() -> Steps:
        begun = Steps(link, here.load)
        await begun.step(order.j)
        return begun

    if order.load_first:
        load = await some_of_the_load()
    here.version = 1
    one = Steps(link, here.invalidating(order.first))
    await one.step(order.i)
    load = load or await some_of_the_load()
    here.version = 2

    await Steps(link, here.invalidating(order.second)).end()
    here.replied, here.soft = 2, order.second == SOFT
    here.check("at the reply")

    async def end_one() -> None:
        await (one.kill() if order.killed else one.end())
        here.check("as the first one has ended")

    async def end_load() -> None:
        await load.end()
        here.check("as the load has ended")

    ends: list[Callable[[], Awaitable[None]]] = [end_one, end_load]
    for end in reversed(ends) if order.load_ends_first else ends:
        await end()
    await Steps(link, here.invalidating(HARD)).end()
    assert parsed(link.ask("KEYS", "*")) == [b"tagepoch:{t}"], (
        "what stands is under no tag any more"
    )


async def every(link: Link, some: Sequence[Order]) -> None:
    for order in some:
        try:
            await one_round(link, order)
        except AssertionError as error:
            raise AssertionError(f"{order}: {error}") from error


BOTH_HARD: Final = list(orders((HARD, HARD)))
OTHERS: Final = list(orders((HARD, SOFT), (SOFT, HARD), (SOFT, SOFT)))
SOME: Final = [*random.Random(7).sample(BOTH_HARD, 160), *random.Random(7).sample(OTHERS, 120)]


@pytest.fixture(params=["redis", "valkey"])
def link(request: pytest.FixtureRequest) -> Iterator[Link]:
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    with upstream(kind) as process, closing(Link(process.port)) as link:
        yield link


@pytest.mark.parametrize(
    "some",
    [SOME, pytest.param([*BOTH_HARD, *OTHERS], marks=pytest.mark.soak)],
    ids=["some", "all"],
)
async def test_no_order_of_two_invalidations_and_a_load_leaves_anything_old(
    link: Link, some: Sequence[Order]
) -> None:
    await every(link, some)


# --- Faults -----------------------------------------------------------------------------------


async def _not_compared(*args: Any) -> bool:
    await tags.attach(*args)
    return True


async def _taken_out_first(server: Any, apart: Any, remove: Any) -> int:
    """The keys leave their tag before their values go."""
    for _, part in apart:
        while keys := cast("list[bytes]", await server.ask(b"ZRANGE", part, b"0", b"249")):
            await server.ask(b"ZREM", part, *keys)
            await remove(keys)
    return 0


async def _alone(server: Any, names: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """What others have set apart is left to them."""
    before = cast("list[bytes]", await server.ask(b"SMEMBERS", b"tagclosed:{t}"))
    return [pair for pair in await tags.close(server, names) if pair[1] not in before]


def _without_the_lease(script: Script) -> Script:
    text = script.text.replace(b"redis.call('DEL', KEYS[2])", b"")
    assert text != script.text
    return Script(script.name, text, b"")


FAULTS: Final[dict[str, tuple[str, Any, list[Order]]]] = {
    "epochs are not compared": (f"{__name__}.attach", _not_compared, BOTH_HARD),
    "keys leave the tag first": ("nearhit.commands.invalidate.drain", _taken_out_first, BOTH_HARD),
    "others' parts are left": ("nearhit.commands.invalidate.close", _alone, BOTH_HARD),
    "soft leaves the lease": (
        "nearhit.commands.invalidate.SOFTEN",
        _without_the_lease(invalidate.SOFTEN),
        OTHERS,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_fault_is_found(link: Link, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    where, planted, some = FAULTS[fault]
    monkeypatch.setattr(where, planted)

    with pytest.raises(AssertionError, match=r"stands behind|is fresh behind|under no tag"):
        await every(link, some)
