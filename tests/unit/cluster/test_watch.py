"""Whom the watch asks, when, and which answer it believes: against a cluster of a few lines, in
time of our own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest
from nearhit.proxy.cluster.topology import Topology, parse_slots
from nearhit.proxy.cluster.watch import DOUBT, PATIENCE, SEED_PATIENCE, Address, Watch
from nearhit.proxy.errors import ServerError, UpstreamDown
from nearhit.proxy.resp.replies import Value

from tests.virtual import VirtualLoop

SEEDS = [("seed1", 1), ("seed2", 1)]
PORTS = (1, 2, 3, 4, 5, 6)


def row(first: int, last: int, primary: int, *replicas: int) -> Value:
    return [first, last, *([b"n", port, b"%040d" % port] for port in (primary, *replicas))]


THIRDS: Value = [row(0, 4999, 1, 4), row(5000, 9999, 2, 5), row(10000, 16383, 3, 6)]
# A slot of the first node is with the second, which needed no new epoch for it.
MOVED: Value = [
    row(0, 4998, 1, 4), row(4999, 4999, 2, 5), row(5000, 9999, 2, 5), row(10000, 16383, 3, 6),
]  # fmt: skip
# The first node's replica has taken over.
FAILED_OVER: Value = [row(0, 4999, 4), row(5000, 9999, 2, 5), row(10000, 16383, 3, 6)]


def topology(rows: Value) -> Topology:
    return parse_slots(rows, "n")


class Cluster:
    """Nodes n:1 to n:6, primaries first, and what each says; and a watch of it."""

    def __init__(self) -> None:
        self.says: dict[Address, tuple[Value, int] | Exception | None] = {}  # None: nothing, ever
        self.every(THIRDS, 6)
        for seed in SEEDS:
            self.says[seed] = (THIRDS, 6)
        self.failed: set[int] = set()  # who says that the cluster is down
        self.asked: list[tuple[float, Address]] = []
        self.told: list[tuple[Topology | None, Topology]] = []
        self.defect: Exception | None = None  # raised when told
        self.before: Callable[[Address], None] | None = None  # called when one is asked
        self.watch = Watch(SEEDS, self.ask, self.tell, chance=random.Random(5))
        self.loop = asyncio.get_running_loop()
        self.start = self.loop.time()
        self.task = self.loop.create_task(self.watch.run())

    def every(self, rows: Value, epoch: int) -> None:
        for port in PORTS:
            self.say(port, rows, epoch)

    def say(self, port: int, rows: Value, epoch: int) -> None:
        self.says["n", port] = (rows, epoch)

    async def ask(self, host: str, port: int) -> Sequence[Value]:
        self.asked.append((self.loop.time() - self.start, (host, port)))
        if self.before is not None:
            self.before((host, port))
        answer = self.says[host, port]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer is not None
        state = b"fail" if port in self.failed else b"ok"
        info = b"cluster_state:%b\r\ncluster_current_epoch:%d\r\n" % (state, answer[1])
        return answer[0], info

    def tell(self, old: Topology | None, new: Topology) -> None:
        if self.defect is not None:
            defect, self.defect = self.defect, None
            raise defect
        self.told.append((old, new))

    async def known(self) -> None:
        """The map is in force, and confirmed by two nodes."""
        await asyncio.sleep(0.5)
        assert self.watch.topology == topology(THIRDS)
        self.told.clear()
        self.asked.clear()

    def times(self) -> list[float]:
        """When each round began, since the first of them."""
        begun = sorted({when for when, _ in self.asked})
        return [round(when - begun[0], 3) for when in begun]


def clustered(test: Callable[[Cluster], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        async def in_a_cluster() -> None:
            cluster = Cluster()
            await test(cluster)
            assert not cluster.task.done(), "the watch has ended"
            cluster.task.cancel()
            await asyncio.gather(cluster.task, return_exceptions=True)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(in_a_cluster())

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would ask it for its fixtures
    return run


# At start


@contextlib.contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """What the watch logs meanwhile."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    log = logging.getLogger("nearhit.proxy.cluster.watch")
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield records
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@clustered
async def test_one_seeds_answer_is_taken_and_then_two_nodes_are_asked(cluster: Cluster) -> None:
    await asyncio.sleep(0.3)

    assert cluster.told == [(None, topology(THIRDS))]
    assert [address[0] for _, address in cluster.asked] == ["seed2", "n", "n"]
    assert cluster.times() == [0.0, 0.2]


