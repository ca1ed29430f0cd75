"""Which lane a session has, for how long, and what becomes of it; its home mode."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.errors import SERVER_FULL, UpstreamDown, UpstreamLost
from nearhit.proxy.near.cache import SPACES_MAX
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.session.berth import AGAIN, Berth
from nearhit.proxy.session.reasons import (
    HOLD_BLOCKED,
    HOLD_MONITOR,
    HOLD_MULTI,
    HOLD_STICKY,
    HOLD_SUBSCRIBED,
    HOLD_TRACKING,
    STALL_DRAIN,
    STALL_LANE,
)
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, Use, User
from nearhit.proxy.upstream.subscriptions import Channels

from tests.asking import GET, shared
from tests.fakes import Client, NoWait, Upstream, World

WHY = UpstreamLost("a test")


def berth_of(client: Client) -> Berth:
    return client.session.berth


async def pinned(world: World, client: Client) -> tuple[Lane, Upstream]:
    """The client's own lane, connected, and its server's end."""
    assert client.session.berth.pin()
    await world.settle()
    lane = client.session.berth.own
    assert lane is not None
    return lane, world.dial.wires[-1]


# --- Places


def nobody_lends(world: World) -> None:
    """All places for lanes of one's own are taken."""
    world.lanes.pinned_max = 0


async def too_late(world: World, client: Client) -> bytes:
    """What the client is told when its time in the line is over."""
    key, _ = world.lanes.line[client.session.berth.reports]
    world.lanes.line[client.session.berth.reports] = key, 0.0
    world.lanes.tick()
    await world.settle()
    return client.took()


NO_PLACE = b"-ERR no connection to the server got free in 5 s: "


async def test_who_waits_for_a_place_parses_no_further_and_goes_on_when_it_comes(
    world: World, client: Client
) -> None:
    nobody_lends(world)
    client.send(b"BLPOP", b"q", b"0")
    client.raw(GET)
    await world.settle()
    assert world.connections == 0

    world.lanes.pinned_max = 1
    world.lanes.tick()
    wire = await world.upstream(0)

    wire.expect(b"BLPOP", b"q", b"0")
    wire.expect(b"GET", b"k")


@pytest.mark.parametrize("words", [b"BLPOP q 0", b"WAIT 1 0", b"NEWCOMMAND x"])
async def test_what_leaves_nothing_behind_is_refused_and_its_client_stays(
    world: World, client: Client, words: bytes
) -> None:
    nobody_lends(world)
    client.send(*words.split())
    assert client.took() == b""

    assert (await too_late(world, client)).startswith(NO_PLACE)
    assert not client.wire.end
    client.raw(GET)
    (await world.upstream(0)).expect(b"GET", b"k")


@pytest.mark.parametrize(
    "words", [b"MULTI", b"WATCH k", b"SUBSCRIBE c", b"MONITOR", b"CLIENT TRACKING ON"]
)
async def test_whose_state_has_no_place_is_refused_and_closed(
    world: World, client: Client, words: bytes
) -> None:
    nobody_lends(world)
    client.send(*words.split())
    client.raw(GET)

    assert (await too_late(world, client)).startswith(NO_PLACE)
    assert client.wire.end == "closed"
    assert world.connections == 0


@pytest.mark.parametrize(
    ("words", "end"),
    [
        *((words, "") for words in (b"BLPOP q 0", b"WAITAOF 0 1 0", b"NEWCOMMAND x")),
        *((words, "closed") for words in (b"MULTI", b"WATCH k", b"SUBSCRIBE c", b"MONITOR")),
        *((words, "closed") for words in (b"CLIENT TRACKING ON", b"READONLY")),
    ],
)
async def test_a_server_that_is_full_ends_those_whose_state_has_no_place_and_no_others(
    world: World, client: Client, words: bytes, end: str
) -> None:
    world.dial.mute = True

    client.send(*words.split())
    for attempt in range(NoWait.attempts):
        wire = await world.upstream(attempt)
        wire.reply(b"-ERR max number of clients reached\r\n")
        wire.lose()
    await world.settle()

    assert client.took() == SERVER_FULL + b"\r\n"
    assert client.wire.end == end


async def test_a_large_request_that_has_no_place_is_refused_and_its_client_closed(
    world: World, client: Client
) -> None:
    nobody_lends(world)
    client.raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n" + b"x" * 100_000)

    assert (await too_late(world, client)).startswith(NO_PLACE)
    assert client.wire.end == "closed"


async def test_while_the_server_is_away_nobody_waits_for_a_place(
    world: World, client: Client
) -> None:
    world.lanes.down = UpstreamDown("it is away")

    client.send(b"BLPOP", b"q", b"0")
    await world.settle()

    assert client.took() == UpstreamDown("it is away").line
    assert not client.wire.end


