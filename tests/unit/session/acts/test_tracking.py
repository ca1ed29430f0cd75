"""CLIENT TRACKING and where it is redirected to."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.lane_key import User

from tests.asking import OK, asked
from tests.fakes import Client, Upstream, World

NOBODY = b"%d" % (2**63 - 1)
NO = b"-ERR no\r\n"


async def test_tracking_holds_a_lane_until_it_is_off(world: World, client: Client) -> None:
    await asked(world, client, b"CLIENT", b"TRACKING", b"ON", reply=OK)
    assert client.session.berth.flags == "t"

    await asked(world, client, b"CLIENT", b"TRACKING", b"OFF", reply=OK)

    assert client.session.berth.flags == "N"
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_a_refused_tracking_holds_nothing(world: World, client: Client) -> None:
    await asked(world, client, b"CLIENT", b"TRACKING", b"on", reply=b"-ERR no\r\n")

    assert client.session.berth.holds == 0


async def test_redirection_names_the_lane_of_the_other_client(world: World, client: Client) -> None:
    target = world.client()
    client.send(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"2")
    await world.settle()
    ids = {wire: wire.dial.wires.index(wire) + 101 for wire in world.dial.wires}
    (targets,) = [wire for wire in world.dial.wires if wire.written]
    targets.expect(b"HELLO")  # so that its lane has an id by which it is named

    targets.reply(b"*0\r\n")
    await world.settle()
    (wire,) = [wire for wire in world.dial.wires if wire.written]
    wire.expect(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"%d" % ids[targets])
    wire.reply(OK)
    await world.settle()

    assert client.took() == OK
    assert client.session.identity.redirect == 2
    assert target.session.lane is not None
    assert not target.wire.end


@pytest.mark.parametrize(
    ("number", "sent"), [(b"99", b"%d" % (2**63 - 1)), (b"x", b"x")], ids=["nobody", "no number"]
)
async def test_redirection_to_nobody_is_the_servers_to_refuse(
    world: World, client: Client, number: bytes, sent: bytes
) -> None:
    client.send(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", number)
    wire = await world.upstream(0)
    wire.expect(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", sent)
    wire.reply(b"-ERR no such\r\n")
    await world.settle()

    assert client.took() == b"-ERR no such\r\n"
    assert client.session.identity.redirect == -1


# --- What a redirection costs, and whom


async def redirected(world: World, asker: Client, number: int, reply: bytes = OK) -> bytes:
    """CLIENT TRACKING ON REDIRECT, everything that it asks answered; the client's reply."""
    asker.send(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"%d" % number)
    for _ in range(3):
        await world.settle()
        for wire in world.dial.wires:
            if wire.written.startswith(b"*1\r\n$5\r\nHELLO"):
                wire.expect(b"HELLO")
                wire.reply(b"*0\r\n")
            elif b"REDIRECT" in wire.written:
                wire.take()
                wire.reply(reply)
    return asker.took()


def lent(world: World) -> str:
    return repr(world.lanes).split()[2]


async def test_to_oneself_it_waits_until_the_own_lane_has_an_id(
    world: World, client: Client
) -> None:
    client.send(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"1", b"BCAST")
    wire = await world.upstream(0)
    wire.expect(b"HELLO")
    wire.reply(b"*0\r\n")
    await world.settle()

    wire.expect(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"101", b"BCAST")
    wire.reply(OK)
    await world.settle()

    assert client.took() == OK
    assert client.session.identity.redirect == 1
    assert lent(world) == "lent=1"


async def test_one_asker_burdens_one_target_at_a_time(world: World, client: Client) -> None:
    targets = [world.client() for _ in range(4)]

    for number in range(2, 6):
        assert await redirected(world, client, number) == OK

    assert lent(world) == "lent=2"
    assert [bool(target.session.berth.holds) for target in targets] == [False] * 3 + [True]


@pytest.mark.parametrize("end", ["leaves", "off", "reset"])
async def test_the_target_is_free_when_the_asker_has_gone_on(
    world: World, client: Client, end: str
) -> None:
    target = world.client()
    await redirected(world, client, 2)
    assert target.session.identity.redirected == {1}

    if end == "leaves":
        client.leave()
    elif end == "off":
        await asked(world, client, b"CLIENT", b"TRACKING", b"OFF", reply=OK)
    else:
        client.send(b"RESET")
        await world.settle()

    assert target.session.berth.holds == 0
    assert target.session.berth.own is None
    assert not target.session.identity.redirected


@pytest.mark.parametrize("known", [False, True], ids=["its id is awaited", "it is asked"])
@pytest.mark.parametrize("leaves", [False, True], ids=["its lane is lost", "it leaves"])
async def test_the_target_is_free_when_the_asker_is_gone_before_the_answer(
    world: World, client: Client, known: bool, leaves: bool
) -> None:
    target = world.client()
    client.send(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"2")
    await world.settle()
    (wire,) = [wire for wire in world.dial.wires if b"HELLO" in wire.written]
    assert target.session.berth.holds
    if known:
        wire.expect(b"HELLO")
        wire.reply(b"*0\r\n")
        await world.settle()

    if leaves:
        client.leave()
    else:
        own = client.session.berth.own
        assert own is not None
        own.lose("for a test")
    await world.settle()
    if not known:  # else it has had an error, and may stay
        client.leave()

    assert target.session.berth.holds == 0
    assert target.session.berth.own is None


async def test_a_target_of_two_askers_is_kept_for_the_other(world: World, client: Client) -> None:
    other, target = world.client(), world.client()
    await redirected(world, client, 3)
    await redirected(world, other, 3)

    client.leave()

    assert target.session.berth.own is not None
    assert target.session.identity.redirected == {2}


async def test_what_the_server_refuses_burdens_nobody(world: World, client: Client) -> None:
    target = world.client()

    assert await redirected(world, client, 2, NO) == NO

    assert target.session.berth.own is None
    assert client.session.identity.redirect == -1


async def test_a_client_of_another_user_is_nobody(world: World, client: Client) -> None:
    target = world.client()
    berth = target.session.berth
    berth.rekey(berth.lane_key.with_user(User(b"other", b"pw")))

    client.send(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"2")
    wire: Upstream = await world.upstream(0)

    wire.expect(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", NOBODY)
    assert world.connections == 1
    assert berth.own is None


async def test_where_there_is_no_place_for_the_targets_lane_it_is_nobody(
    world: World, client: Client
) -> None:
    world.client()
    world.lanes.pinned_max = 1

    client.send(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"2")
    wire = await world.upstream(0)

    wire.expect(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", NOBODY)
