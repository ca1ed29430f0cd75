"""What is done about the keys that a client writes in a tunnel."""

from __future__ import annotations

from typing import Any, cast

import pytest
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.tunnel import (
    DBS_MAX,
    LEASES_MAX,
    READ_MAX,
    Held,
    Passing,
    Tunnel,
    Unwatched,
)
from nearhit.proxy.table.table import Ours, snapshot
from nearhit.proxy.upstream.lane_key import LaneKey

from tests.asking import manage
from tests.fakes import Client, World

BOTH = Ours(near=True, voids=True)
OK = b"+OK\r\n"


def tunnel(world: World, *, leases: list[bytes] | None = None) -> Tunnel:
    return Tunnel(world.context, LaneKey(), opening=False, leases=leases or [])


def bypassed(world: World) -> bool:
    assert world.near is not None
    return not world.near.active


# --- What flows


@pytest.mark.parametrize(
    "words",
    [
        [b"REPLCONF", b"ACK", b"0"],
        [b"psync", b"?", b"-1"],
        [b"GET", b"k"],
        [b"SUBSCRIBE", b"c"],
        [b"MULTI"],
    ],
)
async def test_what_writes_nothing_disturbs_nobody(near_world: World, words: list[bytes]) -> None:
    assert tunnel(near_world).watch(encode(words)) == Passing()
    assert not bypassed(near_world)


@pytest.mark.parametrize(
    "words",
    [
        [b"SET", b"k", b"v"],
        [b"EXEC"],
        [b"MOD.SET", b"k"],
        [b"EVAL", b"return 1", b"0"],
        [b"SWAPDB", b"0", b"1"],
    ],
)
async def test_behind_the_first_write_nothing_is_kept_until_the_tunnel_ends(
    near_world: World, words: list[bytes]
) -> None:
    near = near_world.near
    assert near is not None
    space = near.space(0, None)
    ticket = space.reserve(b"x")
    assert ticket is not None
    here = tunnel(near_world)

    request = encode(words)
    assert here.watch(request[:5]) == Passing()
    assert not bypassed(near_world)
    assert here.watch(request[5:]) == Passing()

    assert bypassed(near_world)
    assert not ticket.valid
    assert space.reserve(b"x") is None
    assert repr(here) == "<Tunnel bypassing dbs=[0]>"
    here.close()
    here.close()
    assert not bypassed(near_world)


async def test_the_near_cache_is_bypassed_for_as_long_as_any_tunnel_writes(
    near_world: World,
) -> None:
    one, other = tunnel(near_world), tunnel(near_world)
    for here in (one, other):
        here.watch(encode([b"SET", b"k", b"v"]))

    one.close()
    assert bypassed(near_world)
    other.close()

    assert not bypassed(near_world)


@pytest.mark.parametrize("data", [b"*1\r\n!", b"x" * (READ_MAX + 1)])
async def test_what_is_no_request_may_write_anything(near_world: World, data: bytes) -> None:
    here = tunnel(near_world)

    assert here.watch(data) == Passing()
    assert bypassed(near_world)
    assert here.watch(b"more") == Passing()


async def test_nobody_looks_where_nothing_depends_on_it(world: World) -> None:
    assert tunnel(world).watch(b"*1\r\n!") == Passing()


# --- Loads


async def test_leases_of_what_is_written_are_deleted_first(near_world: World) -> None:
    manage(near_world, ours=BOTH)
    here = tunnel(near_world)

    todo = here.watch(encode([b"DEL", b"m:1", b"x", b"m:2"]))

    assert todo == Held([b"lease:{m:1}", b"lease:{m:2}"], [LaneKey()])


async def test_loads_of_what_is_written_are_joined_no_more(near_world: World) -> None:
    voided: list[tuple[int, list[bytes]]] = []

    class Scopes:
        def void(self, key: LaneKey, keys: list[bytes]) -> None:
            voided.append((key.db, keys))

    near_world.context.scopes = cast(Any, Scopes())
    here = tunnel(near_world)

    for words in ([b"GET", b"k"], [b"SELECT", b"3"], [b"SET", b"k", b"v"]):
        here.watch(encode(words))

    assert voided == [(db, [b"SET", b"k", b"v"]) for db in (0, 3)]


