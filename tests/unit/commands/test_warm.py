"""WARM: its words, its counts, and what it writes."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.commands import warm
from nearhit.commands.warm import BATCH, ERRORS_MOST, Loads, Values
from nearhit.proxy.custom.words import MS_MAX
from nearhit.proxy.errors import (
    BadInput,
    LoadError,
    NoLoader,
    ProxyError,
    ServerError,
    UpstreamLost,
)

from tests.shelf import Desk, Words, only, pairs


async def settle() -> None:
    """Run the loop until what is ready has run."""
    for _ in range(30):
        await asyncio.sleep(0)


COUNTS = ("requested", "loaded", "skipped", "not_found", "failed")


# --- Words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (b"WARM a", Loads([b"a"])),
        (b"warm a b", Loads([b"a", b"b"])),
        (b"WARM a KEYS b REFRESH", Loads([b"a", b"KEYS", b"b", b"REFRESH"])),
        (b"WARM KEYS a", Loads([b"a"])),
        (b"WARM KEYS KEYS VALUES EX", Loads([b"KEYS", b"VALUES", b"EX"])),
        (b"WARM ex 10 keys a", Loads([b"a"], ttl_ms=10_000)),
        (b"WARM PX 10 REFRESH LOADER users CONCURRENCY 3 KEYS a b",
         Loads([b"a", b"b"], "users", 10, True, 3)),
        (b"WARM CONCURRENCY 1024 KEYS a", Loads([b"a"], concurrency=1024)),
        (b"WARM LOADER KEYS KEYS a", Loads([b"a"], loader="KEYS")),
        (b"WARM TAG t EX 1 tag KEYS TAG t KEYS a",
         Loads([b"a"], ttl_ms=1000, tags=(b"t", b"KEYS"))),
        (b"WARM REFRESH TAG t VALUES TAG 1", Values([b"TAG"], [b"1"], None, True, (b"t",))),
        (b"WARM a TAG t", Loads([b"a", b"TAG", b"t"])),
        (b"WARM VALUES a 1", Values([b"a"], [b"1"])),
        (b"WARM VALUES EX 10", Values([b"EX"], [b"10"])),
        (b"WARM refresh EX 1 VALUES a 1 b 2", Values([b"a", b"b"], [b"1", b"2"], 1000, True)),
    ],
)  # fmt: skip
def test_words_are_read_as_the_contract_says(words: bytes, request_: Loads | Values) -> None:
    assert warm.parse(words.split()) == request_


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (b"WARM", "wrong number of arguments for 'warm' command"),
        (b"WARM KEYS", "wrong number of arguments for 'warm|keys' command"),
        (b"WARM REFRESH KEYS", "wrong number of arguments for 'warm|keys' command"),
        (b"WARM VALUES", "wrong number of arguments for 'warm|values' command"),
        (b"WARM VALUES a", "wrong number of arguments for 'warm|values' command"),
        (b"WARM VALUES a 1 b", "wrong number of arguments for 'warm|values' command"),
        (b"WARM REFRESH", "syntax error"),
        (b"WARM REFRESH a", "syntax error"),
        (b"WARM EX", "syntax error"),
        (b"WARM EX 10", "syntax error"),
        (b"WARM EX 10 a", "syntax error"),
        (b"WARM EX 10 PX 10 KEYS a", "syntax error"),
        (b"WARM EX 10 EX 10 KEYS a", "syntax error"),
        (b"WARM REFRESH REFRESH KEYS a", "syntax error"),
        (b"WARM LOADER x VALUES a 1", "syntax error"),
        (b"WARM CONCURRENCY 2 VALUES a 1", "syntax error"),
        (b"WARM EX 0 KEYS a", "invalid expire time in 'warm' command"),
        (b"WARM PX -1 VALUES a 1", "invalid expire time in 'warm' command"),
        (b"WARM EX 9223372036854775807 KEYS a", "invalid expire time in 'warm' command"),
        (b"WARM EX ten KEYS a", "value is not an integer or out of range"),
        (b"WARM CONCURRENCY many KEYS a", "value is not an integer or out of range"),
        (b"WARM CONCURRENCY 0 KEYS a", "value is out of range, value must between 1 and 1024"),
        (b"WARM CONCURRENCY 1025 KEYS a", "value is out of range, value must between 1 and 1024"),
    ],
)
def test_what_is_wrong_is_said_in_rediss_words(words: bytes, error: str) -> None:
    with pytest.raises(ProxyError) as refused:
        warm.parse(words.split())

    assert str(refused.value) == f"ERR {error}"


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (b"WARM a b", [b"a", b"b"]),
        (b"WARM EX 1 KEYS a", [b"a"]),
        (b"WARM VALUES a 1 b 2", [b"a", b"b"]),
        (b"WARM VALUES a", []),
    ],
)
def test_command_getkeys_learns_the_keys(words: bytes, keys: list[bytes]) -> None:
    assert list(warm.key_names(words.split())) == keys


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        (Values([b"a"], [b"123"]), 5),
        (Values([b"a"] * 1000, [b""] * 1000), 2000),
        (Values([b"a"] * 1001, [b""] * 1001), 0),
        (Loads([b"a"]), 0),
        (Values([b"a"], [b"123"], tags=[b"t"]), 0),
    ],
)
def test_values_that_go_out_as_it_starts_may_be_followed(
    request_: Loads | Values, size: int
) -> None:
    assert warm.sends(request_) == size


# --- Through loaders --------------------------------------------------------------------------


async def test_each_outcome_is_counted_and_no_failure_hurts_another_key() -> None:
    desk = Desk()
    desk.loads.outcomes = {
        b"there": "skipped",
        b"none": "not_found",
        b"bad": LoadError("users", "it broke"),
        b"odd": NoLoader(b"odd"),
    }

    reply = await desk.run(warm, b"WARM", b"a", b"there", b"none", b"bad", b"odd", b"b")

    assert only(reply, *COUNTS) == [6, 2, 1, 1, 2]
    assert reply["errors"] == [
        [b"bad", b"LOADERR loader 'users': it broke"],
        [b"odd", b"NOLOADER no loader matches 'odd'"],
    ]
    assert desk.stats.counts == {"warmed": 2}


async def test_a_key_that_its_user_may_not_write_is_not_told_about_loaders() -> None:
    desk = Desk()
    desk.shelf.forbidden = {b"secret"}
    desk.loads.outcomes = {key: NoLoader(key) for key in (b"secret", b"odd")}

    reply = await desk.run(warm, b"WARM", b"secret", b"odd")

    assert reply["errors"] == [
        [b"secret", b"NOPERM no such key for you"],
        [b"odd", b"NOLOADER no loader matches 'odd'"],
    ]


async def test_the_options_reach_the_loads() -> None:
    desk = Desk()

    await desk.run(warm, *b"WARM PX 50 REFRESH LOADER users KEYS a".split())

    assert desk.loads.asked == [(b"a", "users", 50, True)]
    assert desk.loads.tags == ()


async def test_the_tags_reach_the_loads() -> None:
    desk = Desk()

    await desk.run(warm, *b"WARM TAG t TAG u KEYS a".split())

    assert desk.loads.tags == (b"t", b"u")


async def test_values_with_tags_are_counted_and_spread_as_others() -> None:
    desk = Desk()
    lives: list[bytes] = []
    desk.shelf.scripts |= {
        "tag_read": lambda keys, args: b"",
        "tag_add": lambda keys, args: [b"", -1],
        "settle": lambda keys, args: 1,
        "give": lambda keys, args: lives.append(args[2]) or {b"a": 1, b"b": 0}.get(keys[0], -1),
    }

    reply = await desk.run(warm, *b"WARM PX 1000 TAG t VALUES a 1 b 2 c 3".split())

    assert only(reply, "requested", "loaded", "skipped", "failed") == [3, 1, 1, 1]
    assert reply["errors"] == [
        [b"c", b"ERR not stored: the key or a tag was invalidated meanwhile"],
    ]
    assert all(900 <= int(ms) <= 1100 for ms in lives)
    assert desk.stats.counts == {"warmed": 1}


@pytest.mark.parametrize(("words", "most"), [(b"KEYS", 8), (b"CONCURRENCY 3 KEYS", 3)])
async def test_no_more_loads_run_than_asked_for_and_no_fewer(words: bytes, most: int) -> None:
    desk, gate, running, seen = Desk(), asyncio.Event(), 0, list[int]()

    async def hold(key: bytes) -> None:
        nonlocal running
        running += 1
        seen.append(running)
        await gate.wait()
        running -= 1

    desk.loads.before = hold
    keys = [b"%d" % number for number in range(30)]
    task = asyncio.create_task(desk.run(warm, b"WARM", *words.split(), *keys))
    await settle()
    assert running == most

    gate.set()
    reply = await task

    assert reply["loaded"] == len(keys)
    assert max(seen) == most


async def test_a_slow_key_holds_up_only_one_worker() -> None:
    desk, gate = Desk(), asyncio.Event()

    async def hold(key: bytes) -> None:
        if key == b"slow":
            await gate.wait()

    desk.loads.before = hold
    task = asyncio.create_task(desk.run(warm, *b"WARM CONCURRENCY 2 KEYS slow a b c d".split()))
    await settle()

    assert [asked[0] for asked in desk.loads.asked] == [b"slow", b"a", b"b", b"c", b"d"]
    gate.set()
    assert (await task)["loaded"] == 5


async def test_an_unknown_loader_fails_the_whole() -> None:
    desk = Desk()
    desk.loads.outcomes = dict.fromkeys([b"a", b"b"], BadInput("no loader is called 'x'"))

    with pytest.raises(BadInput, match="no loader is called 'x'"):
        await desk.run(warm, *b"WARM LOADER x KEYS a b".split())


async def test_only_the_first_hundred_failures_are_named() -> None:
    desk = Desk()
    keys = [b"%03d" % number for number in range(ERRORS_MOST + 50)]
    desk.loads.outcomes = {key: LoadError("users", "down") for key in keys}

    reply = await desk.run(warm, b"WARM", *keys)

    assert reply["failed"] == len(keys)
    assert [pair[0] for pair in reply["errors"]] == keys[:ERRORS_MOST]


async def test_the_time_is_told_in_whole_milliseconds() -> None:
    desk = Desk()

    async def take(key: bytes) -> None:
        desk.shelf.clock += 0.0125

    desk.loads.before = take

    assert (await desk.run(warm, b"WARM", b"a", b"b"))["elapsed_ms"] == 25


# --- With values ------------------------------------------------------------------------------


async def test_leases_go_before_values_come_in_one_piece() -> None:
    desk = Desk(b"b")

    reply = await desk.run(warm, b"WARM", b"VALUES", b"a", b"1", b"b", b"2")

    assert desk.journal == [
        ("void", b"a", b"b"),
        (b"DEL", b"lease:{a}", b"lease:{b}"),
        (b"SET", b"a", b"1", b"NX"),
        (b"SET", b"b", b"2", b"NX"),
        ("void", b"a", b"b"),
    ]
    assert len(desk.shelf.pieces) == 1
    assert desk.shelf.held == {b"a": b"1", b"b": b"old"}
    assert only(reply, *COUNTS) == [2, 1, 1, 0, 0]


async def test_refresh_writes_over_what_is_there() -> None:
    desk = Desk(b"a")

    reply = await desk.run(warm, *b"WARM REFRESH PX 5000 VALUES a new".split())

    assert desk.shelf.held == {b"a": b"new"}
    assert only(reply, "loaded", "skipped") == [1, 0]


async def test_times_to_live_are_spread_by_a_tenth_either_way() -> None:
    desk = Desk()
    keys = [b"%04d" % number for number in range(2000)]

    await desk.run(warm, b"WARM", b"EX", b"100", b"VALUES", *pairs(*keys))

    lives = [desk.shelf.px[key] for key in keys]
    assert 90_000 <= min(lives) < 91_000
    assert 109_000 < max(lives) <= 110_000
    assert len(set(lives)) > 150
    assert sum(lives) / len(lives) == pytest.approx(100_000, rel=0.02)


@pytest.mark.parametrize(
    ("ttl", "least", "most"),
    [(1, 1, 1), (5, 4, 6), (MS_MAX - 2**42, 1, MS_MAX - 2**42)],
)
async def test_no_spread_time_to_live_is_one_that_the_server_refuses(
    ttl: int, least: int, most: int
) -> None:
    desk = Desk()
    keys = [b"%04d" % number for number in range(300)]

    await desk.run(warm, b"WARM", b"PX", b"%d" % ttl, b"VALUES", *pairs(*keys))

    assert least <= min(desk.shelf.px.values()) <= max(desk.shelf.px.values()) <= most


async def test_without_a_time_to_live_values_stay() -> None:
    desk = Desk()

    await desk.run(warm, b"WARM", b"VALUES", b"", b"")

    assert desk.shelf.held == {b"": b""}
    assert desk.shelf.px == {}


async def test_many_values_go_in_pieces_of_a_bounded_size() -> None:
    desk = Desk()
    keys = [b"%04d" % number for number in range(2 * BATCH + 1)]

    reply = await desk.run(warm, b"WARM", b"VALUES", *pairs(*keys))

    assert [len(piece) - 1 for piece in desk.shelf.pieces] == [BATCH, BATCH, 1]
    assert only(reply, "requested", "loaded") == [len(keys), len(keys)]


async def test_a_value_that_the_server_refuses_fails_alone() -> None:
    desk = Desk()
    no = ServerError(b"-NOPERM no permissions")
    desk.shelf.refuse = lambda words: no if words[:2] == [b"SET", b"b"] else None

    reply = await desk.run(warm, b"WARM", b"VALUES", *pairs(b"a", b"b", b"c"))

    assert only(reply, *COUNTS) == [3, 2, 0, 0, 1]
    assert reply["errors"] == [[b"b", b"NOPERM no permissions"]]


async def test_a_piece_whose_connection_was_lost_fails_alone() -> None:
    desk = Desk()
    keys = [b"%04d" % number for number in range(2 * BATCH)]

    def lost(piece: list[Words]) -> ProxyError | None:
        return UpstreamLost("cut") if piece[1][1] == keys[0] else None

    desk.shelf.lost = lost
    reply = await desk.run(warm, b"WARM", b"VALUES", *pairs(*keys))

    assert only(reply, *COUNTS) == [2 * BATCH, BATCH, 0, 0, BATCH]
    assert reply["errors"][0] == [keys[0], UpstreamLost("cut").line[1:-2]]
