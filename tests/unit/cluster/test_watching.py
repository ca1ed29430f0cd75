"""MULTI, EXEC and WATCH of one connection."""

from __future__ import annotations

from hashlib import sha1

from .nodes import A, B, World, clustered

NIL = b"*-1\r\n"


def runs(world: World, node: int, answer: bytes = b"*1\r\n+OK\r\n") -> None:
    world.nodes[node].say(b"SET", b"+QUEUED\r\n")
    world.nodes[node].say(b"EXEC", answer)


@clustered
async def test_a_transaction_is_sent_when_it_is_whole(world: World) -> None:
    line = await world.connect()
    runs(world, 0)

    assert await line.ask("MULTI", b"SET %b 1" % A) == b"+OK\r\n+QUEUED\r\n"
    assert world.nodes[0].seen == []
    assert await line.ask("EXEC") == b"*1\r\n+OK\r\n"
    assert world.nodes[0].seen == [b"MULTI", b"SET %b 1" % A, b"EXEC"]


@clustered
async def test_words_out_of_place_are_the_servers(world: World) -> None:
    line = await world.connect()

    assert await line.ask("EXEC") == b"-ERR EXEC without MULTI\r\n"
    assert await line.ask("DISCARD") == b"-ERR DISCARD without MULTI\r\n"
    await line.ask("MULTI")
    assert await line.ask("MULTI") == b"-ERR MULTI calls can not be nested\r\n"
    assert await line.ask(b"WATCH " + A) == b"-ERR WATCH inside MULTI is not allowed\r\n"
    assert await line.ask("EXEC") == b"*0\r\n"
    await line.ask("MULTI", b"SET %b 1" % A)
    assert await line.ask("DISCARD", "EXEC") == b"+OK\r\n-ERR EXEC without MULTI\r\n"


@clustered
async def test_valkey_aborts_what_redis_only_refuses(world: World) -> None:
    line = await world.connect()
    world.valkey = True

    got = await line.ask("MULTI", "MULTI", b"SET %b 1" % A, "EXEC")

    assert b"-ERR Command 'multi' not allowed inside a transaction\r\n" in got
    assert b"-EXECABORT" in got


@clustered
async def test_what_is_watched_is_executed_where_it_is_watched(world: World) -> None:
    line = await world.connect()
    runs(world, 0)
    await line.ask(b"GET " + A)

    assert await line.ask(b"WATCH " + A, "MULTI", b"SET %b 1" % A, "EXEC") == (
        b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"
    )
    assert world.nodes[0].seen[-4:] == [b"WATCH " + A, b"MULTI", b"SET %b 1" % A, b"EXEC"]
    assert "lent=0 warm=1" in repr(world.cluster.pool("n", 1))


@clustered
async def test_a_lost_lane_means_that_a_key_may_have_changed(world: World) -> None:
    line = await world.connect()
    await line.ask(b"WATCH " + A)
    world.nodes[0].lose()

    assert await line.ask("MULTI", b"SET %b 1" % A, "EXEC") == b"+OK\r\n+QUEUED\r\n" + NIL
    assert world.nodes[0].seen == [b"WATCH " + A]


@clustered
async def test_a_slot_that_left_means_that_a_key_may_have_changed(world: World) -> None:
    line = await world.connect()
    await line.ask(b"WATCH " + A)
    world.nodes[0].say(b"SET", b"-MOVED 100 n:2\r\n")
    world.nodes[0].say(b"EXEC", b"-EXECABORT Transaction discarded\r\n")

    assert (await line.ask("MULTI", b"SET %b 1" % A, "EXEC")).endswith(NIL)


@clustered
async def test_another_refusal_is_the_clients_to_know(world: World) -> None:
    line = await world.connect()
    await line.ask(b"WATCH " + A)
    world.nodes[0].say(b"SET", b"-NOPERM no\r\n")
    world.nodes[0].say(b"EXEC", b"-EXECABORT Transaction discarded\r\n")

    assert (await line.ask("MULTI", b"SET %b 1" % A, "EXEC")).endswith(
        b"-EXECABORT Transaction discarded\r\n"
    )


