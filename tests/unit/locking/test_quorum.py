"""Locks that are a vote of several servers: granted by most, given back where they are not, never
held by two."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from nearhit.lua import script
from nearhit.proxy.errors import BadInput, NoMajority, ServerError, UpstreamLost
from nearhit.proxy.locking import quorum as quorum_module
from nearhit.proxy.locking.grants import Grant
from nearhit.proxy.locking.locks import Locks
from nearhit.proxy.locking.quorum import Quorum, patience
from nearhit.proxy.locking.votes import Ballot

from tests.unit.locking.nodes import Nodes, virtual
from tests.unit.locking.test_tenure import Client
from tests.unit.locking.world import pass_time
from tests.virtual import VirtualLoop


async def granted(
    locks: Locks, ms: int = 10_000, wait: int = 0, token: bytes | None = None
) -> Grant:
    grant = await locks.acquire(b"r", ms, wait, token)
    assert grant is not None
    return grant


# --- Granted by most


@virtual
async def test_a_lock_has_one_token_and_one_fence_at_all_servers(nodes: Nodes) -> None:
    grant = await granted(nodes.locks)
    await pass_time(0.01)

    assert nodes.holders() == [grant.token] * 5
    assert {node.fences[b"fence:{r}"] for node in nodes.all} == {grant.fence}
    # Two rounds, of 1 ms each, 1 % and 2 ms: the fences differed, for the clocks do.
    assert grant.valid_ms == 10_000 - 102 - 2
    assert nodes.counts == {"locks_acquired": 1}


@pytest.mark.parametrize("how", ["away", "frozen"])
def test_two_of_five_may_be_away(how: str) -> None:
    @virtual
    async def run(nodes: Nodes) -> None:
        for node in nodes.all[:2]:
            node.crash() if how == "away" else node.freeze()
        began = nodes.loop.time()

        grant = await granted(nodes.locks)

        assert nodes.loop.time() - began < 0.01, "nobody waits for them"
        assert await nodes.locks.extend(b"r", grant.token, 60_000)
        assert (await nodes.locks.info(b"r"))["held"]
        assert await nodes.locks.release(b"r", grant.token)
        assert nodes.holders()[2:] == [None] * 3

    run()


@pytest.mark.parametrize("how", ["away", "frozen"])
def test_with_three_away_it_is_refused_in_time_and_nothing_is_left(how: str) -> None:
    @virtual
    async def run(nodes: Nodes) -> None:
        for node in nodes.all[:3]:
            node.crash() if how == "away" else node.freeze()
        began = nodes.loop.time()

        with pytest.raises(NoMajority, match="2 of 5 lock servers answered, 3 must agree"):
            await nodes.locks.acquire(b"r", 10_000, 5_000, None)

        assert nodes.loop.time() - began <= (0.01 if how == "away" else 0.51)
        await pass_time(0.01)
        assert nodes.holders()[3:] == [None] * 2
        for ask in (
            nodes.locks.release(b"r", b"t"),
            nodes.locks.extend(b"r", b"t", 1_000),
            nodes.locks.info(b"r"),
        ):
            with pytest.raises(NoMajority):
                await ask
        for node in nodes.all:
            node.thaw()
        await pass_time(3)
        assert nodes.holders() == [None] * 5, "also where the answer was lost"

    run()


@virtual
async def test_an_answer_that_is_lost_is_of_a_lock_that_is_given_back(nodes: Nodes) -> None:
    for node in nodes.all[:3]:
        node.mute = True
    asking = asyncio.create_task(nodes.locks.acquire(b"r", 10_000, 0, None))
    await pass_time(0.01)
    assert all(nodes.holders())

    for node in nodes.all[:3]:
        node.cut()
        node.mute = False

    with pytest.raises(NoMajority):
        await asking
    await pass_time(1)
    assert nodes.holders() == [None] * 5


@virtual
async def test_what_most_servers_refuse_is_told_in_their_words(nodes: Nodes) -> None:
    for node in nodes.all[:3]:
        node.refuse = ServerError(b"-NOPERM not you")

    with pytest.raises(ServerError, match="NOPERM not you"):
        await nodes.locks.acquire(b"r", 10_000, 0, None)


@virtual
async def test_time_that_the_servers_took_is_not_the_client_s(nodes: Nodes) -> None:
    for node in nodes.all[:3]:
        node.latency = 0.4

    grant = await granted(nodes.locks)

    # 400 ms for the votes, and as much for the fence.
    assert grant.valid_ms == 10_000 - 102 - 801


@virtual
async def test_a_lock_that_is_over_when_most_have_granted_is_nobody_s(nodes: Nodes) -> None:
    for node in nodes.all[:3]:
        node.latency = 0.049

    assert await nodes.locks.acquire(b"r", 60, 0, None) is None

    await pass_time(0.2)
    assert nodes.holders() == [None] * 5


# --- Held by others


@virtual
async def test_a_lock_that_most_have_is_another_s(nodes: Nodes) -> None:
    grant = await granted(nodes.locks, 300)

    assert await nodes.locks.acquire(b"r", 1_000, 0, None) is None

    await pass_time(0.01)
    assert nodes.holders() == [grant.token] * 5
    assert await nodes.locks.info(b"r") == {
        "held": True,
        "fence": grant.fence,
        "ttl_ms": pytest.approx(285, abs=5),
        "waiters": 0,
    }
    await pass_time(0.4)
    assert not (await nodes.locks.info(b"r"))["held"]


@virtual
async def test_what_a_minority_gave_is_given_back_at_once(nodes: Nodes) -> None:
    other = await granted(nodes.locks)
    await pass_time(0.01)
    for node in nodes.all[:2]:
        node.free()

    assert await nodes.locks.acquire(b"r", 10_000, 0, None) is None

    await pass_time(0.01)
    assert nodes.holders() == [None, None, *[other.token] * 3]


@virtual
async def test_who_asks_again_with_its_token_gets_the_same_fence(nodes: Nodes) -> None:
    first = await granted(nodes.locks, token=b"t")
    nodes.all[0].crash()

    again = await granted(nodes.locks, token=b"t")

    assert again.fence == first.fence
    assert nodes.holders() == [None, *[b"t"] * 4]


@virtual
async def test_a_named_lock_that_is_held_is_not_given_back_when_asking_again_fails(
    nodes: Nodes,
) -> None:
    await granted(nodes.locks, token=b"t")
    for node in nodes.all[:3]:
        node.away = True

    with pytest.raises(NoMajority):
        await nodes.locks.acquire(b"r", 10_000, 0, b"t")

    await pass_time(1)
    assert nodes.holders() == [b"t"] * 5


@virtual
async def test_the_token_releases_what_most_have_and_nobody_else_does(nodes: Nodes) -> None:
    grant = await granted(nodes.locks)
    await pass_time(0.01)

    assert not await nodes.locks.release(b"r", b"wrong")
    assert not await nodes.locks.extend(b"r", b"wrong", 60_000)
    nodes.all[0].free()
    nodes.all[1].free()
    assert await nodes.locks.extend(b"r", grant.token, 60_000)
    assert await nodes.locks.release(b"r", grant.token)
    assert not await nodes.locks.release(b"r", grant.token)


@virtual
async def test_a_lock_that_a_minority_has_left_is_not_extended_nor_released(nodes: Nodes) -> None:
    grant = await granted(nodes.locks)
    await pass_time(0.01)
    for node in nodes.all[:3]:
        node.free()

    assert not await nodes.locks.extend(b"r", grant.token, 60_000)
    nodes.all[0].away = nodes.all[1].away = True
    with pytest.raises(NoMajority) as raised:  # one of them may have it
        await nodes.locks.extend(b"r", grant.token, 60_000)
    assert raised.value.outcome_unknown
    nodes.all[0].away = nodes.all[1].away = False
    assert not await nodes.locks.release(b"r", grant.token)


@virtual
async def test_a_fence_is_greater_than_those_of_majorities_of_other_servers(nodes: Nodes) -> None:
    nodes.all[4].skew = 3_600  # its clock is an hour ahead
    fences = []
    for away in ([0, 1], [3, 4], [1, 2], [0, 4], [2, 4], [0, 1]):
        for at in away:
            nodes.all[at].away = True
        grant = await granted(nodes.locks)
        fences.append(grant.fence)
        assert await nodes.locks.release(b"r", grant.token)
        await pass_time(0.01)
        for at in away:
            nodes.all[at].away = False
            if nodes.all[at].holder() is not None:
                nodes.all[at].free()

    assert fences == sorted(set(fences))


@virtual
async def test_a_fence_that_most_do_not_learn_is_no_grant(nodes: Nodes) -> None:
    def deaf(*_: object) -> object:
        raise ServerError(b"-OOM no")

    for node in nodes.all[:3]:
        node.lock_fence = deaf  # type: ignore[assignment, method-assign]

    with pytest.raises(ServerError, match="OOM"):
        await nodes.locks.acquire(b"r", 10_000, 0, None)

    await pass_time(0.1)
    assert nodes.holders() == [None] * 5


@virtual
async def test_replicas_are_not_asked_for(nodes: Nodes) -> None:
    with pytest.raises(BadInput, match="REPLICAS is for one server's locks"):
        await nodes.locks.acquire(b"r", 1_000, 0, None, 1)


# --- Waiting


@virtual
async def test_a_release_wakes_a_waiter_through_another_proxy_for_one_attempt(nodes: Nodes) -> None:
    _, other = nodes.proxy()
    grant = await granted(nodes.locks)
    waiting = asyncio.create_task(other.acquire(b"r", 10_000, 20_000, None))
    await pass_time(1)
    before = [len(node.attempts) for node in nodes.all]

    assert await nodes.locks.release(b"r", grant.token)
    began = nodes.loop.time()
    assert await waiting

    assert nodes.loop.time() - began < 0.02
    assert [len(node.attempts) for node in nodes.all] == [count + 1 for count in before]


@virtual
async def test_servers_that_are_free_wake_nobody(nodes: Nodes) -> None:
    await granted(nodes.locks)
    await pass_time(0.01)
    for node in nodes.all[:2]:
        node.free()  # restarted, say
    proxies = [nodes.proxy()[1] for _ in range(3)]
    waiting = [asyncio.create_task(one.acquire(b"r", 9_000, 5_000, None)) for one in proxies]
    await pass_time(0.2)
    before = len(nodes.all[0].attempts)

    # Their own attempts and releases there are no news.
    await pass_time(4)

    assert len(nodes.all[0].attempts) == before
    assert [await one for one in waiting] == [None] * 3


@virtual
async def test_a_lock_that_ends_is_taken_by_who_waits(nodes: Nodes) -> None:
    await granted(nodes.locks, 1_000)
    began = nodes.loop.time()

    await granted(nodes.locks, wait=5_000)

    assert 0.99 < nodes.loop.time() - began < 1.2


@virtual
async def test_all_who_ask_at_once_and_split_the_vote_try_again_at_random(nodes: Nodes) -> None:
    chance = random.Random(7)
    nodes.jitter = chance.uniform
    proxies = [nodes.proxy()[1] for _ in range(5)]
    for node, first in zip(nodes.all, proxies, strict=True):
        # Each proxy has a server to itself: the others' are far.
        node.latency = 0.001 * (1 + proxies.index(first))
    waiting = [asyncio.create_task(one.acquire(b"r", 5_000, 20_000, None)) for one in proxies]
    grants = []
    while waiting:
        done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        waiting = list(rest)
        for one in done:
            grant = one.result()
            assert grant is not None
            grants.append(grant.fence)
            await proxies[0].release(b"r", grant.token)

    assert grants == sorted(set(grants))
    assert len(grants) == 5


@virtual
async def test_a_waiter_that_leaves_holds_nothing(nodes: Nodes) -> None:
    grant = await granted(nodes.locks)
    waiting = asyncio.create_task(nodes.locks.acquire(b"r", 10_000, 20_000, None))
    await pass_time(1)

    waiting.cancel()
    await nodes.locks.release(b"r", grant.token)
    await pass_time(1)

    assert nodes.holders() == [None] * 5


@virtual
async def test_where_servers_tell_nothing_waiters_look_again(nodes: Nodes) -> None:
    for node in nodes.all:
        node.tracking = False
    assert not nodes.quorum.tracking
    grant = await granted(nodes.locks)
    waiting = asyncio.create_task(nodes.locks.acquire(b"r", 10_000, 20_000, None))
    await pass_time(1)

    await nodes.locks.release(b"r", grant.token)
    await pass_time(0.3)

    assert waiting.done()


@virtual
async def test_a_watch_tells_whether_it_fired(nodes: Nodes) -> None:
    watch = nodes.quorum.watch(b"lock:{r}")

    assert not await watch.wait(0.1)
    watch.found(frozenset({0}), 1)
    nodes.all[0].cut()
    assert await watch.wait(0.1)
    assert repr(watch) == "<QuorumWatch changed=1 fired=True>"
    watch.clear()
    assert not watch.fired
    watch.close()
    nodes.quorum.forget(b"lock:{r}")


def test_one_server_may_take_a_part_of_the_lock_s_time() -> None:
    assert [patience(ms) for ms in (100, 2_000, 10_000, 100_000)] == [0.05, 0.1, 0.5, 1.0]


# --- Renewed


@virtual
async def test_a_lock_is_renewed_at_most_servers(nodes: Nodes) -> None:
    client = Client(nodes)  # type: ignore[arg-type]
    grant = await nodes.locks.acquire_kept(b"r", 3_000, 0, None, client.tenure, None)
    assert grant is not None
    nodes.all[0].crash()
    nodes.all[1].freeze()

    await pass_time(30)

    assert nodes.holders()[2:] == [grant.token] * 3
    assert not client.told
    nodes.all[2].crash()
    await pass_time(3.1)
    assert client.told == [(b"r", grant.fence)]


# --- Never two holders


Fault = str | None


def planted(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    """What must be found out."""
    if fault == "two of five are a majority":
        monkeypatch.setattr(Quorum, "majority", property(lambda _: 2))
    if fault == "the time that it took does not count":

        def whole(self: Locks, caller: object, taken: object) -> Grant:
            return Grant(caller.token, taken.fence, caller.ttl_ms)  # type: ignore[attr-defined]

        monkeypatch.setattr(Locks, "_in_time", whole)
    if fault == "a minority is not given back":
        monkeypatch.setattr(Quorum, "_give_all_back", lambda *_: False)
    if fault == "a vote that is won by old answers":
        monkeypatch.setattr(Ballot, "won", property(lambda self: len(self.taken) >= 1))


class Checker:
    """A resource and who is at it, by the holders' own word: no clock but theirs."""

    def __init__(self) -> None:
        self.inside: dict[int, float] = {}  # fence, and until when its holder may count on it
        self.seen = 0  # the greatest fence
        self.broken: list[str] = []
        self.entered = 0

    def enter(self, fence: int, now: float, until: float) -> None:
        self.entered += 1
        if any(now < end for end in self.inside.values()):
            self.broken.append(f"{fence} came while another was inside")
        if fence <= self.seen:
            self.broken.append(f"{fence} is not greater than {self.seen}")
        self.seen = max(self.seen, fence)
        self.inside[fence] = until

    def leave(self, fence: int) -> None:
        self.inside.pop(fence, None)


