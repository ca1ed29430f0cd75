"""Large replies, and clients that do not read: a lane of their own, a pause, and the bound."""

from __future__ import annotations

import pytest
from nearhit.proxy.hot.answers import LARGE_REPLY, STALL_CLIENT, WINDOW_BYTES
from nearhit.proxy.hot.lane import TURN_BYTES
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session import weight
from nearhit.proxy.session.unread import UNREAD_MAX, UNREAD_TOTAL
from nearhit.proxy.upstream.lane_key import Use

from tests.fakes import Client, Upstream, World

GET = encode([b"GET", b"k"])
LARGE = b"$%d\r\n%b\r\n" % (2 * LARGE_REPLY, bytes(2 * LARGE_REPLY))
SMALL = b"$1\r\nv\r\n"


@pytest.fixture
def client(world: World) -> Client:
    return world.client()


async def shared(world: World, client: Client) -> Upstream:
    client.send(b"PING")
    wire = await world.upstream(0)
    wire.expect(b"PING")
    wire.reply(b"+PONG\r\n")
    await world.settle()
    client.took()
    return wire


async def large(world: World, client: Client) -> Upstream:
    """A client whose replies are known to be large; the shared lane."""
    wire = await shared(world, client)
    for _ in range(4):
        client.raw(GET)
        await world.settle()
        world.dial.wires[-1].expect(b"GET", b"k")
        world.dial.wires[-1].reply(LARGE)
        await world.settle()
        client.took()
    assert client.session.large
    return wire


async def lagging(world: World, client: Client, unread: int) -> Upstream:
    """A client with a large reply on its way that it does not read, and another behind it."""
    wire = await shared(world, client)
    client.raw(GET)
    other = world.client()
    other.raw(GET)
    await world.settle()
    wire.take()
    wire.reply(b"$%d\r\n" % (4 * UNREAD_MAX))
    await world.settle()
    client.wire.unread = unread
    client.session.pause_writing()
    return wire


async def test_a_client_with_large_replies_gets_a_lane_of_its_own(
    world: World, client: Client
) -> None:
    await large(world, client)

    client.raw(GET)
    await world.settle()

    assert client.session.berth.own is not None
    own = world.dial.wires[-1]
    own.expect(b"GET", b"k")
    client.wire.unread = 2 * 1024 * 1024
    client.session.pause_writing()
    assert not own.reading
    client.session.resume_writing()
    assert own.reading


async def test_its_lane_goes_back_with_the_last_reply(world: World, client: Client) -> None:
    await large(world, client)

    assert client.session.berth.lane is None


async def test_a_client_whose_replies_are_small_again_shares_a_lane(
    world: World, client: Client
) -> None:
    await large(world, client)
    for _ in range(40):
        client.raw(GET)
        await world.settle()
        world.dial.wires[-1].take()
        world.dial.wires[-1].reply(SMALL)
        await world.settle()
        if not client.session.large:
            break

    assert not client.session.large
    client.raw(GET)
    await world.settle()
    assert client.session.berth.own is None


async def test_where_there_is_no_place_large_replies_come_one_by_one(
    world: World, client: Client
) -> None:
    world.context.lanes.pinned_max = 0
    wire = await shared(world, client)
    for _ in range(4):
        client.raw(GET)
        await world.settle()
        wire.expect(b"GET", b"k")
        wire.reply(LARGE)
        await world.settle()
        client.took()

    client.raw(GET * 3)
    await world.settle()

    wire.expect(b"GET", b"k")
    assert wire.quiet


async def test_large_replies_are_not_read_near(near_world: World) -> None:
    client = near_world.client()
    assert client.session.home == Mode.NEAR

    client.session.grow_large()
    client.session.drained()

    assert client.session.home == Mode.FAR


async def test_others_go_elsewhere_while_a_large_reply_is_on_its_way(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)
    other = world.client()
    client.raw(GET)
    await world.settle()
    wire.take()
    wire.reply(b"$%d\r\n" % (4 * WINDOW_BYTES) + bytes(WINDOW_BYTES))
    await world.settle()

    other.raw(GET)
    await world.settle()

    assert wire.quiet
    lane = other.session.berth.lane
    assert lane is not None
    assert lane.key.use is Use.ASIDE
    world.dial.wires[-1].expect(b"GET", b"k")
    world.dial.wires[-1].reply(SMALL)
    await world.settle()
    assert other.took() == SMALL
    wire.reply(bytes(3 * WINDOW_BYTES) + b"\r\n")
    await world.settle()
    other.raw(GET)
    await world.settle()
    wire.expect(b"GET", b"k")