async def test_exec_deletes_those_of_all_that_was_queued(near_world: World) -> None:
    manage(near_world, ours=BOTH)
    here = tunnel(near_world, leases=[b"lease:{m:0}"])
    here.watch(encode([b"SET", b"m:1", b"v"]))

    assert here.watch(b"exec\r\n") == Held([b"lease:{m:0}", b"lease:{m:1}"], [LaneKey()])
    assert here.watch(b"EXEC\r\n") == Passing()


async def test_every_database_that_it_may_be_in_is_told(near_world: World) -> None:
    manage(near_world, ours=BOTH)
    here = tunnel(near_world)
    for db in (b"3", b"3", b"x"):
        here.watch(encode([b"SELECT", db]))

    todo = here.watch(encode([b"DEL", b"m:1"]))

    assert todo == Held([b"lease:{m:1}"], [LaneKey(), LaneKey(db=3)])


@pytest.mark.parametrize("much", ["bytes", "leases", "databases"])
async def test_what_nobody_can_watch_ends_the_client_where_loads_run(
    near_world: World, much: str
) -> None:
    manage(near_world, ours=BOTH)
    here = tunnel(near_world)

    if much == "bytes":
        todo = here.watch(b"*2\r\n$3\r\nSET\r\n$99999\r\n" + b"x" * READ_MAX)
    elif much == "leases":
        todo = here.watch(encode([b"DEL", *(b"m:%d" % n for n in range(LEASES_MAX + 1))]))
    else:
        todo = here.watch(b"".join(b"SELECT %d\r\n" % db for db in range(DBS_MAX + 1)))

    assert todo == Unwatched()


# --- Whether it is one


@pytest.mark.parametrize(
    ("chunks", "verdicts", "opening"),
    [
        ([b"\n", b"\n$EOF:"], [False, False], False),
        ([b"+FULLRESYNC"], [False], False),
        ([b"-ERR", b" no\r", b"\n"], [False, False, True], True),
    ],
)
async def test_the_first_answer_tells_whether_it_is_a_tunnel(
    world: World, chunks: list[bytes], verdicts: list[bool], opening: bool
) -> None:
    here = Tunnel(world.context, LaneKey(), opening=True)
    assert repr(here) == "<Tunnel opening dbs=[0]>"

    assert [here.heard(chunk) for chunk in chunks] == verdicts
    assert here.opening is opening


# --- With the session around it


async def opened(world: World) -> tuple[Client, int]:
    client = world.client()
    await world.settle()
    client.send(b"REPLCONF", b"ACK", b"1")  # is not answered
    await world.settle()
    wire = world.dial.wires[-1]
    wire.expect(b"REPLCONF", b"ACK", b"1")
    return client, len(world.dial.wires) - 1


async def test_a_write_passes_behind_the_end_of_the_leases(near_world: World) -> None:
    near_world.context.table = snapshot(BOTH)
    manage(near_world, ours=BOTH)
    client, at = await opened(near_world)
    own = near_world.dial.wires[at]

    client.send(b"DEL", b"m:1")
    client.send(b"GET", b"m:1")
    shared = await near_world.upstream(at + 1)
    shared.expect(b"DEL", b"lease:{m:1}")
    assert own.quiet

    shared.reply(b":1\r\n")
    await near_world.settle()
    own.expect(b"DEL", b"m:1")
    own.expect(b"GET", b"m:1")
    client.leave()
    await near_world.settle()
    assert not bypassed(near_world)


async def test_a_lane_that_ends_ends_the_bypass(near_world: World) -> None:
    client, at = await opened(near_world)
    client.send(b"SET", b"k", b"v")
    await near_world.settle()
    near_world.dial.wires[at].expect(b"SET", b"k", b"v")
    assert bypassed(near_world)

    near_world.dial.wires[at].lose()
    await near_world.settle()

    assert client.wire.end == "closed"
    assert not bypassed(near_world)


async def test_a_client_that_cannot_be_watched_is_cut(near_world: World) -> None:
    manage(near_world, ours=BOTH)
    client, _ = await opened(near_world)

    client.raw(b"*1\r\n!")
    await near_world.settle()

    assert client.wire.end == "closed"