async def work(nodes: Nodes, locks: Locks, checker: Checker, chance: random.Random) -> None:
    while True:
        try:
            grant = await locks.acquire(b"r", 1_000, chance.choice([0, 300]), None)
        except (NoMajority, UpstreamLost):
            grant = None
        if grant is None:
            await asyncio.sleep(chance.uniform(0, 0.2))
            continue
        now = nodes.loop.time()
        checker.enter(grant.fence, now, now + grant.valid_ms / 1000)
        # Some stay for as long as they may, some longer; some say that they go.
        await asyncio.sleep(chance.choice([0.001, 0.1, grant.valid_ms / 1000, 1.5]))
        checker.leave(grant.fence)
        if chance.random() < 0.7:
            try:
                await locks.release(b"r", grant.token)
            except NoMajority:
                await asyncio.sleep(chance.uniform(0, 0.1))


async def trouble(nodes: Nodes, chance: random.Random) -> None:
    """Servers that restart, empty, after longer than a lock lasts; that stop; that are slow."""
    while True:
        node = chance.choice(nodes.all)
        what = chance.choice(["restart", "freeze", "slow", "cut", "clock", "stall"])
        if what == "restart" and not any(one.away for one in nodes.all):
            node.crash()
            await asyncio.sleep(1.1)
            node.away = False
            await asyncio.sleep(1.1)
        elif what == "freeze":
            node.freeze()
            await asyncio.sleep(chance.uniform(0, 1.5))
            node.thaw()
        elif what == "slow":
            node.latency = chance.choice([0.001, 0.01, 0.09, 0.3])
        elif what == "cut":
            node.cut()
        elif what == "stall":  # the proxies', with answers on their way to them
            nodes.loop.clock.now += chance.uniform(0, 1.2)  # type: ignore[attr-defined]
        else:
            node.skew += 0.001
        await asyncio.sleep(chance.uniform(0, 0.3))