@clustered
async def test_seeds_are_asked_for_ever_ever_more_slowly(cluster: Cluster) -> None:
    for seed in SEEDS:
        cluster.says[seed] = OSError("refused")

    await asyncio.sleep(60)

    times = cluster.times()
    assert {address for _, address in cluster.asked} == set(SEEDS)
    assert times[1] == pytest.approx(0.05)
    assert max(b - a for a, b in zip(times[-5:], times[-4:], strict=False)) == pytest.approx(2)
    assert cluster.watch.topology is None
    assert cluster.watch.trouble in ("seed1:1: refused", "seed2:1: refused")
    assert repr(cluster.watch).startswith("<Watch unknown trouble='seed")

    cluster.says[SEEDS[1]] = (THIRDS, 6)
    await asyncio.sleep(2.5)

    assert cluster.watch.topology == topology(THIRDS)
    assert cluster.watch.trouble == ""
    assert repr(cluster.watch) == "<Watch shards=3 missing=0 epoch=6>"


@clustered
async def test_a_seed_that_is_silent_costs_its_patience_only(cluster: Cluster) -> None:
    cluster.says[SEEDS[0]] = None

    await asyncio.sleep(SEED_PATIENCE + 0.1)

    assert cluster.watch.topology == topology(THIRDS)


@clustered
async def test_half_a_cluster_is_better_than_none(cluster: Cluster) -> None:
    half: Value = [row(0, 4999, 1)]
    for address in cluster.says:
        cluster.says[address] = (half, 1)

    await asyncio.sleep(0.1)

    assert [new.missing for _, new in cluster.told] == [16384 - 5000]


@clustered
async def test_a_seed_that_knows_of_no_slot_is_asked_again(cluster: Cluster) -> None:
    empty: Value = []
    for seed in SEEDS:
        cluster.says[seed] = (empty, 0)
    await asyncio.sleep(0.5)
    assert cluster.watch.topology == topology(empty)

    for seed in SEEDS:
        cluster.says[seed] = (THIRDS, 6)
    await asyncio.sleep(DOUBT + 2)

    assert cluster.watch.topology == topology(THIRDS)


@pytest.mark.parametrize(
    ("slots", "info", "words"),
    [
        (ServerError(b"-NOPERM no"), b"cluster_current_epoch:1", "NOPERM no"),
        (THIRDS, ServerError(b"-LOADING wait"), "LOADING wait"),
        (b"hello", b"cluster_current_epoch:1", "CLUSTER SLOTS was answered with"),
        (THIRDS, b"hello", "no cluster_current_epoch"),
        (THIRDS, 7, "no cluster_current_epoch"),
    ],
)
def test_an_answer_that_is_none_is_trouble(slots: Value, info: Value, words: str) -> None:
    async def ask(host: str, port: int) -> Sequence[Value]:
        return slots, info

    async def look() -> None:
        watch = Watch([("h", 7)], ask, lambda old, new: None)
        task = asyncio.get_running_loop().create_task(watch.run())
        await asyncio.sleep(1)
        assert watch.topology is None
        assert watch.trouble.startswith("h:7: ")
        assert words in watch.trouble
        task.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(look())


