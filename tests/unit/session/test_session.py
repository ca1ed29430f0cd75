"""A client's connection without sockets: what it asks of which lane and gets, in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.errors import ProtocolError
from nearhit.proxy.hot.answers import WINDOW_MAX, WINDOW_START
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.upload import GATHER_MAX
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.fakes import Client, Upstream, World

OK = b"+OK\r\n"
LOST = b"-UPSTREAM connection to the server lost ("
GET = encode([b"GET", b"k"])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


@pytest.fixture
def client(world: World) -> Client:
    return world.client()


async def asked(world: World, client: Client, *words: bytes, reply: bytes) -> bytes:
    """Send one request, have it answered on whatever lane it went to, and return what came."""
    client.send(*words)
    await world.settle()
    for wire in world.dial.wires:
        if wire.written.startswith(encode(words)):
            wire.expect(*words)
            wire.reply(reply)
            await world.settle()
            return client.took()
    raise AssertionError(f"{words!r} went nowhere: {[wire.written for wire in world.dial.wires]}")


async def shared(world: World, client: Client) -> Upstream:
    """The shared lane of the client's key, connected."""
    client.send(b"PING")
    await world.settle()
    wire = world.dial.wires[-1]
    wire.expect(b"PING")
    wire.reply(b"+PONG\r\n")
    await world.settle()
    assert client.took() == b"+PONG\r\n"
    return wire


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
    wire.expect(b"GET", b"2")

    wire.reply(b"$1\r\na\r\n$1\r\n")
    await world.settle()
    assert client.took() == b"$1\r\na\r\n+OK\r\n$1\r\n"
    wire.reply(b"b\r\n")
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
    world.dial.handshake = {b"CLIENT": noauth, b"PING": noauth}
    world.lanes.shared(world.lanes.primary_key).open()
    await world.settle()
    stranger = world.client()

    stranger.raw(b"*11\r\n")
    await world.settle()

    assert stranger.took() == ProtocolError("unauthenticated multibulk length").line
    assert stranger.wire.end == "closed"


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
    assert [line[:9] for line in lines] == [b"+1", b"-UPSTREAM", b"+OK", b"-UPSTREAM", b""]
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


async def test_no_transaction_begins_while_the_upstream_is_down(
    world: World, client: Client
) -> None:
    world.dial.refuse = 10**9
    client.send(b"MULTI")
    client.send(b"SET", b"k", b"v")
    await world.settle()

    # Whatever else the client has sent was meant for the transaction.
    assert client.took().count(b"-UPSTREAM no connection to the server") == 2
    assert client.wire.end == "closed"


async def test_bytes_that_are_no_reply_cost_no_client_its_order(
    world: World, client: Client
) -> None:
    client.raw(GET * 2)
    wire = await world.upstream(0)

    wire.reply(b"+1\r\nHTTP/1.1 400\r\n")
    await world.settle()

    assert client.took().startswith(b"+1\r\n" + LOST)


# --- Transactions