async def test_a_client_that_leaves_waits_no_longer(world: World, client: Client) -> None:
    nobody_lends(world)
    client.send(b"BLPOP", b"q", b"0")

    client.leave()
    world.lanes.pinned_max = 1
    world.lanes.tick()
    await world.settle()

    assert world.connections == 0


# --- Taking and leaving


async def test_a_session_begins_without_a_lane(world: World, client: Client) -> None:
    berth = berth_of(client)

    assert repr(berth) == "<Berth db=0 holds=0 None>"
    assert (berth.lane, berth.own, berth.quiet, berth.left, berth.leaving) == (
        None,
        None,
        True,
        False,
        False,
    )
    assert (berth.mode, berth.queued, berth.subscriptions) == (Mode.FAR, -1, (0, 0, 0))
    berth.unpin()
    berth.settle()
    assert berth.lane is None


async def test_a_shared_lane_counts_who_uses_it(world: World, client: Client) -> None:
    one, other = berth_of(client), berth_of(world.client())

    lane = one.attach()
    assert other.attach() is lane
    assert (lane.users, one.own) == (2, None)
    one.unpin()
    other.leave()

    assert lane.users == 0


async def test_a_lane_of_our_own_is_kept_until_it_is_given_back(
    world: World, client: Client
) -> None:
    berth = berth_of(client)
    shared_lane = berth.attach()
    lane, _ = await pinned(world, client)

    assert berth.pin()
    assert berth.lane is lane
    assert (lane.lent, shared_lane.users, client.session.at_drain) == (True, 0, True)
    berth.unpin()

    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=1>"


async def test_none_is_taken_while_something_is_outstanding(world: World, client: Client) -> None:
    client.raw(GET)
    berth = berth_of(client)

    assert not berth.idle()
    assert not berth.pin()

    assert berth.own is None
    assert client.session.stalls & STALL_DRAIN


@pytest.mark.parametrize(
    ("holds", "warm"), [(0, 1), (HOLD_STICKY, 0)], ids=["nothing", "something"]
)
async def test_what_a_lane_holds_decides_what_becomes_of_it(
    world: World, client: Client, holds: int, warm: int
) -> None:
    await pinned(world, client)
    berth_of(client).holds = holds

    berth_of(client).settle()
    assert (berth_of(client).lane is None) is (not holds)
    client.leave()

    assert repr(world.lanes) == f"<Lanes shared=0 lent=0 warm={warm}>"


async def test_scripts_have_a_lane_until_all_is_answered(world: World, client: Client) -> None:
    berth = berth_of(client)
    usual = berth.attach()

    berth.run_scripts()
    lane = berth.lane
    assert lane is not None
    assert (lane.key.use, lane.users, usual.users) == (Use.SCRIPTS, 1, 0)
    assert berth.mode == Mode.SCRIPTING
    berth.settle()

    assert (berth.lane, lane.users, berth.mode) == (None, 0, Mode.FAR)


async def test_under_another_key_a_shared_lane_is_left_and_our_own_goes_along(
    world: World, client: Client
) -> None:
    berth = berth_of(client)
    berth.attach()
    berth.rekey(LaneKey(db=1))
    assert berth.lane is None
    lane, _ = await pinned(world, client)
    lane.subscribe(Channels(2))

    berth.rekey(LaneKey(db=2, resp=3))

    assert berth.lane is lane
    assert lane.key == berth.lane_key == LaneKey(db=2, resp=3)
    assert lane.framing is not None
    assert lane.framing.resp == 3
    assert not client.session.flat


async def test_the_last_subscription_gives_the_lane_back(world: World, client: Client) -> None:
    lane, _ = await pinned(world, client)
    channels = Channels(2)
    channels.names[0].add(b"c")
    lane.subscribe(channels)
    berth_of(client).hold(HOLD_SUBSCRIBED)
    assert berth_of(client).subscriptions == (1, 0, 0)
    assert berth_of(client).mode == Mode.SUBSCRIBED

    berth_of(client).settle()
    assert berth_of(client).own is lane
    channels.names[0].clear()
    berth_of(client).settle()

    assert berth_of(client).lane is None
    assert berth_of(client).mode == Mode.FAR


async def test_a_task_ends_with_its_client_unless_it_finishes(world: World, client: Client) -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(3600 if name != "short" else 0)
        except asyncio.CancelledError:
            ended.append(name)
            raise

    for name in ("short", "long"):
        berth_of(client).run(work(name))
    berth_of(client).run(work("finishes"), finishes=True)
    await world.settle()

    client.leave()
    await world.settle()

    assert ended == ["long"]


# --- Who, and in which mode


async def test_our_commands_run_as_the_user_of_the_session(world: World, client: Client) -> None:
    assert berth_of(client).user == b"default"

    berth_of(client).rekey(LaneKey(user=User(b"alice", b"secret")))

    assert berth_of(client).user == b"alice"