def test_text_in_resp3_is_as_good() -> None:
    async def ask(host: str, port: int) -> Sequence[Value]:
        return THIRDS, "cluster_current_epoch:3\r\n"

    async def look() -> None:
        watch = Watch([("h", 7)], ask, lambda old, new: None)
        task = asyncio.get_running_loop().create_task(watch.run())
        await asyncio.sleep(0.01)
        assert "epoch=3" in repr(watch)
        task.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(look())


# When it asks


@clustered
async def test_it_polls_once_a_second_more_or_less_and_two_nodes_each_time(
    cluster: Cluster,
) -> None:
    await cluster.known()

    await asyncio.sleep(30)

    times = cluster.times()
    assert 27 <= len(times) <= 33
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert all(0.9 <= pause <= 1.1 for pause in pauses)
    assert len(set(pauses)) > 5
    assert len(cluster.asked) == 2 * len(times)
    assert {address[1] for _, address in cluster.asked} == set(PORTS)
    for one, other in zip(cluster.asked[::2], cluster.asked[1::2], strict=True):
        assert one != other
    assert cluster.told == []


@clustered
async def test_many_who_want_a_refresh_get_one(cluster: Cluster) -> None:
    await cluster.known()
    start = cluster.loop.time() - cluster.start

    for _ in range(100):
        cluster.watch.refresh("MOVED")
    await asyncio.sleep(0.09)
    assert cluster.asked == []
    cluster.watch.refresh("MOVED")
    await asyncio.sleep(0.2)

    assert len(cluster.asked) == 2
    assert cluster.asked[0][0] - start == pytest.approx(0.1)


@clustered
async def test_there_are_five_rounds_a_second_at_most(cluster: Cluster) -> None:
    await cluster.known()

    for _ in range(1000):
        cluster.watch.refresh("MOVED")
        await asyncio.sleep(0.001)

    assert 4 <= len(cluster.times()) <= 5


@clustered
async def test_a_round_is_not_begun_while_one_is_under_way(cluster: Cluster) -> None:
    await cluster.known()
    for port in PORTS:
        cluster.says["n", port] = None

    for _ in range(20):
        cluster.watch.refresh("lost")
        await asyncio.sleep(0.01)

    assert len(cluster.asked) == 2


@clustered
async def test_after_a_lost_node_the_others_are_asked_at_once(cluster: Cluster) -> None:
    await cluster.known()
    assert cluster.watch.topology is not None
    start = cluster.loop.time() - cluster.start

    cluster.watch.refresh("connection lost", avoid=cluster.watch.topology.shards[0].primary)
    await asyncio.sleep(DOUBT - 0.1)

    assert cluster.asked[0][0] - start < 0.01
    assert ("n", 1) not in [address for _, address in cluster.asked]

    await asyncio.sleep(20)

    assert ("n", 1) in [address for _, address in cluster.asked]


@clustered
async def test_a_silent_node_holds_a_round_up_once_and_is_then_left_alone(cluster: Cluster) -> None:
    await cluster.known()
    cluster.says["n", 3] = None
    cluster.says["n", 6] = UpstreamDown("refused")

    await asyncio.sleep(60)

    for address in (("n", 3), ("n", 6)):
        when = [time for time, asked in cluster.asked if asked == address]
        assert when
        assert all(b - a >= DOUBT for a, b in itertools.pairwise(when))
    assert max(b - a for a, b in zip(cluster.times(), cluster.times()[1:], strict=False)) <= 1.6
    assert PATIENCE < 0.6


@clustered
async def test_that_it_answers_again_is_told_when_nobody_had_answered(cluster: Cluster) -> None:
    await cluster.known()
    with logged() as records:
        for port in PORTS:
            cluster.says["n", port] = OSError("refused")
        await asyncio.sleep(10)  # their seeds answer all the time
        assert [record.getMessage() for record in records] == []

        for seed in SEEDS:
            cluster.says[seed] = OSError("refused")
        await asyncio.sleep(10)
        cluster.says[SEEDS[0]] = (THIRDS, 6)
        await asyncio.sleep(10)

    (told,) = records
    assert "cluster answers again" in told.getMessage()