async def test_multi_takes_a_lane_and_exec_gives_it_back(world: World, client: Client) -> None:
    await shared(world, client)

    for _ in range(3):
        client.raw(encode([b"MULTI"]))
        client.raw(encode([b"SET", b"k", b"v"]) + encode([b"EXEC"]))
        wire = await world.upstream(1)
        wire.expect(b"MULTI")
        wire.expect(b"SET", b"k", b"v")
        wire.expect(b"EXEC")
        wire.reply(b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n")
        await world.settle()
        assert client.took() == b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"

    assert world.connections == 2
    assert await asked(world, client, b"GET", b"k", reply=b"+v\r\n") == b"+v\r\n"
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=1>"


WHOLE = encode([b"MULTI"]) + encode([b"SET", b"k", b"v"]) + encode([b"EXEC"])


async def test_a_transaction_in_one_piece_needs_no_lane_of_its_own(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)

    client.raw(GET + WHOLE)
    await world.settle()

    assert wire.take() == GET + WHOLE
    wire.reply(b"+1\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n")
    await world.settle()
    assert client.took() == b"+1\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"
    assert world.connections == 1


@pytest.mark.parametrize(
    "inside",
    [
        encode([b"CLIENT", b"ID"]),
        encode([b"SELECT", b"3"]),
        encode([b"BLPOP", b"q", b"0"]),
        encode([b"EVAL", b"return 1", b"0"]),
        encode([b"SUBSCRIBE", b"c"]),
        encode([b"NOSUCH"]),
        encode([b"DISCARD"]),
        b"PING\r\n",
    ],
)
async def test_a_transaction_with_more_than_plain_commands_gets_a_lane(
    world: World, client: Client, inside: bytes
) -> None:
    wire = await shared(world, client)

    client.raw(encode([b"MULTI"]) + inside + encode([b"EXEC"]))
    await world.settle()

    assert wire.quiet
    assert world.connections == 2


async def test_multi_waits_until_what_was_asked_before_is_answered(
    world: World, client: Client
) -> None:
    client.raw(GET + encode([b"MULTI"]))
    wire = await world.upstream(0)
    assert world.connections == 1

    wire.reply(b"+1\r\n")
    own = await world.upstream(1)

    own.expect(b"MULTI")


@pytest.mark.parametrize("reply", [b"*-1\r\n", b"-EXECABORT no\r\n", b"_\r\n"])
async def test_whatever_exec_answers_ends_the_transaction(
    world: World, client: Client, reply: bytes
) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    assert client.session.berth.flags == "x"

    assert await asked(world, client, b"EXEC", reply=reply) == reply

    assert client.session.berth.holds == 0
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_discard_gives_the_lane_back(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)

    await asked(world, client, b"DISCARD", reply=OK)

    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_watch_holds_the_lane_until_exec(world: World, client: Client) -> None:
    await asked(world, client, b"WATCH", b"k", reply=OK)
    await asked(world, client, b"GET", b"k", reply=b"+v\r\n")
    assert world.connections == 1
    await asked(world, client, b"MULTI", reply=OK)

    await asked(world, client, b"EXEC", reply=b"*-1\r\n")

    assert world.connections == 1
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_unwatch_gives_the_lane_back(world: World, client: Client) -> None:
    await asked(world, client, b"WATCH", b"k", reply=OK)

    await asked(world, client, b"UNWATCH", reply=OK)

    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


@pytest.mark.parametrize("words", [[b"MULTI"], [b"WATCH", b"k"]], ids=["multi", "watch"])
async def test_a_client_that_leaves_a_transaction_takes_its_lane_along(
    world: World, client: Client, words: list[bytes]
) -> None:
    await asked(world, client, *words, reply=OK)

    client.leave()
    await world.settle()

    assert world.dial.wires[0].end == "aborted"
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=0>"


@pytest.mark.parametrize("words", [[b"MULTI"], [b"WATCH", b"k"]], ids=["multi", "watch"])
async def test_with_its_lane_a_transaction_and_its_connection_are_gone(
    world: World, client: Client, words: list[bytes]
) -> None:
    await asked(world, client, *words, reply=OK)

    world.dial.wires[0].lose()
    await world.settle()

    assert client.wire.end == "closed"


async def test_no_part_of_a_transaction_runs_outside_of_it_when_its_lane_dies(
    world: World, client: Client
) -> None:
    # MULTI is not answered yet, the window holds the rest of the pipeline back: it must not go
    # to a shared lane as plain writes.
    await shared(world, client)
    sets = [encode([b"SET", b"%d" % at, b"v"]) for at in range(WINDOW_START * 2)]
    client.raw(encode([b"MULTI"]) + b"".join(sets))
    client.raw(encode([b"EXEC"]))
    own = await world.upstream(1)
    own.expect(b"MULTI")

    own.lose()
    await world.settle()

    for wire in (world.dial.wires[0], *world.dial.wires[2:]):
        assert b"SET" not in wire.take()


async def test_exec_shows_the_clients_own_identity(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, b"CLIENT", b"ID", reply=b"+QUEUED\r\n")
    await asked(world, client, b"GET", b"k", reply=b"+QUEUED\r\n")

    got = await asked(world, client, b"EXEC", reply=b"*2\r\n:101\r\n$1\r\nv\r\n")

    assert got == b"*2\r\n:1\r\n$1\r\nv\r\n"


async def test_a_select_in_a_transaction_moves_the_session(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, b"SELECT", b"4", reply=b"+QUEUED\r\n")
    await asked(world, client, b"EXEC", reply=b"*1\r\n+OK\r\n")

    assert client.session.berth.lane_key.db == 4
    await asked(world, client, b"GET", b"k", reply=b"+v\r\n")
    assert world.dial.wires[-1].handshake is not None
    assert world.dial.wires[-1].handshake[0] == [b"SELECT", b"4"]


async def test_no_part_of_a_transaction_runs_when_multi_never_left(
    world: World, client: Client
) -> None:
    world.dial.mute = True
    client.send(b"MULTI")
    await world.settle()
    for _ in range(10):
        world.lanes.tick()
    await world.settle()
    assert client.took().startswith(b"-UPSTREAM")

    world.dial.mute = False
    for wire in world.dial.wires:
        wire._shake()
    client.send(b"SET", b"k", b"v")
    await world.settle()

    assert client.wire.end == "closed"
    assert all(wire.quiet for wire in world.dial.wires)


# --- Waiting in the server


async def test_a_blocking_command_leaves_the_shared_lane(world: World, client: Client) -> None:
    wire = await shared(world, client)

    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(1)

    own.expect(b"BLPOP", b"q", b"0")
    assert client.session.berth.flags == "b"
    assert wire.quiet
    own.reply(b"*-1\r\n")
    await world.settle()
    assert client.session.berth.flags == "N"
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=1>"


async def test_a_client_that_leaves_while_blocked_closes_its_lane(
    world: World, client: Client
) -> None:
    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(0)

    client.finish()
    await world.settle()

    assert client.wire.end == "closed"
    assert own.end == "aborted"
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=0>"


async def test_a_blocked_client_whose_lane_dies_gets_an_error_and_stays(
    world: World, client: Client
) -> None:
    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(0)

    own.lose()
    await world.settle()

    assert client.took().startswith(LOST)
    assert not client.wire.end
    assert client.session.berth.holds == 0
    assert await asked(world, client, b"GET", b"k", reply=b"+v\r\n") == b"+v\r\n"


async def test_wait_is_moved_past_its_own_writes(world: World, client: Client) -> None:
    client.send(b"WAIT", b"1", b"0")
    own = await world.upstream(0)

    own.expect(b"PING")
    own.expect(b"WAIT", b"1", b"0")
    own.reply(b"+PONG\r\n:1\r\n")
    await world.settle()
    assert client.took() == b":1\r\n"


async def test_a_blocked_lane_is_not_given_up_for_its_silence(world: World, client: Client) -> None:
    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(0)

    for _ in range(20):
        world.lanes.tick()
    await world.settle()
    assert not own.end

    own.reply(b"*-1\r\n")
    await world.settle()
    assert client.took() == b"*-1\r\n"


async def test_a_silent_shared_lane_is_given_up(world: World, client: Client) -> None:
    client.raw(GET)
    await world.settle()

    for _ in range(5):
        world.lanes.tick()
    await world.settle()

    assert b"no answer in 3 s" in client.took()


# --- Pub/sub


def confirmed(word: bytes, name: bytes, count: int, mark: bytes = b"*") -> bytes:
    return mark + b"3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:%d\r\n" % (
        len(word), word, len(name), name, count,
    )  # fmt: skip


MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"


async def test_subscriptions_are_counted_and_the_last_gives_the_lane_back(
    world: World, client: Client
) -> None:
    client.send(b"SUBSCRIBE", b"a", b"b")
    own = await world.upstream(0)
    reply = confirmed(b"subscribe", b"a", 1) + confirmed(b"subscribe", b"b", 2)
    own.reply(reply + MESSAGE)
    await world.settle()
    assert client.took() == reply + MESSAGE
    assert client.session.berth.subscriptions == (2, 0, 0)
    assert client.session.berth.flags == "P"

    client.send(b"UNSUBSCRIBE")
    reply = confirmed(b"unsubscribe", b"a", 1) + confirmed(b"unsubscribe", b"b", 0)
    await world.settle()
    own.reply(reply)
    await world.settle()

    assert client.took() == reply
    assert client.session.berth.subscriptions == (0, 0, 0)
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_a_client_that_leaves_its_subscriptions_closes_its_lane(
    world: World, client: Client
) -> None:
    client.send(b"SUBSCRIBE", b"a")
    own = await world.upstream(0)
    own.reply(confirmed(b"subscribe", b"a", 1))

    client.leave()
    await world.settle()

    assert own.end == "aborted"


async def test_in_resp3_commands_and_messages_mix(world: World, client: Client) -> None:
    await asked(world, client, b"HELLO", b"3", reply=b"%1\r\n$5\r\nproto\r\n:3\r\n")
    client.send(b"SUBSCRIBE", b"a")
    await world.settle()
    own = world.dial.wires[-1]
    own.reply(confirmed(b"subscribe", b"a", 1, b">"))
    await world.settle()
    client.took()

    client.send(b"LRANGE", b"l", b"0", b"-1")
    await world.settle()
    # A list that reads like a message is a reply, or the answer queue is one short for ever.
    own.reply(MESSAGE + b">" + MESSAGE[1:])
    await world.settle()

    assert client.took() == MESSAGE + b">" + MESSAGE[1:]
    assert client.session.owed == 0


async def test_a_refused_subscription_leaves_nothing(world: World, client: Client) -> None:
    client.send(b"SUBSCRIBE", b"a", b"b")
    own = await world.upstream(0)

    own.reply(b"-NOPERM no\r\n")
    await world.settle()

    assert client.took() == b"-NOPERM no\r\n"
    assert client.session.owed == 0
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_with_its_lane_a_subscription_and_its_connection_are_gone(
    world: World, client: Client
) -> None:
    client.send(b"SUBSCRIBE", b"a")
    own = await world.upstream(0)
    own.reply(confirmed(b"subscribe", b"a", 1))

    own.lose()
    await world.settle()

    assert client.wire.end == "closed"


async def test_a_push_comes_between_two_replies(world: World, client: Client) -> None:
    await asked(world, client, b"HELLO", b"3", reply=b"%1\r\n$5\r\nproto\r\n:3\r\n")
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    client.send(b"CLIENT", b"TRACKING", b"ON")
    await world.settle()
    own = world.dial.wires[-1]
    own.reply(OK)
    client.raw(GET * 2)
    await world.settle()

    own.reply(b"+1\r\n" + push[:7], push[7:] + b"+2\r\n")
    await world.settle()

    assert client.took() == OK + b"+1\r\n" + push + b"+2\r\n"
    assert client.session.berth.flags == "t"


# --- CLIENT REPLY


async def test_with_replies_off_nothing_comes_but_all_is_done(world: World, client: Client) -> None:
    client.send(b"CLIENT", b"REPLY", b"OFF")
    client.raw(GET * 2)
    client.send(b"CLIENT", b"SETNAME", b"me")
    wire = await world.upstream(0)
    wire.reply(b"+1\r\n$1\r\n", b"2\r\n")
    await world.settle()
    assert client.took() == b""

    client.send(b"CLIENT", b"REPLY", b"ON")
    client.raw(GET)
    await world.settle()
    wire.reply(b"+3\r\n")
    await world.settle()

    assert client.took() == OK + b"+3\r\n"
    assert client.session.identity.name == b"me"


async def test_skip_is_for_one_request(world: World, client: Client) -> None:
    client.raw(encode([b"CLIENT", b"REPLY", b"SKIP"]) + GET * 3)
    wire = await world.upstream(0)

    wire.reply(b"+1\r\n+2\r\n+3\r\n")
    await world.settle()

    assert client.took() == b"+2\r\n+3\r\n"


async def test_skip_reaches_local_answers_too(world: World, client: Client) -> None:
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.send(b"CLIENT", b"SETNAME", b"me")
    client.send(b"CLIENT", b"SETNAME", b"you")
    await world.settle()

    assert client.took() == OK


async def test_what_is_muted_needs_no_cut_when_the_lane_dies(world: World, client: Client) -> None:
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.raw(GET * 2)
    wire = await world.upstream(0)

    wire.reply(b"$5\r\nhe")
    wire.lose()
    await world.settle()

    assert client.took().count(LOST) == 1
    assert not client.wire.end


# --- Who and where the session is


async def test_select_moves_the_session_only_when_the_server_agrees(
    world: World, client: Client
) -> None:
    await shared(world, client)
    client.send(b"SELECT", b"5")
    client.send(b"GET", b"k")
    other = await world.upstream(1)
    other.expect(b"SELECT", b"5")
    assert other.quiet
    assert client.session.berth.lane_key.db == 0

    other.reply(OK)
    await world.settle()

    assert client.session.berth.lane_key.db == 5
    other.expect(b"GET", b"k")


async def test_a_refused_select_changes_nothing(world: World, client: Client) -> None:
    wire = await shared(world, client)
    world.dial.handshake = {b"SELECT": b"-ERR DB index is out of range\r\n"}

    client.send(b"SELECT", b"99")
    client.send(b"GET", b"k")
    await world.settle()

    assert client.took() == b"-ERR DB index is out of range\r\n"
    assert client.session.berth.lane_key.db == 0
    wire.expect(b"GET", b"k")
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


async def test_hello_changes_the_protocol_only_when_the_server_agrees(
    world: World, client: Client
) -> None:
    reply = b"%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:101\r\n"
    client.send(b"HELLO", b"3", b"SETNAME", b"me")
    wire = await world.upstream(0)
    wire.expect(b"HELLO", b"3")
    assert (client.session.berth.lane_key.resp, client.session.identity.name) == (2, b"")

    wire.reply(reply)
    await world.settle()

    assert client.took() == reply.replace(b":101", b":1")
    assert (client.session.berth.lane_key.resp, client.session.identity.name) == (3, b"me")


async def test_a_refused_hello_changes_nothing(world: World, client: Client) -> None:
    got = await asked(world, client, b"HELLO", b"9", reply=b"-NOPROTO unsupported\r\n")

    assert got == b"-NOPROTO unsupported\r\n"
    assert client.session.berth.lane_key == LaneKey()


async def test_auth_is_asked_apart_and_changes_the_user_only_when_right(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)

    got = await asked(world, client, b"AUTH", b"alice", b"bad", reply=b"-WRONGPASS no\r\n")
    assert got == b"-WRONGPASS no\r\n"
    assert client.session.berth.lane_key.user is None
    assert await asked(world, client, b"AUTH", b"alice", b"good", reply=OK) == OK

    assert client.session.berth.lane_key.user == User(b"alice", b"good")
    assert wire.quiet
    client.raw(GET)
    await world.settle()
    own = world.dial.wires[-1]
    assert own.handshake is not None
    assert own.handshake[0] == [b"AUTH", b"alice", b"good"]
    own.expect(b"GET", b"k")


async def test_reset_makes_everything_as_at_first(world: World, client: Client) -> None:
    await asked(world, client, b"SELECT", b"5", reply=OK)
    await asked(world, client, b"MULTI", reply=OK)
    client.session.identity.name = b"me"

    client.send(b"RESET")
    await world.settle()

    assert client.took() == b"+RESET\r\n"
    assert (
        client.session.berth.lane_key,
        client.session.identity.name,
        client.session.berth.holds,
    ) == (
        LaneKey(),
        b"",
        0,
    )
    assert world.dial.wires[-1].end == "aborted"


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


# --- Unknown commands, tunnels, the end


async def test_an_unknown_command_that_works_keeps_its_lane_for_its_client_alone(
    world: World, client: Client
) -> None:
    await shared(world, client)

    assert await asked(world, client, b"MOD.NEW", b"x", reply=OK) == OK
    assert world.learnt == 1
    assert await asked(world, client, b"GET", b"k", reply=b"+v\r\n") == b"+v\r\n"
    client.leave()
    await world.settle()

    assert world.connections == 2
    assert world.dial.wires[1].end == "aborted"
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


async def test_a_command_that_the_server_does_not_know_either_costs_no_lane(
    world: World, client: Client
) -> None:
    await asked(world, client, b"FOO", reply=b"-ERR unknown command 'FOO'\r\n")

    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"
    assert world.learnt == 0


async def test_monitor_turns_the_connection_into_a_tunnel(world: World, client: Client) -> None:
    assert await asked(world, client, b"MONITOR", reply=OK) == OK
    own = world.dial.wires[0]

    own.reply(b'+1.0 "GET"\r\n')
    client.raw(b"QUIT\r\n")
    await world.settle()

    assert client.took() == b'+1.0 "GET"\r\n'
    assert own.take() == b"QUIT\r\n"
    own.lose()
    await world.settle()
    assert client.wire.end == "closed"


async def test_scripts_wait_on_a_lane_of_their_own(world: World, client: Client) -> None:
    wire = await shared(world, client)

    client.send(b"EVAL", b"return 1", b"0")
    await world.settle()

    assert wire.quiet
    world.dial.wires[1].expect(b"EVAL", b"return 1", b"0")
    world.dial.wires[1].reply(b":1\r\n")
    await world.settle()
    assert client.took() == b":1\r\n"
    client.raw(GET)
    await world.settle()
    wire.expect(b"GET", b"k")


async def test_kill_cuts_another_client_and_says_how_many(world: World, client: Client) -> None:
    other = world.client()
    client.send(b"CLIENT", b"KILL", b"ID", b"2")
    wire = await world.upstream(0)
    wire.reply(b":0\r\n")
    await world.settle()

    assert client.took() == b":1\r\n"
    assert other.wire.end == "aborted"
    assert len(world.context.clients) == 1


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

    for _ in range(61):
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
