"""A client's connection without sockets: what it asks of which lane and gets, in which order."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster.written import Written
from nearhit.proxy.errors import ProtocolError
from nearhit.proxy.hot.answers import WINDOW_MAX, WINDOW_START
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.acts.client import NO_NAME
from nearhit.proxy.session.upload import GATHER_MAX

from tests.asking import BAD_NAME, GET, LOST, OK, asked, shared
from tests.fakes import Client, World

# --- Order


async def test_a_request_goes_up_as_it_came_and_its_reply_comes_back(
    world: World, client: Client
) -> None:
    client.raw(b"*2\r\n$3\r\ngEt\r\n$1\r\nk\r\n")
    wire = await world.upstream(0)

    assert wire.take() == b"*2\r\n$3\r\ngEt\r\n$1\r\nk\r\n"
    wire.reply(b"$1\r\nv\r\n")
    await world.settle()
    assert client.took() == b"$1\r\nv\r\n"


async def test_local_answers_stand_between_their_neighbours(world: World, client: Client) -> None:
    client.send(b"GET", b"1")
    client.send(b"CLIENT", b"SETNAME", b"me")
    client.send(b"GET", b"2")
    client.send(b"CLIENT", b"SETNAME", b"two words")
    client.send(b"CLIENT", b"SETNAME", b"you")
    wire = await world.upstream(0)
    wire.expect(b"GET", b"1")
    wire.expect(b"CLIENT", b"SETNAME", NO_NAME)
    wire.expect(b"GET", b"2")

    wire.reply(b"$1\r\na\r\n" + BAD_NAME + b"$1\r\n")
    await world.settle()
    assert client.took() == b"$1\r\na\r\n+OK\r\n$1\r\n"
    wire.reply(b"b\r\n" + BAD_NAME * 2)
    await world.settle()

    assert client.took().startswith(b"b\r\n-ERR Client names cannot contain spaces")
    assert client.session.identity.name == b"you"
    assert client.session.head is None


async def test_many_clients_share_a_lane_and_each_gets_its_own(world: World) -> None:
    clients = [world.client() for _ in range(5)]
    for at, client in enumerate(clients):
        client.send(b"GET", b"%d" % at)
    wire = await world.upstream(0)

    wire.reply(b"".join(b":%d\r\n" % at for at in range(5)))
    await world.settle()

    assert [client.took() for client in clients] == [b":%d\r\n" % at for at in range(5)]
    assert world.connections == 1


@pytest.mark.parametrize("size", [1, 2, 7, 64])
async def test_a_pipeline_in_pieces_is_the_same_pipeline(
    world: World, client: Client, size: int
) -> None:
    world.dial.answer = lambda words: b"$%d\r\n%b\r\n" % (len(words[-1]), words[-1])
    words = [b"%d" % at for at in range(30)]
    stream = b"".join(encode([b"GET", word]) for word in words)
    stream += b"GET inline\r\n\r\n" + encode([b"GET", b"end"])

    for at in range(0, len(stream), size):
        client.raw(stream[at : at + size])
    await world.settle()

    assert client.took() == b"".join(
        b"$%d\r\n%b\r\n" % (len(word), word) for word in [*words, b"inline", b"end"]
    )


async def test_an_inline_request_goes_up_in_canonical_form(world: World, client: Client) -> None:
    client.raw(b"\r\n  set 'a b'  \"\\x01\" \r\n")
    wire = await world.upstream(0)

    wire.expect(b"set", b"a b", b"\x01")
    assert wire.quiet


@pytest.mark.parametrize("nothing", [b"\r\n", b"\n", b"*0\r\n", b"*-1\r\n", b"  \r\n"])
async def test_a_request_of_nothing_is_passed_over(
    world: World, client: Client, nothing: bytes
) -> None:
    client.raw(nothing + GET)
    wire = await world.upstream(0)

    wire.expect(b"GET", b"k")
    assert client.took() == b""


async def test_quit_is_answered_behind_all_before_it_and_nothing_behind(
    world: World, client: Client
) -> None:
    client.raw(GET + encode([b"QUIT"]) + GET)
    wire = await world.upstream(0)
    assert wire.take() == GET

    wire.reply(b"+1\r\n")
    await world.settle()

    assert client.took() == b"+1\r\n+OK\r\n"
    assert client.wire.end == "closed"


# --- Protocol errors


async def test_a_protocol_error_comes_in_its_place_and_ends_the_connection(
    world: World, client: Client
) -> None:
    client.raw(GET + b"*1\r\n+PING\r\n" + GET)
    wire = await world.upstream(0)
    assert wire.take() == GET
    assert not client.wire.end

    wire.reply(b"+1\r\n")
    await world.settle()

    assert client.took() == b"+1\r\n" + ProtocolError("expected '$', got '+'").line
    assert client.wire.end == "closed"
    assert wire.quiet


async def test_a_stranger_is_held_to_narrow_limits(world: World) -> None:
    noauth = b"-NOAUTH Authentication required.\r\n"
    world.dial.handshake = {b"HELLO": noauth, b"PING": noauth}
    world.lanes.shared(world.lanes.primary_key).open()
    await world.settle()
    stranger = world.client()

    stranger.raw(b"*11\r\n")
    await world.settle()

    assert stranger.took() == ProtocolError("unauthenticated multibulk length").line
    assert repr(world.context.offenders) == "<Offenders 1>"  # it is closed a moment later


async def test_a_request_for_the_proxy_is_gathered_up_to_a_bound(
    world: World, client: Client
) -> None:
    client.raw(b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$100000000\r\n")
    await world.settle()
    assert client.took() == b""

    client.raw(bytes(GATHER_MAX))
    await world.settle()

    assert client.took().startswith(b"-ERR Protocol error: request too large")
    assert client.wire.end == "closed"


async def test_a_request_that_comes_in_many_reads_is_joined_once(
    world: World, client: Client
) -> None:
    head = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$300000\r\n"
    client.raw(head + bytes(200_000))
    before = client.session.rest

    for _ in range(3):
        client.raw(bytes(30_000))
        assert client.session.rest is before
    client.raw(bytes(10_000) + b"\r\n")

    await world.settle()
    assert not client.session.rest
    assert client.took() == b""


async def test_past_the_limit_of_clients_one_is_told_and_closed(world: World) -> None:
    world.context.clients.limit = 0

    late = world.client()
    await world.settle()

    assert late.took() == b"-ERR max number of clients reached\r\n"
    assert late.wire.end == "closed"
    assert len(world.context.clients) == 0


# --- A lane that dies


async def test_each_request_that_was_sent_fails_once(world: World, client: Client) -> None:
    client.raw(GET * 2)
    client.send(b"CLIENT", b"SETNAME", b"me")
    client.raw(GET)
    wire = await world.upstream(0)

    wire.reply(b"+1\r\n")
    wire.lose()
    await world.settle()

    lines = client.took().split(b"\r\n")
    assert [line[:9] for line in lines] == [b"+1", b"-UPSTREAM", b"-UPSTREAM", b"-UPSTREAM", b""]
    assert not client.wire.end
    assert client.session.owed == 0


async def test_a_client_with_half_a_reply_is_cut(world: World, client: Client) -> None:
    other = world.client()
    client.raw(GET * 2)
    other.raw(GET)
    wire = await world.upstream(0)

    wire.reply(b"$5\r\nhe")
    await world.settle()
    wire.lose()
    await world.settle()

    assert client.took() == b"$5\r\nhe"
    assert client.wire.end == "aborted"
    assert other.took().startswith(LOST)
    assert not other.wire.end
    assert client.session.head is other.session.head is None


async def test_after_a_loss_the_client_goes_on_with_the_next_connection(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)
    client.raw(GET)
    await world.settle()
    wire.lose()
    await world.settle()
    assert client.took().startswith(LOST)

    assert await asked(world, client, b"GET", b"x", reply=b"+x\r\n") == b"+x\r\n"
    assert world.connections == 2


async def test_what_had_not_left_is_sent_on_the_next_connection(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)

    client.raw(GET)
    wire.lose()  # in the same turn
    again = await world.upstream(1)

    again.expect(b"GET", b"k")
    again.reply(b"+1\r\n")
    await world.settle()
    assert client.took() == b"+1\r\n"


async def test_an_upstream_that_is_down_answers_at_once(world: World, client: Client) -> None:
    world.dial.refuse = 10**9
    client.raw(GET * 3)
    await world.settle()
    assert client.took().count(b"-UPSTREAM no connection to the server") == 3

    client.raw(GET)
    client.send(b"BLPOP", b"k", b"0")
    await world.settle()

    assert client.took().count(b"-UPSTREAM no connection to the server") == 2
    assert not client.wire.end


async def test_bytes_that_are_no_reply_cost_no_client_its_order(
    world: World, client: Client
) -> None:
    client.raw(GET * 2)
    wire = await world.upstream(0)

    wire.reply(b"+1\r\nHTTP/1.1 400\r\n")
    await world.settle()

    assert client.took().startswith(b"+1\r\n" + LOST)


async def test_a_silent_shared_lane_is_given_up_where_another_is_answered(
    world: World, client: Client
) -> None:
    client.raw(GET)
    await world.settle()

    for _ in range(5):
        world.lanes.tick()
    for _ in range(2):
        (await world.upstream(1)).reply(b"+PONG\r\n")
    await world.settle()

    assert b"no answer in 3 s" in client.took()


async def test_a_session_says_what_it_is(world: World, client: Client) -> None:
    client.raw(GET)

    assert repr(client.session) == "<Session 1 db=0 owed=1 stalls=0 holds=0>"


# --- Bounds


async def test_the_window_stalls_and_goes_on_when_half_of_it_is_free(
    world: World, client: Client
) -> None:
    half = WINDOW_START // 2
    client.raw(GET * half)
    client.raw(GET * 100)
    wire = await world.upstream(0)
    assert wire.take() == GET * WINDOW_START

    wire.reply(b"+1\r\n" * (half - 1))
    await world.settle()
    assert wire.quiet
    wire.reply(b"+1\r\n")
    await world.settle()

    assert wire.take() == GET * half


async def test_a_window_opens_wide_for_small_replies_and_shuts_for_large_ones(
    world: World, client: Client
) -> None:
    world.dial.answer = lambda words: b"+1\r\n"
    client.raw(GET * 500)
    await world.settle()
    assert client.took() == b"+1\r\n" * 500
    assert client.session.window == WINDOW_MAX

    world.dial.answer = lambda words: b"$1000000\r\n%b\r\n" % bytes(1000000)
    for _ in range(3):
        client.raw(GET * 40)
        await world.settle()
        await world.settle()
    assert client.session.window == 4


async def test_a_client_that_is_too_far_ahead_waits_in_its_socket(
    world: World, client: Client
) -> None:
    client.raw(GET * WINDOW_START)
    for _ in range(20):
        client.raw(GET * 1000)
    wire = await world.upstream(0)
    assert not client.wire.reading

    world.dial.answer = lambda words: b"+1\r\n"
    wire.reply(b"+1\r\n" * WINDOW_START)
    for _ in range(30):
        await world.settle()

    assert client.wire.reading
    assert client.took() == b"+1\r\n" * (WINDOW_START + 20000)


async def test_special_requests_in_one_turn_are_bounded(world: World, client: Client) -> None:
    client.raw(encode([b"CLIENT", b"SETNAME", b"me"]) * 200)

    assert client.session.rest
    wire = await world.upstream(0)
    wire.reply(BAD_NAME * 200)
    await world.settle()

    assert client.took() == OK * 200


async def test_a_client_that_stops_sending_still_gets_all_its_answers(
    world: World, client: Client
) -> None:
    client.raw(GET * 3)
    client.finish()
    wire = await world.upstream(0)
    assert not client.wire.end

    wire.reply(b"+1\r\n" * 3)
    await world.settle()

    assert client.took() == b"+1\r\n" * 3
    assert client.wire.end == "closed"


async def test_a_client_that_stops_sending_has_its_unread_requests_answered(
    world: World, client: Client
) -> None:
    # 64 special requests are taken in a turn: the others are still to come when the end is seen.
    client.raw(encode([b"CLIENT", b"SETNAME", b"me"]) * 200)
    client.finish()
    wire = await world.upstream(0)
    wire.reply(BAD_NAME * 200)
    await world.settle()

    assert client.took() == OK * 200
    assert client.wire.end == "closed"


async def test_a_client_with_state_that_stops_sending_still_gets_its_answers(
    world: World, client: Client
) -> None:
    await asked(world, client, b"CLIENT", b"NO-EVICT", b"ON", reply=OK)
    client.raw(GET)
    client.finish()
    wire = await world.upstream(0)

    wire.reply(b"+1\r\n")
    await world.settle()

    assert client.took() == b"+1\r\n"
    assert client.wire.end == "closed"


async def test_a_client_that_does_not_read_stops_being_served(world: World, client: Client) -> None:
    wire = await shared(world, client)
    client.session.pause_writing()

    client.raw(GET)
    await world.settle()
    assert wire.quiet

    client.session.resume_writing()
    await world.settle()
    assert wire.take() == GET


async def test_a_client_that_does_not_read_stops_no_other(world: World, client: Client) -> None:
    other = world.client()
    wire = await shared(world, client)
    other.raw(GET)
    await world.settle()

    client.session.pause_writing()  # its replies are all there: only the other waits here

    assert wire.reading


async def test_a_lane_that_takes_no_more_stops_who_sends(world: World, client: Client) -> None:
    wire = await shared(world, client)
    lane = client.session.lane
    assert lane is not None
    lane.pause_writing()

    client.raw(GET)
    client.raw(GET)
    await world.settle()
    assert wire.take() == GET

    lane.resume_writing()
    await world.settle()
    assert wire.take() == GET


# --- Large requests

MEGABYTE = encode([b"SET", b"k", bytes(1024 * 1024)])


@pytest.mark.parametrize("size", [1000, 65536, 100000, 2**20])
async def test_a_large_request_is_streamed_on_a_lane_of_its_own(
    world: World, client: Client, size: int
) -> None:
    wire = await shared(world, client)
    stream = MEGABYTE + GET
    got, kept = b"", 0

    for at in range(0, len(stream), size):
        client.raw(stream[at : at + size])
        await world.settle()
        kept = max(kept, len(client.session.rest))
        got += world.dial.wires[-1].take() if world.connections > 1 else b""

    assert got == stream  # what was asked behind it follows it
    assert kept <= max(size, 64 * 1024)
    assert wire.quiet
    own = world.dial.wires[1]
    own.reply(OK + b"+1\r\n")
    await world.settle()
    assert client.took() == OK + b"+1\r\n"
    client.raw(GET)
    await world.settle()
    wire.expect(b"GET", b"k")
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=1>"


async def test_a_large_request_before_the_lane_stands_waits_for_it(
    world: World, client: Client
) -> None:
    for at in range(0, len(MEGABYTE), 2**17):
        client.raw(MEGABYTE[at : at + 2**17])
    wire = await world.upstream(0)

    assert wire.take() == MEGABYTE


async def test_a_client_that_leaves_in_an_upload_takes_its_lane_along(
    world: World, client: Client
) -> None:
    client.raw(MEGABYTE[:200000])
    own = await world.upstream(0)

    client.leave()
    await world.settle()

    assert own.end == "aborted"


async def test_a_lane_that_dies_in_an_upload_ends_its_client(world: World, client: Client) -> None:
    client.raw(MEGABYTE[:200000])
    own = await world.upstream(0)

    own.lose()
    await world.settle()

    assert client.took().startswith(LOST)
    assert client.wire.end == "closed"


async def test_a_large_request_that_the_server_reads_differently_shares_no_lane(
    world: World, client: Client
) -> None:
    # Redis 7 takes "$1\r9\r\n" for a bulk of 1 byte; who counts 19 takes commands for a value,
    # and hands a lane with foreign replies on it to the next client.
    client.raw(b"*3\r\n$3\r\nSET\r\n$70000\r\n" + bytes(66000))
    own = await world.upstream(0)
    client.raw(bytes(4000) + b"\r\n$1\r9\r\n" + b"\r\nXBLPOP q 1\r\n      ")
    await world.settle()

    own.reply(OK)
    await world.settle()

    assert own.end == "aborted"
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=0>"


# --- Its end, and that of its lanes


async def test_draining_lets_what_runs_finish_and_closes_the_rest(world: World) -> None:
    idle, busy, blocked = world.client(), world.client(), world.client()
    busy.raw(GET)
    blocked.send(b"BLPOP", b"q", b"0")
    await world.settle()

    assert [one.session.drain() for one in (idle, busy, blocked)] == [True, False, True]
    assert not busy.wire.end
    world.dial.wires[0].reply(b"+1\r\n")
    await world.settle()

    assert busy.took() == b"+1\r\n"
    assert busy.wire.end == "closed"


async def test_a_client_that_left_costs_the_others_nothing(world: World, client: Client) -> None:
    other = world.client()
    client.raw(GET * 2)
    other.raw(GET)
    wire = await world.upstream(0)

    client.leave()
    wire.reply(b"+1\r\n+2\r\n+3\r\n")
    await world.settle()

    assert other.took() == b"+3\r\n"
    assert client.took() == b""


async def test_an_idle_shared_lane_is_closed_after_a_minute(world: World, client: Client) -> None:
    wire = await shared(world, client)
    client.leave()

    for _ in range(62):
        world.lanes.tick()
    await world.settle()

    assert wire.end == "aborted"
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=0>"


async def test_a_lane_that_died_in_the_warm_pool_is_not_lent(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, b"EXEC", reply=b"*0\r\n")
    world.dial.wires[0].lose()
    await world.settle()

    assert await asked(world, client, b"MULTI", reply=OK) == OK

    assert world.connections == 2
    lane = client.session.lane
    assert lane is not None
    assert lane.state is LaneState.READY


# --- What CLIENT LIST shows


async def test_the_last_request_of_a_run_is_the_last_one(world: World, client: Client) -> None:
    last = encode([b"STRLEN", b"k"])
    client.raw(GET + encode([b"SET", b"k", b"v" * 2000]) + last)
    await world.settle()

    assert client.session.last == last


async def test_of_a_long_request_the_beginning_is_kept(world: World, client: Client) -> None:
    long = encode([b"SET", b"k", b"v" * 2000])
    client.raw(long)
    await world.settle()

    assert client.session.last == long[:512]


async def test_a_request_that_must_wait_is_not_the_last_yet(world: World, client: Client) -> None:
    subscribe = encode([b"SUBSCRIBE", b"a"])
    client.raw(GET + subscribe)
    wire = await world.upstream(0)
    assert client.session.last == GET

    wire.reply(b"$-1\r\n")
    await world.settle()

    assert client.session.last == subscribe


async def test_bytes_in_and_bytes_out_end_idleness(world: World, client: Client) -> None:
    turn = world.context.turn
    turn.now += 10
    client.raw(GET)
    wire = await world.upstream(0)
    assert client.session.active == turn.now

    turn.now += 10
    wire.reply(b"$-1\r\n")
    await world.settle()

    assert client.session.active == turn.now


async def test_traffic_is_counted_past_every_window(world: World, client: Client) -> None:
    for _ in range(20):
        await asked(world, client, b"GET", b"k", reply=b"$1\r\nv\r\n")
    client.raw(GET[:-1])

    traffic = client.session.traffic
    assert traffic.received == 21 * len(GET) - 1
    assert traffic.sent == 20 * len(b"$1\r\nv\r\n")
    assert traffic.answered == 20
    assert traffic.unread == len(GET) - 1


def test_what_the_socket_does_not_take_is_unsent(client: Client) -> None:
    client.wire.unread = 5

    assert client.session.traffic.unsent == 5

    client.session.wire = None
    assert client.session.traffic.unsent == 0


async def test_replies_of_this_turn_are_gathered(world: World, client: Client) -> None:
    client.session.write(b"+1\r\n")
    client.session.write(b"+22\r\n")
    assert client.session.traffic.gathered == (9, 2)

    await world.settle()

    assert client.session.traffic.gathered == (0, 0)


async def test_a_client_is_cut_as_soon_as_its_end_has_begun(world: World, client: Client) -> None:
    assert not client.session.cut

    client.session.abort("CLIENT KILL")

    assert client.session.cut


async def test_what_nobody_looks_into_counts_as_a_write_of_any_slot(world: World) -> None:
    """Reads may go to replicas, and are to see it."""
    acted, lent = world.client(), world.client()
    for client in (acted, lent):
        client.session.written = Written()

    acted.send(b"CLIENT", b"SETNAME", b"me")
    await world.settle()
    assert lent.session.berth.pin()
    assert not lent.session.written.touches([0], 0.0)  # type: ignore[union-attr]
    lent.session.berth.unpin()

    for client in (acted, lent):
        assert client.session.written is not None
        assert client.session.written.touches([0], 0.0)