@clustered
async def test_with_all_nodes_gone_their_seeds_are_asked(cluster: Cluster) -> None:
    await cluster.known()
    for port in PORTS:
        cluster.says["n", port] = OSError("refused")
    elsewhere: Value = [[0, 16383, [b"m", 9, b"%040d" % 1, []]]]
    for seed in SEEDS:
        cluster.says[seed] = (elsewhere, 7)
    cluster.says["m", 9] = (elsewhere, 7)

    await asyncio.sleep(3)

    assert cluster.watch.topology == parse_slots(elsewhere, "m")
    assert cluster.watch.trouble == ""


# Whom it believes


@clustered
async def test_a_failover_is_taken_from_the_first_that_knows(cluster: Cluster) -> None:
    await cluster.known()
    cluster.every(FAILED_OVER, 7)
    cluster.says["n", 1] = OSError("refused")

    await asyncio.sleep(1.2)

    assert cluster.told == [(topology(THIRDS), topology(FAILED_OVER))]


@clustered
async def test_an_old_primary_that_comes_back_is_not_believed(cluster: Cluster) -> None:
    await cluster.known()
    cluster.every(FAILED_OVER, 7)
    await asyncio.sleep(1.2)
    cluster.told.clear()

    cluster.say(1, THIRDS, 6)
    await asyncio.sleep(60)

    assert cluster.told == []


@clustered
async def test_a_node_that_has_not_heard_of_a_moved_slot_is_not_believed(cluster: Cluster) -> None:
    """A second slot that moves to a node raises no epoch: only the owners know better."""
    await cluster.known()
    cluster.say(1, MOVED, 6)
    cluster.say(2, MOVED, 6)

    await asyncio.sleep(30)

    assert cluster.told == [(topology(THIRDS), topology(MOVED))]
    heard = {address[1] for _, address in cluster.asked}
    assert heard == set(PORTS)


@clustered
async def test_a_map_is_taken_when_the_node_that_gains_by_it_says_so(cluster: Cluster) -> None:
    await cluster.known()
    cluster.every(MOVED, 6)
    cluster.say(2, THIRDS, 6)

    await asyncio.sleep(4)
    assert cluster.told == []

    cluster.say(2, MOVED, 6)
    await asyncio.sleep(1.2)
    assert cluster.told == [(topology(THIRDS), topology(MOVED))]


@clustered
async def test_what_nobody_confirms_is_believed_after_a_while(cluster: Cluster) -> None:
    await cluster.known()
    cluster.every(FAILED_OVER, 7)
    cluster.says["n", 1] = cluster.says["n", 4] = OSError("refused")
    begun = cluster.loop.time()

    await asyncio.sleep(DOUBT - 0.1)
    assert cluster.told == []
    while not cluster.told:
        await asyncio.sleep(0.1)

    assert cluster.loop.time() - begun < DOUBT + 2.5
    assert cluster.watch.topology == topology(FAILED_OVER)


@clustered
async def test_a_cluster_made_anew_is_believed_after_a_while(cluster: Cluster) -> None:
    await cluster.known()
    cluster.every(MOVED, 2)

    await asyncio.sleep(DOUBT - 0.5)
    assert cluster.told == []
    await asyncio.sleep(3)

    assert cluster.watch.topology == topology(MOVED)
    assert "epoch=2" in repr(cluster.watch)


@clustered
async def test_doubt_ends_when_somebody_agrees_with_the_map_in_force(cluster: Cluster) -> None:
    await cluster.known()

    for _ in range(5):
        cluster.every(MOVED, 2)
        await asyncio.sleep(DOUBT - 1.5)
        cluster.every(THIRDS, 6)
        await asyncio.sleep(1.5)

    assert cluster.told == []


