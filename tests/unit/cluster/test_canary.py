"""Who tells that a slot has left its node."""

from __future__ import annotations

from nearhit.proxy.cluster.canary import Canaries, tags
from nearhit.proxy.resp.kernel import hash_slot
from nearhit.proxy.resp.requests import encode

from tests.unit.cluster.bench import A, Bench, get, later

SLOT = 7
CHANNEL = b"nh{%b}" % tags()[SLOT]


def push(what: bytes, channel: bytes = CHANNEL) -> bytes:
    return b">3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:1\r\n" % (len(what), what, len(channel), channel)


def test_every_slot_has_a_short_tag() -> None:
    assert [hash_slot(b"nh{%b}" % tag) for tag in tags()] == list(range(16384))
    assert max(map(len, tags())) <= 5


async def test_its_subscription_takes_no_reply_of_others() -> None:
    bench = await Bench().open()
    left: list[int] = []
    canaries, lane = Canaries(left.append), bench.lanes[0]

    class Listener:
        def pushed(self, frame: bytes) -> None:
            assert canaries.heard(lane, frame)

        def opened(self) -> None: ...

        def dropped(self) -> None: ...

    lane.listener = Listener()
    canaries.send(SLOT, lane)
    tray = bench.send(get(A))
    await later(0)
    bench.node(0).expect(b"SSUBSCRIBE", CHANNEL)
    bench.node(0).reply(push(b"ssubscribe") + b"$-1\r\n")
    assert tray.got == b"$-1\r\n"
    assert (len(canaries), lane.done) == (1, lane.sent)

    bench.node(0).reply(push(b"sunsubscribe"))
    assert (left, len(canaries)) == ([SLOT], 0)
    await bench.close()


async def test_a_refusal_is_remembered_for_these_connections() -> None:
    bench = await Bench().open()
    canaries = Canaries(lambda slot: None)
    canaries.send(SLOT, bench.lanes[0])
    await later(0)
    bench.node(0).reply(b"-NOPERM x\r\n")
    assert canaries.refused
    assert canaries.sent[SLOT + 1], "no other slot is asked for"
    canaries.forget({SLOT})
    assert canaries.sent[SLOT]

    canaries.forget()
    assert not canaries.refused
    assert not canaries.sent[SLOT]
    await bench.close()


async def test_a_slot_that_has_just_moved_is_asked_for_again() -> None:
    bench = await Bench().open()
    canaries = Canaries(lambda slot: None)
    canaries.send(SLOT, bench.lanes[0])
    await later(0)
    bench.node(0).reply(b"-MOVED 7 node:1\r\n")
    assert (canaries.refused, canaries.sent[SLOT]) == (False, 0)
    canaries.send(SLOT, bench.lanes[1])
    await later(0)
    assert bench.node(1).written == encode([b"SSUBSCRIBE", CHANNEL])
    await bench.close()


def test_other_pushes_are_not_its() -> None:
    assert not Canaries(lambda slot: None).heard(None, push(b"message"))  # type: ignore[arg-type]
