"""What may be queued, and what a whole transaction answers where it is not there."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.cluster.planner import Planner
from nearhit.proxy.cluster.transaction import BYTES_MAX, EXEC, MULTI, QUEUED, Transaction, last_of
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.table.table import Command
from nearhit.proxy.upstream.lane_key import LaneKey

from tests.clusters import slot_of
from tests.fakes import Tray

from .nodes import TABLE, A, B, World, clustered

COMMANDS = TABLE.commands


def transaction(bound: int | None = None) -> Transaction:
    return Transaction(COMMANDS, Planner(lambda: COMMANDS, lambda: None, lambda: False).plan, bound)


def words(*given: bytes) -> bytes:
    return encode(given)


def test_the_first_key_says_which_slot() -> None:
    queued = transaction()

    assert queued.queue(words(b"PUBLISH", b"c", b"m")) == QUEUED
    assert queued.slot is None
    assert queued.queue(words(b"SET", A, b"1")) == QUEUED
    assert queued.slot == slot_of(A)
    assert queued.queue(words(b"GET", B)).startswith(b"-CROSSSLOT")
    assert queued.dirty


def test_what_is_watched_says_which_slot() -> None:
    assert transaction(slot_of(B)).queue(words(b"GET", A)).startswith(b"-CROSSSLOT")


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ((b"NO\r\nSUCH", b"x"), b"-ERR unknown command 'NO  SUCH', with args beginning with: 'x' "),
        ((b"SET", b"k"), b"-ERR wrong number of arguments for 'set' command"),
        ((b"COMMAND", b"COUNT", b"x"), b"-ERR wrong number of arguments for 'command|count'"),
        ((b"SELECT", b"1"), b"-ERR 'SELECT' is not possible inside MULTI in cluster mode"),
        ((b"CLIENT", b"REPLY", b"OFF"), b"-ERR 'CLIENT REPLY' is not possible inside MULTI"),
        ((b"SUBSCRIBE", b"c"), b"-ERR 'SUBSCRIBE' is not possible inside MULTI"),
    ],
)
def test_what_cannot_run_is_refused_as_it_is_queued(
    request_: tuple[bytes, ...], told: bytes
) -> None:
    queued = transaction()

    assert queued.queue(encode(request_)).startswith(told)
    assert queued.dirty


def test_what_only_a_server_can_place_is_refused_inside_multi() -> None:
    odd = {b"MOD.ODD": Command(b"MOD.ODD", -2, frozenset({b"movablekeys"}), (0, 0, 0))}
    queued = Transaction(odd, Planner(lambda: odd, lambda: None, lambda: False).plan)

    assert b"'MOD.ODD' is not possible inside MULTI" in queued.queue(words(b"MOD.ODD", A))


def test_a_transaction_is_bounded() -> None:
    queued = transaction()
    half = words(b"SET", A, b"x" * (BYTES_MAX // 2))

    assert queued.queue(half) == QUEUED
    assert b"of this size" in queued.queue(half)


def test_the_last_of_several_replies_may_stand_alone() -> None:
    assert last_of(b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n", 3) == b"*1\r\n:1\r\n"
    assert last_of(b"-TRYAGAIN x\r\n", 3) == b"-TRYAGAIN x\r\n"


BLOCK = MULTI + words(b"SET", A, b"1") + EXEC
DONE = b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"


async def whole(world: World, data: bytes = BLOCK, want: int = 3, seconds: float = 0.1) -> bytes:
    """What a session gets that sends all of it in one piece."""
    tray = Tray(want)
    world.lanes.shared(LaneKey()).send(data, tray)
    await asyncio.sleep(seconds)
    return tray.got or tray.error


def runs(world: World, node: int) -> None:
    world.nodes[node].say(b"SET", b"+QUEUED\r\n")
    world.nodes[node].say(b"EXEC", b"*1\r\n+OK\r\n")


@clustered
async def test_a_whole_transaction_goes_to_its_slot(world: World) -> None:
    runs(world, 0)

    assert await whole(world) == DONE
    assert world.nodes[0].seen == [b"MULTI", b"SET %b 1" % A, b"EXEC"]


@clustered
async def test_it_is_redirected_as_one_as_it_is_queued(world: World) -> None:
    world.nodes[0].say(b"SET", b"-MOVED 100 n:2\r\n")
    world.nodes[0].say(b"EXEC", b"-EXECABORT Transaction discarded\r\n")
    runs(world, 1)

    assert await whole(world) == DONE


@clustered
async def test_it_is_redirected_as_one_as_it_is_executed(world: World) -> None:
    world.nodes[0].say(b"SET", b"+QUEUED\r\n")
    world.nodes[0].say(b"EXEC", b"-ASK 100 n:2\r\n")
    runs(world, 1)

    assert await whole(world) == DONE
    assert world.nodes[1].seen == [b"ASKING", b"MULTI", b"SET %b 1" % A, b"EXEC"]


@clustered
async def test_keys_at_two_nodes_are_waited_for(world: World) -> None:
    again = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
    world.nodes[0].say(b"SET", b"+QUEUED\r\n")
    world.nodes[0].say(b"EXEC", *[b"-ASK 100 n:2\r\n"] * 15, b"*1\r\n+OK\r\n")
    world.nodes[1].say(b"SET", b"+QUEUED\r\n")
    world.nodes[1].say(b"EXEC", again)

    assert await whole(world, seconds=1.5) == DONE
    assert world.nodes[1].seen.count(b"EXEC") == 15


@clustered
async def test_where_multi_was_refused_nothing_is_sent_again(world: World) -> None:
    world.nodes[0].say(b"MULTI", b"-NOPERM no\r\n")
    world.nodes[0].say(b"EXEC", b"-MOVED 100 n:2\r\n")

    assert (await whole(world)).startswith(b"-NOPERM")
    assert world.nodes[1].seen == []


@clustered
async def test_of_two_slots_nothing_is_sent(world: World) -> None:
    data = MULTI + words(b"SET", A, b"1") + words(b"SET", B, b"1") + EXEC

    lines = (await whole(world, data, 4)).split(b"\r\n")
    assert [line[:10] for line in lines] == [
        b"+OK", b"+QUEUED", b"-CROSSSLOT", b"-EXECABORT", b""
    ]  # fmt: skip
    assert [node.seen for node in world.nodes] == [[], [], []]