@clustered
async def test_another_replica_is_told_when_both_know_it(cluster: Cluster) -> None:
    await cluster.known()
    fewer: Value = [row(0, 4999, 1), row(5000, 9999, 2, 5), row(10000, 16383, 3, 6)]
    cluster.say(2, fewer, 6)

    await asyncio.sleep(20)
    assert cluster.told == []

    cluster.every(fewer, 6)
    await asyncio.sleep(1.2)
    assert cluster.told == [(topology(THIRDS), topology(fewer))]


@clustered
async def test_no_more_than_six_are_asked_in_a_round(cluster: Cluster) -> None:
    """Each claims a slot for somebody else, who denies it."""
    await cluster.known()
    rows = [row(port, port, port) for port in range(1, 101)]
    for port in range(1, 101):
        away = [row(each, each, each if each != port else 200) for each in range(1, 101)]
        cluster.say(port, away, 9)
    cluster.say(200, rows, 9)
    cluster.watch._epoch = 9
    cluster.asked.clear()

    await asyncio.sleep(3)

    for when in {when for when, _ in cluster.asked}:
        assert len([1 for time, _ in cluster.asked if time == when]) <= 6


# Redirections, and defects


@clustered
async def test_a_redirection_moves_its_slot_at_once_and_is_confirmed(cluster: Cluster) -> None:
    await cluster.known()
    assert cluster.watch.topology is not None
    owner = cluster.watch.topology.shards[1].primary
    cluster.say(1, MOVED, 6)
    cluster.say(2, MOVED, 6)

    cluster.watch.patch(4999, owner)

    assert cluster.told == [(topology(THIRDS), topology(MOVED))]
    assert cluster.asked == []
    await asyncio.sleep(0.15)
    assert cluster.asked[0][1] == ("n", 2)
    await asyncio.sleep(20)
    assert len(cluster.told) == 1


@clustered
async def test_a_redirection_to_where_the_slot_is_only_asks(cluster: Cluster) -> None:
    await cluster.known()
    assert cluster.watch.topology is not None

    cluster.watch.patch(1, cluster.watch.topology.shards[0].primary)
    await asyncio.sleep(0.15)

    assert cluster.told == []
    assert ("n", 1) in [address for _, address in cluster.asked]


@clustered
async def test_an_answer_from_before_a_redirection_does_not_undo_it(cluster: Cluster) -> None:
    await cluster.known()
    assert cluster.watch.topology is not None
    owner = cluster.watch.topology.shards[1].primary
    other: Value = [row(0, 4999, 1, 4), row(5000, 9999, 2, 5), row(10000, 16383, 6)]
    cluster.every(other, 7)

    def meanwhile(address: Address) -> None:
        cluster.before = None
        cluster.watch.patch(4999, owner)
        cluster.every(MOVED, 8)

    cluster.before = meanwhile
    cluster.watch.refresh("test")
    await asyncio.sleep(0.15)
    assert cluster.told == [(topology(THIRDS), topology(MOVED))]

    await asyncio.sleep(5)
    assert len(cluster.told) == 1


@clustered
async def test_a_defect_of_who_is_told_is_logged_and_told_again(cluster: Cluster) -> None:
    await cluster.known()
    cluster.every(FAILED_OVER, 7)
    cluster.defect = KeyError("ours")

    with logged() as records:
        await asyncio.sleep(3)

    assert [record.exc_info is not None for record in records if record.levelname == "ERROR"] == [
        True
    ]
    assert cluster.told == [(topology(THIRDS), topology(FAILED_OVER))]


@clustered
async def test_it_is_down_when_all_say_so(cluster: Cluster) -> None:
    cluster.every(THIRDS, 1)
    await cluster.known()
    cluster.failed = {PORTS[0]}
    await asyncio.sleep(3)
    assert not cluster.watch.down
    cluster.failed = {*PORTS}
    await asyncio.sleep(1.5)
    assert cluster.watch.down
    cluster.failed = set()
    await asyncio.sleep(1.5)
    assert not cluster.watch.down