async def test_a_pipeline_of_a_command_not_seen_before_begins_with_a_few(
    world: World, client: Client
) -> None:
    world.dial.answer = lambda words: b"+PONG\r\n"
    client.raw(encode([b"PING"]) * 500)
    await world.settle()
    assert client.session.window > 100
    world.dial.answer = None
    lrange = encode([b"LRANGE", b"l", b"0", b"-1"])
    client.raw(lrange * 256)
    await world.settle()

    assert world.dial.wires[0].take() == lrange * 4


async def test_a_shared_lane_is_read_for_others_up_to_the_bound(
    world: World, client: Client
) -> None:
    wire = await lagging(world, client, UNREAD_MAX)
    assert wire.reading

    client.wire.unread = UNREAD_MAX + 1
    client.session.weigh()

    assert not wire.reading


async def test_what_all_have_unread_is_bounded_too(world: World, client: Client) -> None:
    world.context.unread.total = UNREAD_TOTAL

    wire = await lagging(world, client, 1024 * 1024)

    assert not wire.reading


async def test_who_does_not_read_is_cut_while_others_wait(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight, "LOOK_EVERY", 0.0)
    wire = await lagging(world, client, UNREAD_MAX + 1)
    await world.settle()
    await world.settle()

    assert client.wire.end == "aborted"
    assert wire.reading
    assert world.context.unread.total == 0


async def test_who_reads_slowly_is_not_cut(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight, "LOOK_EVERY", 3600.0)
    wire = await lagging(world, client, UNREAD_MAX + 1)
    held = client.session.berth.weight

    client.wire.unread = UNREAD_MAX // 2
    held._look()
    assert not client.wire.end
    client.session.resume_writing()

    assert wire.reading
    assert not client.session.stalls & STALL_CLIENT


async def test_who_reads_too_slowly_is_cut_at_last(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight, "LOOK_EVERY", 3600.0)
    await lagging(world, client, UNREAD_MAX + 1)

    for _ in range(weight.LOOKS_MAX):
        client.wire.unread -= 1
        client.session.berth.weight._look()

    assert client.wire.end == "aborted"


async def test_nobody_is_cut_where_nobody_else_waits(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight, "LOOK_EVERY", 3600.0)
    wire = await lagging(world, client, UNREAD_MAX + 1)
    for one in world.context.clients:
        one.stalls |= STALL_CLIENT  # type: ignore[attr-defined]

    client.session.berth.weight._look()

    assert not client.wire.end
    assert not wire.reading


async def test_another_hostile_client_is_cut_at_once(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.context.unread.impatient_until = float("inf")

    wire = await lagging(world, client, UNREAD_MAX + 1)
    await world.settle()

    assert client.wire.end == "aborted"
    assert wire.reading


async def test_a_lane_reads_on_in_the_next_turn(world: World, client: Client) -> None:
    wire = await shared(world, client)
    client.raw(GET)
    await world.settle()
    lane = client.session.berth.lane
    assert lane is not None

    lane.data_received(b"$%d\r\n" % (10 * TURN_BYTES) + bytes(TURN_BYTES))
    assert not wire.reading
    await world.settle()

    assert wire.reading


def test_it_says_what_it_is(client: Client) -> None:
    assert repr(client.session.berth.weight) == "<Weight large=False unread=0>"


async def test_beyond_the_hard_bound_a_client_is_cut_at_once_and_counted_once(
    world: World, client: Client
) -> None:
    world.context.unread.hard = 2 * 1024 * 1024
    await lagging(world, client, 2 * 1024 * 1024 - 1)
    assert client.wire.end == ""

    client.wire.unread += 1
    client.session.weigh()
    client.session.weigh()

    assert client.wire.end == "aborted"
    assert world.context.clients.cuts == 1