async def test_flags_are_those_of_client_list(world: World, client: Client) -> None:
    berth = berth_of(client)
    assert berth.flags == "N"

    berth.holds = HOLD_MULTI | HOLD_BLOCKED | HOLD_SUBSCRIBED | HOLD_TRACKING | HOLD_MONITOR
    client.session.identity.marks = "e"

    assert berth.flags == "xbPtOe"


@pytest.mark.parametrize(
    ("hold", "resp", "home"),
    [
        (0, 2, Mode.NEAR),
        (HOLD_MULTI, 2, Mode.QUEUEING),
        (HOLD_MULTI | HOLD_SUBSCRIBED, 2, Mode.QUEUEING),
        (HOLD_SUBSCRIBED, 2, Mode.SUBSCRIBED),
        (HOLD_SUBSCRIBED, 3, Mode.FAR),
        (HOLD_STICKY, 2, Mode.FAR),
    ],
)
async def test_home_is_what_the_holds_say(
    near_world: World, hold: int, resp: int, home: Mode
) -> None:
    client = near_world.client()
    berth = berth_of(client)
    berth.rekey(LaneKey(resp=resp))

    berth.hold(hold)
    assert berth.mode == client.session.home == home
    assert (client.session.near.space is not None) is (home is Mode.NEAR)
    berth.let_go(hold)

    assert berth.mode == Mode.NEAR


# --- Bytes that are no requests, and flow


async def test_into_a_tunnel_bytes_go_as_they_are(world: World, client: Client) -> None:
    berth = berth_of(client)
    berth.through(b"to nobody")
    lane, wire = await pinned(world, client)

    berth.enter_tunnel()
    berth.through(b"any bytes")
    await world.settle()
    assert wire.take() == b"any bytes"
    assert client.session.odd
    lane.pause_writing()
    berth.through(b"more")
    assert not client.wire.reading
    lane.resume_writing()
    await world.settle()

    assert wire.take() == b"more"
    assert client.wire.reading


async def test_what_waits_for_a_lane_goes_on_when_it_takes_more(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)
    lane = berth_of(client).lane
    assert lane is not None

    berth_of(client).wait_for(lane)
    client.raw(GET)
    await world.settle()
    assert client.session.stalls & STALL_LANE
    assert wire.quiet
    berth_of(client).reports.lane_writable(lane)
    await world.settle()

    assert wire.take() == GET


async def test_replies_to_a_client_that_does_not_read_wait_in_the_lane(
    world: World, client: Client
) -> None:
    _, wire = await pinned(world, client)
    client.raw(GET)
    await world.settle()

    berth_of(client).weight.lag()
    assert not wire.reading
    berth_of(client).weight.keep_up()

    assert wire.reading


async def test_a_client_that_leaves_lets_its_lanes_be_read_again(near_world: World) -> None:
    client = near_world.client()
    wire = await shared(near_world, client)
    client.raw(GET)
    berth_of(client).weight.lag()

    client.leave()
    await near_world.settle()

    assert wire.reading
    assert all(one.reading for one in near_world.dial.wires)


# --- More databases than the near cache has room for


def answer(words: list[bytes]) -> bytes:
    if words[0] == b"PTTL":
        return b":-1\r\n"
    return b"$1\r\nv\r\n" if words[0] == b"GET" else b"+OK\r\n"


async def test_a_round_of_many_databases_costs_each_one_lane_and_no_more(
    near_world: World,
) -> None:
    """A client for each; those beyond the bound read as they would without a near cache."""
    world = near_world
    world.dial.answer = answer
    clients = [world.client() for _ in range(2 * SPACES_MAX)]
    for db, client in enumerate(clients):
        berth_of(client).rekey(LaneKey(db=db))

    async def around() -> None:
        for client in clients:
            client.send(b"GET", b"k")
        await world.settle()
        assert [client.took() for client in clients] == [b"$1\r\nv\r\n"] * len(clients)
        world.context.scopes.tick()
        world.lanes.tick()

    for _ in range(5):
        await around()
    connections = world.connections
    for _ in range(5):
        await around()

    assert world.connections == connections <= 3 * len(clients)
    near = world.near
    assert near is not None
    assert near.hits >= 5 * SPACES_MAX
    assert near.flushes["lost"] == near.flushes["space"] == 0


async def test_who_found_no_room_looks_again_after_a_while(near_world: World) -> None:
    near = near_world.near
    assert near is not None
    others = [near.space(db, None) for db in range(1, SPACES_MAX + 1)]
    client = near_world.client()
    await near_world.settle()
    near_world.dial.answer = answer
    assert client.session.near.space is None
    assert not near_world.dial.wires  # nobody dials a lane that fills nothing
    near.release(others[0])

    client.send(b"GET", b"k")
    await near_world.settle()
    assert client.session.near.space is None
    near_world.context.turn.now += AGAIN
    client.send(b"GET", b"k")
    await near_world.settle()

    assert client.session.near.space is not None
    assert client.took() == b"$1\r\nv\r\n" * 2