async def checked(nodes: Nodes, seed: int, seconds: float) -> Checker:
    chance, checker = random.Random(seed), Checker()
    nodes.jitter = chance.uniform
    tasks = [
        asyncio.create_task(work(nodes, locks, checker, chance))
        for locks in [nodes.proxy()[1] for _ in range(3)]
        for _ in range(2)
    ]
    tasks.append(asyncio.create_task(trouble(nodes, chance)))
    await pass_time(seconds)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert Counter(map(type, ended)) == {asyncio.CancelledError: len(tasks)}, ended
    for node in nodes.all:
        node.latency = 0.001
    return checker


@pytest.mark.parametrize(
    ("seed", "seconds"),
    [(0, 15), (1, 15), pytest.param(2, 600, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
)
def test_no_two_hold_it_within_its_validity_whatever_happens_to_the_servers(
    seed: int, seconds: float
) -> None:
    @virtual
    async def run(nodes: Nodes) -> None:
        checker = await checked(nodes, seed, seconds)

        assert not checker.broken
        assert checker.entered > seconds / 3

    run()


async def hold_as_long_as_it_is_good(nodes: Nodes) -> Checker:
    """Granted by slow servers, and wanted by another when they are fast again."""
    checker = Checker()
    for node in nodes.all:
        node.latency = 0.045
    first = await granted(nodes.locks, 1_000)
    now = nodes.loop.time()
    checker.enter(first.fence, now, now + first.valid_ms / 1000)
    for node in nodes.all:
        node.latency = 0.001
    second = await granted(nodes.proxy()[1], 1_000, wait=5_000)
    now = nodes.loop.time()
    checker.enter(second.fence, now, now + second.valid_ms / 1000)
    return checker


@virtual
async def test_a_lock_is_good_for_no_longer_than_its_servers_keep_it(nodes: Nodes) -> None:
    assert not (await hold_as_long_as_it_is_good(nodes)).broken


def test_a_validity_that_ignores_the_time_it_took_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, "the time that it took does not count")

    with pytest.raises(AssertionError, match="came while another was inside"):
        test_a_lock_is_good_for_no_longer_than_its_servers_keep_it()


@pytest.mark.parametrize(
    "fault",
    [
        "two of five are a majority",
        "a vote that is won by old answers",
    ],
)
def test_the_checker_finds_faults_that_are_planted(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, fault)
    found: list[str] = []

    async def run(seed: int) -> None:
        nodes = Nodes(5)
        found.extend((await checked(nodes, seed, 5)).broken)

    for seed in range(20):
        if not found:
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(run(seed))

    assert found


def test_that_a_minority_is_not_given_back_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, "a minority is not given back")

    with pytest.raises(AssertionError):
        test_what_a_minority_gave_is_given_back_at_once()


def test_the_scripts_are_those_of_one_server() -> None:
    assert script("lock_acquire") == quorum_module.ACQUIRE
