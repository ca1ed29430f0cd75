"""An MGET of several slots fills the near cache with what came straight from its node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from nearhit.proxy.cluster.plans import One, Spread
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.hot.fills import CACHING, NIL3, Fill
from nearhit.proxy.hot.many import ManySlot
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.kernel import Cutter, hash_slot
from nearhit.proxy.resp.requests import encode

from tests.clusters import key_in
from tests.unit.cluster.bench import A, B, Bench, Reader, later, set_, took

TOLD = b"+OK\r\n:-1\r\n"
SAME = key_in(0, b"same")  # in the slot of A
VALUE = b"$1\r\nv\r\n"


def mget(*keys: bytes) -> bytes:
    return encode([b"MGET", *keys])


def tells(*keys: bytes) -> bytes:
    return b"".join(CACHING + encode([b"PTTL", key]) for key in keys)


def in_order(replies: Sequence[bytes]) -> bytes:
    failed = [reply for reply in replies if reply.startswith(b"-")]
    values = b"".join(reply.partition(b"\r\n")[2] for reply in replies)
    return failed[0] if failed else b"*%d\r\n" % len(replies) + values


class Asked:
    """An MGET of keys of which nothing stands near."""

    def __init__(self, bench: Bench, *keys: bytes) -> None:
        self.reader = Reader()
        self.space = NearCache(1 << 20, ttl_max=10).space(0, None)
        self.fills: list[Fill] = []
        for key in keys:
            ticket = self.space.reserve(key)
            assert ticket is not None
            self.fills.append(Fill(self.space, ticket, 0.0))
        slot: ManySlot = ManySlot.__new__(ManySlot)
        slot.session, slot.want, slot.count = self.reader, 1 + 2 * len(keys), 1
        slot.reads, slot.flat = 0, False
        slot.marks = slot.parts = slot.following = None
        slot.there = slot.array = b"*%d\r\n" % len(keys)
        slot.gaps = [len(slot.there)] * len(keys)
        slot.fills = list(self.fills)
        slot.stage = slot.said = slot.at = slot.told = 0
        slot.value_max, slot.nil, slot.got, slot.cutter = 1000, NIL3, b"", Cutter()
        self.reader.push_slot(slot)
        bench.front.send(tells(*keys) + mget(*keys), slot)

    def kept(self) -> list[bytes]:
        assert not any(fill.open for fill in self.fills), "each is kept or given up"
        return [entry.key for entry in self.space.entries.values()]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = await Bench().open()
    made.canaries.sent[:] = b"\1" * len(made.canaries.sent)
    made.plans[b"MGET"] = Spread(
        [(hash_slot(A), mget(A)), (hash_slot(B), mget(B))],
        in_order,
    )
    yield made
    await made.close()


async def test_each_node_tells_of_its_own_keys_and_all_is_kept(bench: Bench) -> None:
    bench.canaries.sent[hash_slot(B)] = 0
    asked = Asked(bench, A, B)
    await later(0)
    assert took(bench, 0) == tells(A) + mget(A)
    first, _, rest = took(bench, 1).partition(CACHING)
    assert b"SSUBSCRIBE" in first, "its canary is sent before anything is read to keep"
    assert CACHING + rest == tells(B) + mget(B)

    bench.node(1).reply(b"-LOADING\r\n", b"+OK\r\n:-2\r\n", b"*1\r\n" + NIL3)
    bench.node(0).reply(TOLD, b"*1\r\n" + VALUE)

    assert asked.reader.took == b"*2\r\n" + VALUE + NIL3
    assert sorted(asked.kept()) == sorted([A, B])
    assert bench.router.owing == 0


async def test_keys_of_one_slot_are_asked_in_one_piece(bench: Bench) -> None:
    bench.plans[b"MGET"] = One(hash_slot(A))
    asked = Asked(bench, A, SAME)
    await later(0)
    assert took(bench, 0) == tells(A, SAME) + mget(A, SAME)

    bench.node(0).reply(TOLD, TOLD, b"*2\r\n" + VALUE * 2)

    assert asked.reader.took == b"*2\r\n" + VALUE * 2
    assert len(asked.kept()) == 2


async def test_what_came_by_way_of_a_redirection_is_not_kept(bench: Bench) -> None:
    asked = Asked(bench, A, B)
    await later(0)
    bench.node(1).reply(TOLD, b"*1\r\n" + VALUE)
    bench.node(0).reply(TOLD, bench.asks(A, 2))
    await later()
    bench.node(2).reply(b"+OK\r\n", b"*1\r\n" + VALUE)

    assert asked.reader.took == b"*2\r\n" + VALUE * 2
    assert asked.kept() == [B]


async def test_what_waits_for_a_slot_that_moves_is_not_kept(bench: Bench) -> None:
    bench.send(set_(A, b"1"))
    await later(0)
    bench.own(A, 2)
    asked = Asked(bench, A, B)
    await later(0)
    bench.node(1).reply(TOLD, b"*1\r\n" + VALUE)
    bench.node(0).reply(b"+OK\r\n", b"*0\r\n")
    await later()
    assert took(bench, 2) == mget(A)
    bench.node(2).reply(b"*1\r\n" + VALUE)

    assert asked.reader.took == b"*2\r\n" + VALUE * 2
    assert asked.kept() == [B]


async def test_errors_and_large_values_are_not_kept(bench: Bench) -> None:
    asked = Asked(bench, A, B)
    await later(0)
    bench.node(0).reply(TOLD, b"-ERR no\r\n")
    bench.node(1).reply(TOLD, b"*1\r\n" + VALUE)
    assert asked.reader.took == b"-ERR no\r\n"
    assert asked.kept() == [B]

    size = asked.space.cache.value_max + 1
    large = Asked(bench, A, B)
    await later(0)
    bench.node(0).reply(TOLD, b"*1\r\n$%d\r\n%b\r\n" % (size, b"x" * size))
    bench.node(1).reply(TOLD, b"*1\r\n" + VALUE)
    assert large.kept() == [B]


async def test_a_node_that_goes_leaves_nothing_kept_and_nothing_open(bench: Bench) -> None:
    asked = Asked(bench, A, B)
    await later(0)
    bench.router.close(UpstreamLost("closed"))
    for lane in bench.lanes[:2]:
        lane.close()

    assert asked.kept() == []
    assert bench.router.owing == 0