@clustered
async def test_a_transaction_that_may_have_run_is_no_nil(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"MULTI", None)
    await line.ask(b"WATCH " + A, "MULTI", b"SET %b 1" % A, "EXEC")
    world.nodes[0].lose()

    assert (await line.heard()).startswith(b"-UPSTREAM")


@clustered
async def test_a_watch_goes_to_where_the_slot_is(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"WATCH", b"-ASK 100 n:2\r\n")
    runs(world, 1)

    got = await line.ask(b"WATCH " + A, "MULTI", b"SET %b 1" % A, "EXEC")

    assert got.endswith(b"*1\r\n+OK\r\n")
    assert world.nodes[1].seen == [
        b"ASKING", b"WATCH " + A, b"ASKING", b"MULTI", b"SET %b 1" % A, b"EXEC"
    ]  # fmt: skip


@clustered
async def test_only_what_is_watched_is_asked_for_where_the_slot_is_to_come(world: World) -> None:
    """Another key may be at the old node still: here it would be made a second time."""
    world.nodes[0].say(b"WATCH", b"-ASK 100 n:2\r\n")
    runs(world, 1)
    other = b"%b-other" % A

    for watched, queued in (
        ((A,), (A, other)),
        ((A,), (other,)),
        ((A, other), (A,)),
    ):
        line = await world.connect()
        for each in watched:
            assert await line.ask(b"WATCH " + each) == b"+OK\r\n"
        await line.ask("MULTI", *(b"SET %b 1" % each for each in queued))
        assert await line.ask("EXEC") == NIL
    assert not any(b"MULTI" in line or other in line for line in world.nodes[1].seen)

    line = await world.connect()
    await line.ask(b"WATCH %b %b" % (A, other), b"WATCH " + A, "MULTI", b"SET %b 1" % other)
    assert await line.ask("PING", "EXEC") == b"+QUEUED\r\n*1\r\n+OK\r\n"


@clustered
async def test_a_watch_that_nobody_answered_is_asked_again(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"WATCH", None, b"+OK\r\n")
    await line.ask(b"WATCH " + A)
    world.nodes[0].lose()

    assert await line.heard(0.5) == b"+OK\r\n"


@clustered
async def test_keys_of_two_slots_are_not_watched(world: World) -> None:
    line = await world.connect()

    assert (await line.ask(b"WATCH %b %b" % (A, B))).startswith(b"-CROSSSLOT")
    assert await line.ask(b"WATCH " + A) == b"+OK\r\n"
    assert (await line.ask(b"WATCH " + B)).startswith(b"-CROSSSLOT")
    assert await line.ask("UNWATCH") == b"+OK\r\n"
    assert await line.ask(b"WATCH " + B) == b"+OK\r\n"
    assert world.nodes[0].seen == [b"WATCH " + A, b"UNWATCH"]
    assert "lent=0 warm=1" in repr(world.cluster.pool("n", 1))


@clustered
async def test_a_script_that_was_loaded_is_loaded_before_each_transaction_that_calls_it(
    world: World,
) -> None:
    line = await world.connect()
    world.cluster.scripts.saw([b"SCRIPT", b"LOAD", b"return"])
    sha = sha1(b"return", usedforsecurity=False).hexdigest().encode()
    call = b"EVALSHA %b 1 %b" % (sha, A)
    world.nodes[0].say(b"EVALSHA", b"+QUEUED\r\n")
    world.nodes[0].say(b"SCRIPT", b"$40\r\n%b\r\n" % sha)
    runs(world, 0)
    await line.ask(b"GET " + A)
    world.nodes[0].seen.clear()

    assert (await line.ask("MULTI", call, "EXEC")).endswith(b"*1\r\n+OK\r\n")
    assert world.nodes[0].seen == [b"SCRIPT LOAD return", b"MULTI", call, b"EXEC"]
    world.nodes[0].seen.clear()
    assert (await line.ask(b"WATCH " + A, "MULTI", call, "EXEC")).endswith(b"*1\r\n+OK\r\n")
    assert world.nodes[0].seen[-4:] == [b"SCRIPT LOAD return", b"MULTI", call, b"EXEC"]
