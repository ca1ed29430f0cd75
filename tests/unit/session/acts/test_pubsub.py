"""SUBSCRIBE and its kin: the lane, the counts, what is a message and what is a reply."""

from __future__ import annotations

from nearhit.proxy.errors import MAX_SUBSCRIPTIONS

from tests.asking import GET, asked, shared, switched
from tests.fakes import Client, World


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


async def test_nothing_is_subscribed_for_a_client_that_sends_no_more(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)
    client.raw(GET)
    client.send(b"SUBSCRIBE", b"a")
    client.finish()
    await world.settle()

    wire.reply(b"+1\r\n")
    await world.settle()

    assert client.took() == b"+1\r\n"
    assert client.wire.end == "closed"
    assert world.connections == 2
    assert world.dial.wires[1].quiet


async def test_subscribe_without_a_name_is_the_servers_to_refuse(
    world: World, client: Client
) -> None:
    assert await asked(world, client, b"SUBSCRIBE", reply=b"-ERR arity\r\n") == b"-ERR arity\r\n"

    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


async def test_a_message_to_whom_replies_are_skipped_comes_all_the_same(
    world: World, client: Client
) -> None:
    await switched(world, client, b"SKIP")
    client.send(b"SUBSCRIBE", b"a")
    own = await world.upstream(1)
    reply = confirmed(b"subscribe", b"a", 1)
    own.reply(reply + MESSAGE)
    await world.settle()

    assert client.took() == reply + MESSAGE
    assert client.session.mute == 0


async def test_more_subscriptions_than_are_allowed_are_refused_whole_and_the_others_stay(
    world: World, client: Client
) -> None:
    world.context.allowance.subscriptions = 2
    client.send(b"SUBSCRIBE", b"a")
    own = await world.upstream(0)
    own.expect(b"SUBSCRIBE", b"a")
    own.reply(confirmed(b"subscribe", b"a", 1))
    await world.settle()
    client.took()

    client.send(b"PSUBSCRIBE", b"b*", b"c*")
    client.send(b"PSUBSCRIBE", b"b*")
    await world.settle()

    own.expect(b"PSUBSCRIBE", b"b*")
    assert own.quiet
    own.reply(confirmed(b"psubscribe", b"b*", 2) + MESSAGE)
    await world.settle()
    assert client.took() == MAX_SUBSCRIPTIONS + confirmed(b"psubscribe", b"b*", 2) + MESSAGE
    assert client.session.berth.subscriptions == (1, 1, 0)


async def test_a_client_that_may_have_none_stays_as_it_was(world: World, client: Client) -> None:
    world.context.allowance.subscriptions = 1
    await shared(world, client)

    client.send(b"SUBSCRIBE", b"a", b"b")
    await world.settle()

    assert client.took() == MAX_SUBSCRIPTIONS
    assert client.session.berth.holds == 0
