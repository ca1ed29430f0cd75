"""Exact orders: what the server says, when, and what a flight makes of it."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import pytest
from nearhit.proxy.errors import (
    BadInput,
    CacheBusy,
    LoadError,
    LoadTimeout,
    NoLoader,
    NotServed,
    ProxyError,
    ServerError,
    UpstreamDown,
    UpstreamLost,
)
from nearhit.proxy.keys.captures import TagTemplate
from nearhit.proxy.loading.flights import JITTER, jittered
from nearhit.proxy.loading.source import Loaded, SourceError

from tests.fakes import settle
from tests.seen import Seen
from tests.unit.loading.air import (
    HELD,
    KEY,
    LEASE,
    LEASED,
    Air,
    air,
    failure,
)

# --- One load ---------------------------------------------------------------------------------


async def test_a_miss_is_loaded_under_a_lease_and_stored_with_its_ttl() -> None:
    async with air(ttl=60.0) as here:
        caller = here.load()
        take = await here.server.answer("take", LEASED)
        await here.loaded(b"v")
        fill = await here.server.answer("fill", 1)

        assert await caller == b"v"
        assert take.keys == fill.keys == (KEY, LEASE)
        token, value, option, ms, digest = fill.args
        assert (token, value, option, digest) == (take.args[0], b"v", b"PX", b"")
        assert 54_000 <= int(ms) <= 66_000
        assert take.args[1] == b"7000"
        assert here.counts["loads"] == 1


async def test_many_callers_wait_for_one_load() -> None:
    async with air() as here:
        callers = [here.load() for _ in range(5)]
        await here.server.answer("take", LEASED)
        late = here.load()
        await settle()
        assert here.server.quiet
        await here.loaded()
        await here.server.answer("fill", 1)

        assert await asyncio.gather(*callers, late) == [b"v"] * 6
        assert len(here.source.loads) == 1
        assert here.counts["coalesced"] == 5


async def test_what_another_has_filled_meanwhile_is_the_answer() -> None:
    async with air() as here:
        caller = here.load()
        await here.server.answer("take", [1, b"there"])

        assert await caller == b"there"
        assert not here.source.loads


async def test_no_loader_asks_nothing() -> None:
    async with air() as here:
        assert str(await failure(here.load(b"other"), NoLoader)) == (
            "NOLOADER no loader matches 'other'"
        )
        assert here.server.quiet


@pytest.mark.parametrize("negative_ttl", [5.0, 0.001])
async def test_no_such_thing_is_remembered_for_its_time(negative_ttl: float) -> None:
    async with air(negative_ttl=negative_ttl) as here:
        caller = await here.loading()
        await here.loaded(None)
        settled = await here.server.answer("settle", 1)

        assert await caller is None
        assert settled.args[1:3] == (b"n", b"%d" % round(negative_ttl * 1000))


async def test_a_memory_that_there_is_nothing_is_the_answer() -> None:
    async with air() as here:
        caller = here.load()
        await here.server.answer("take", [4])

        assert await caller is None
        assert here.counts["negative_hits"] == 1
        assert not here.source.loads


@pytest.mark.parametrize(
    ("loaded", "words"),
    [
        (Loaded(b"v", None, True), (b"", b"")),
        (Loaded(b"v", 1234, True), (b"PX", b"1234")),
        (Loaded(b"v", 0, True), None),
    ],
)
async def test_a_source_that_knows_the_ttl_is_taken_at_its_word(
    loaded: Loaded, words: tuple[bytes, bytes] | None
) -> None:
    async with air() as here:
        caller = await here.loading()
        here.source.loads[0].set_result(loaded)
        if words is None:
            await here.server.answer("settle", 1)
        else:
            fill = await here.server.answer("fill", 1)
            assert fill.args[2:4] == words

        assert await caller == b"v"


def test_jitter_stays_within_a_tenth_and_is_never_nothing() -> None:
    found = {jittered(1000) for _ in range(2000)}

    assert min(found) >= 1000 * (1 - JITTER)
    assert max(found) <= 1000 * (1 + JITTER)
    assert len(found) > 100
    assert (jittered(1), jittered(0)) == (1, 0)


# --- Failures ---------------------------------------------------------------------------------


async def test_a_failure_is_told_to_all_and_remembered() -> None:
    async with air(backoff=2.0) as here:
        callers = [here.load(), here.load()]
        await here.server.answer("take", LEASED)
        here.source.loads[0].set_exception(SourceError("no\r\ndatabase"))
        settled = await here.server.answer("settle", 1)

        for caller in callers:
            assert (
                await failure(caller, LoadError)
            ).line == b"-LOADERR loader 'x': no database\r\n"
        assert settled.args[1:3] == (b"eLOADERR loader 'x': no database", b"2000")
        assert here.counts["load_failures"] == 1


async def test_a_failure_that_is_remembered_is_the_answer() -> None:
    async with air() as here:
        caller = here.load()
        await here.server.answer("take", [5, b"LOADERR loader 'x': why"])

        assert (await failure(caller, ProxyError)).line == b"-LOADERR loader 'x': why\r\n"
        assert not here.source.loads


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"LOADERR x\r\n$3\r\nbad", b"-LOADERR x $3 bad\r\n"),
        (b"LOADTIMEOUT loader 'x': no", b"-LOADTIMEOUT loader 'x': no\r\n"),
        (b"LOADERR " + b"x" * 5000, b"-LOADERR " + b"x" * 1016 + b"\r\n"),
        *(
            (text, b"-LOADERR loader 'x': it has failed lately\r\n")
            for text in (
                b"MOVED 1 10.0.0.1:6379",
                b"ASK 1 10.0.0.1:6379",
                b"NOAUTH",
                b"ERR x\r\n+OK",
                b"loaderr x",
                b"LOADERR",
                b"",
            )
        ),
    ],
)
async def test_what_somebody_wrote_into_the_memory_is_no_more_than_a_failed_load(
    text: bytes, line: bytes
) -> None:
    async with air() as here:
        caller = here.load()
        await here.server.answer("take", [5, text])

        assert (await failure(caller, ProxyError)).line == line


async def test_a_load_that_hangs_is_ended_and_told_to_all() -> None:
    async with air(timeout=0.02) as here:
        callers = [here.load(), here.load()]
        await here.server.answer("take", LEASED)
        with pytest.raises(asyncio.CancelledError):
            await here.source.loads[0]
        settled = await here.server.answer("settle", 1)

        line = b"-LOADTIMEOUT loader 'x': no answer in 20 ms\r\n"
        assert {(await failure(caller, LoadTimeout)).line for caller in callers} == {line}
        assert settled.args[1] == b"e" + line[1:-2]
        assert here.counts["load_timeouts"] == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_defect_in_a_source_is_told_and_the_lease_given_up() -> None:
    async with air() as here:
        caller = await here.loading()
        here.source.loads[0].set_exception(RuntimeError("a defect"))
        settled = await here.server.answer("settle", 1)

        await failure(caller, LoadError)
        assert settled.args[1] == b""


@pytest.mark.parametrize("raised", [GeneratorExit(), KeyboardInterrupt()])
async def test_whatever_a_source_raises_is_a_failure_that_is_remembered_and_told_once(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async with air() as here:
        here.source.raised = raised
        caller = here.load()
        await here.server.answer("take", LEASED)
        settled = await here.server.answer("settle", 1)

        line = f"LOADERR loader 'x': {type(raised).__name__}"
        assert str(await failure(caller, LoadError)) == line
        assert settled.args[1] == b"e" + line.encode()
        assert int(settled.args[2]) > 0
        assert here.counts["load_failures"] == 1
        assert [record.getMessage() for record in caplog.records] == ["loader fails"]


NO_WRITES = [b"READONLY You can't write against a read only replica.", b"OOM no memory", b"MISCONF"]


@pytest.mark.parametrize("why", NO_WRITES)
@pytest.mark.parametrize("value", [b"v", None])
async def test_a_server_that_takes_no_writes_leaves_the_answer_to_the_loader(
    why: bytes, value: bytes | None
) -> None:
    async with air() as here:
        callers = [here.load(), here.load()]
        (await here.server.next("take")).lose(ServerError(b"-" + why))
        await settle()
        await here.loaded(value)

        assert [await caller for caller in callers] == [value] * 2
        assert len(here.source.loads) == 1
        assert here.server.quiet
        assert here.counts["loads"] == here.counts["unstored"] == 1
        assert here.idle


async def test_a_loader_that_fails_without_a_lease_is_told_too() -> None:
    async with air() as here:
        caller = here.load()
        (await here.server.next("take")).lose(ServerError(b"-READONLY"))
        await settle()
        here.source.loads[0].set_exception(SourceError("no"))

        await failure(caller, LoadError)
        assert here.counts["load_failures"] == 1
        assert here.server.quiet


async def test_warming_a_server_that_takes_no_writes_is_an_error_and_loads_nothing() -> None:
    async with air() as here:
        caller = here.call(here.flights.warm(KEY, None, None, False))
        (await here.server.next("take")).lose(ServerError(b"-READONLY no"))

        await failure(caller, ServerError)
        assert not here.source.loads


async def test_an_error_of_the_server_is_told_as_it_is() -> None:
    async with air() as here:
        caller = here.load()
        (await here.server.next("take")).lose(ServerError(b"-WRONGTYPE Operation\r\n"))

        assert (await failure(caller, ServerError)).line == b"-WRONGTYPE Operation\r\n"


@pytest.mark.parametrize("reply", [0, ServerError(b"-OOM command not allowed\r\n")])
async def test_a_fill_that_is_refused_costs_no_caller_its_value(reply: int | ProxyError) -> None:
    async with air() as here:
        caller = await here.loading()
        await here.loaded()
        fill = await here.server.next("fill")
        if isinstance(reply, ProxyError):
            fill.lose(reply)
        else:
            fill.arrive(reply)

        assert await caller == b"v"
        counted = "unstored" if isinstance(reply, ProxyError) else "fills_refused"
        assert here.counts["unstored"] + here.counts["fills_refused"] == here.counts[counted] == 1


async def test_a_loader_that_does_not_fail_open_has_the_servers_error() -> None:
    async with air(fail_open=False) as here:
        caller = here.load()
        (await here.server.next("take")).lose(ServerError(b"-OOM no memory"))
        assert (await failure(caller, ServerError)).line == b"-OOM no memory\r\n"
        assert not here.source.loads

        caller = await here.loading()
        await here.loaded()
        (await here.server.next("fill")).lose(ServerError(b"-OOM no memory"))
        assert (await failure(caller, ServerError)).line == b"-OOM no memory\r\n"
        assert not here.counts["unstored"]


# --- Writes -----------------------------------------------------------------------------------


async def test_a_push_for_the_key_while_it_loads_forbids_to_store() -> None:
    async with air() as here:
        caller = await here.loading()
        here.scope.push(KEY)
        await here.loaded()
        settled = await here.server.answer("settle", 1)

        assert await caller == b"v"
        assert settled.args[1] == b""
        assert here.counts["fills_refused"] == 1


async def test_a_push_right_behind_the_reply_that_gave_the_lease_counts() -> None:
    async with air() as here:
        caller = here.load()
        (await here.server.next("take")).arrive(LEASED)
        here.scope.push(KEY)  # in the same read: the flight has not gone on yet
        await settle()
        await here.loaded()
        await here.server.answer("settle", 1)

        assert await caller == b"v"


async def test_a_push_before_the_lease_is_given_does_not_count() -> None:
    async with air() as here:
        caller = here.load()
        await settle()
        here.scope.push(KEY)
        await here.server.answer("take", LEASED)
        here.scope.push(LEASE)
        await here.loaded()
        taken = here.server.asked[0].name if here.server.asked else ""

        # Too careful is allowed, as long as the answer comes.
        assert taken in ("fill", "settle")
        await here.server.answer(taken, 1)
        assert await caller == b"v"


async def test_a_push_between_fill_and_its_reply_takes_the_fill_back() -> None:
    async with air() as here:
        caller = await here.loading()
        await here.loaded(b"stale")
        fill = await here.server.next("fill")
        here.scope.push(KEY)
        fill.arrive(1)
        undo = await here.server.answer("undo", 1)

        assert undo.keys == (KEY,)
        assert undo.args == (b"stale",)
        assert await caller == b"stale"
        assert here.counts["fills_refused"] == 1


async def test_the_push_for_our_own_fill_behind_its_reply_takes_nothing_back() -> None:
    async with air() as here:
        caller = await here.loading()
        await here.loaded()
        fill = await here.server.next("fill")
        fill.arrive(1)
        here.scope.push(LEASE)
        here.scope.push(KEY)  # in the same read
        await settle()

        assert await caller == b"v"
        assert here.server.quiet
        assert not here.counts["fills_refused"]


async def test_a_push_for_the_lease_alone_leaves_the_decision_to_the_server() -> None:
    async with air() as here:
        caller = await here.loading()
        here.scope.push(LEASE)
        await here.loaded()
        await here.server.answer("fill", 0)

        assert await caller == b"v"
        assert here.server.quiet


async def test_a_lane_that_is_lost_while_it_loads_forbids_to_store() -> None:
    async with air() as here:
        caller = await here.loading()
        here.scope.drop()
        await here.loaded()
        await here.server.answer("settle", 0)

        assert await caller == b"v"
        assert here.counts["fills_refused"] == 1


async def test_a_fill_whose_outcome_is_unknown_is_taken_back() -> None:
    async with air() as here:
        caller = await here.loading()
        await here.loaded(b"v")
        fill = await here.server.next("fill")
        here.scope.drop()
        fill.lose(UpstreamLost("cut"))

        assert await caller == b"v"
        await here.server.answer("settle", 0)
        undo = await here.server.answer("undo", 1)
        assert undo.args == (b"v",)


async def test_a_lease_whose_grant_was_lost_is_given_up() -> None:
    async with air(fail_open=False) as here:
        caller = here.load()
        take = await here.server.next("take")
        here.scope.drop()
        take.lose(UpstreamLost("cut"))

        assert (await failure(caller, ProxyError)).line.startswith(b"-UPSTREAM")
        settled = await here.server.answer("settle", 1)
        assert settled.args[0] == take.args[0]


@pytest.mark.parametrize("why", [UpstreamLost("cut"), UpstreamDown("refused")])
async def test_where_the_server_goes_away_the_loader_answers_alone(why: ProxyError) -> None:
    async with air() as here:
        callers = [here.load(), here.load()]
        take = await here.server.next("take")
        take.lose(why)
        await settle()
        if why.outcome_unknown:
            await here.server.answer("settle", 1)
        await here.loaded(b"v")

        assert await asyncio.gather(*callers) == [b"v", b"v"]
        assert (here.counts["unstored"], here.counts["loads"]) == (1, 1)
        assert here.server.quiet


async def test_of_a_server_that_is_away_nothing_is_asked() -> None:
    async with air() as here:
        here.scope.away = True
        assert here.flights.alone(KEY)
        assert not here.flights.alone(b"nobody's")
        callers = [here.load() for _ in range(5)]
        await settle()
        await here.loaded(b"v")

        assert await asyncio.gather(*callers) == [b"v"] * 5
        assert here.server.quiet
        assert (here.counts["unstored"], here.counts["coalesced"]) == (1, 4)


async def test_without_fail_open_a_server_that_is_away_is_asked() -> None:
    async with air(fail_open=False) as here:
        here.scope.away = True
        assert not here.flights.alone(KEY)
        caller = here.load()
        (await here.server.next("take")).lose(UpstreamDown("refused"))

        await failure(caller, UpstreamDown)
        assert not here.source.loads


async def test_a_value_is_stored_for_its_ttl_and_its_grace() -> None:
    async with air(ttl=60.0, grace=10.0) as here:
        caller = await here.loading()
        await here.loaded(b"v", ttl_ms=5_000, exact=True)
        assert (await here.server.answer("fill", 1)).args[2:4] == (b"PX", b"15000")
        assert await caller == b"v"
        caller = await here.loading()
        await here.loaded(b"v", exact=True)
        assert (await here.server.answer("fill", 1)).args[2:4] == (b"", b"")  # for ever
        assert await caller == b"v"


@pytest.mark.parametrize("how", ["push", "push of the lease", "void", "pattern", "drop"])
async def test_who_asks_behind_a_write_joins_no_older_load(how: str) -> None:
    async with air() as here:
        older = await here.loading()
        if how == "void":
            here.writes.passed([b"k0", KEY])
        elif how == "pattern":
            await here.writes.passed_matching(re.compile(rb"k."))
        elif how == "drop":
            here.scope.drop()
        else:
            here.scope.push(KEY if how == "push" else LEASE)
        newer = here.load()
        await here.server.answer("take", LEASED)
        assert len(here.source.loads) == 2
        here.source.loads[1].set_result(Loaded(b"new"))
        await here.server.answer("fill", 1)
        assert await newer == b"new"
        here.source.loads[0].set_result(Loaded(b"old"))
        await settle()
        for asked in here.server.asked:
            asked.arrive(0)

        assert await older == b"old"


async def test_a_void_of_other_keys_leaves_the_load_joinable() -> None:
    async with air() as here:
        first = await here.loading()
        here.writes.passed([b"k2"])
        await here.writes.passed_matching(re.compile(rb"other.*"))
        second = here.load()
        await settle()
        assert here.server.quiet
        await here.loaded()
        await here.server.answer("fill", 1)

        assert await asyncio.gather(first, second) == [b"v", b"v"]


async def test_an_older_load_that_ends_leaves_the_newer_one_joinable() -> None:
    async with air() as here:
        older = await here.loading()
        here.writes.passed([KEY])
        newer = here.load()
        await here.server.answer("take", LEASED)
        here.source.loads[0].set_result(Loaded(b"old"))
        await here.server.answer("settle", 1)  # it is not even tried
        assert await older == b"old"
        third = here.load()
        await settle()

        assert here.server.quiet
        here.source.loads[1].set_result(Loaded(b"new"))
        await here.server.answer("fill", 1)
        assert await asyncio.gather(newer, third) == [b"new", b"new"]


# --- Waiting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, LEASE])
async def test_a_push_wakes_who_waits_for_anothers_load(key: bytes) -> None:
    async with air() as here:
        caller = here.load()
        await here.server.answer("take", HELD)
        assert here.server.quiet
        here.scope.push(key)
        await here.server.answer("take", [1, b"filled"])

        assert await caller == b"filled"


async def test_what_was_heard_before_a_later_attempt_counts_no_more() -> None:
    async with air() as here:
        caller = here.load()
        await here.server.answer("take", HELD)
        here.scope.push(KEY)
        await here.server.answer("take", HELD)
        assert here.server.quiet  # it waits for more, rather than ask all the time

        here.scope.push(LEASE)
        await here.server.answer("take", LEASED)
        await here.loaded()
        await here.server.answer("fill", 1)

        assert await caller == b"v"


async def test_a_push_in_one_read_with_the_reply_wakes_too() -> None:
    async with air() as here:
        caller = here.load()
        (await here.server.next("take")).arrive(HELD)
        here.scope.push(LEASE)
        await here.server.answer("take", [1, b"filled"])

        assert await caller == b"filled"


async def test_a_lost_lane_wakes_who_waits() -> None:
    async with air() as here:
        caller = here.load()
        await here.server.answer("take", HELD)
        here.scope.drop()
        await here.server.answer("take", [1, b"filled"])

        assert await caller == b"filled"


async def test_a_lease_that_is_due_to_end_is_looked_at_though_nothing_is_told() -> None:
    async with air() as here:
        caller = here.load()
        await here.server.answer("take", [3, 1])
        async with asyncio.timeout(5):
            while here.server.quiet:
                await asyncio.sleep(0)
        await here.server.answer("take", LEASED)
        await here.loaded()
        await here.server.answer("fill", 1)

        assert await caller == b"v"


async def test_without_tracking_a_timer_looks_again() -> None:
    async with air() as here:
        here.scope.tracking = False
        caller = here.load()
        await here.server.answer("take", HELD)
        async with asyncio.timeout(5):  # HELD says: a minute
            while here.server.quiet:
                await asyncio.sleep(0)
        await here.server.answer("take", [1, b"filled"])

        assert await caller == b"filled"


async def test_waiting_for_anothers_load_ends() -> None:
    async with air(timeout=5.0, lease=7.0) as here:
        caller = here.load()
        await here.server.answer("take", HELD)
        here.now = 12.1
        here.scope.push(LEASE)
        await settle()
        if not here.server.quiet:  # a last look
            await here.server.answer("take", HELD)

        assert isinstance(await failure(caller, ProxyError), LoadTimeout | CacheBusy)


async def test_a_caller_that_leaves_ends_no_load() -> None:
    async with air() as here:
        leaving = await here.loading()
        staying = here.load()
        await settle()
        leaving.cancel()
        await settle()
        await here.loaded()
        await here.server.answer("fill", 1)

        assert leaving.cancelled()
        assert await staying == b"v"


async def test_a_load_that_all_have_left_is_stored() -> None:
    async with air() as here:
        leaving = await here.loading()
        leaving.cancel()
        await settle()
        await here.loaded()
        fill = await here.server.answer("fill", 1)

        assert fill.args[1] == b"v"


async def test_the_end_of_the_process_gives_the_lease_up() -> None:
    async with air() as here:
        caller = await here.loading()
        here.tasks.running[0].cancel()
        settled = await here.server.answer("settle", 1)

        await failure(caller, CacheBusy)
        assert settled.args[1] == b""


# --- Bounds -----------------------------------------------------------------------------------


async def test_callers_beyond_the_bound_are_refused_and_start_nothing() -> None:
    async with air(max_waiters=2) as here:
        callers = [here.load(b"k1"), here.load(b"k2")]
        await settle()
        refused = here.load(b"k3")
        error = await failure(refused, CacheBusy)
        await settle()

        assert error.line.startswith(b"-CACHEBUSY 2 callers wait")
        assert [asked.keys[0] for asked in here.server.asked] == [b"k1", b"k2"]
        for _ in callers:
            await here.server.answer("take", [1, b"there"])
        assert await asyncio.gather(*callers) == [b"there"] * 2
        again = here.load(b"k3")
        await here.server.answer("take", [1, b"there"])
        assert await again == b"there"


async def test_a_loader_without_room_is_waited_for_and_then_busy() -> None:
    async with air(concurrency=1, timeout=0.01, lease=0.02) as here:
        first = here.load(b"k1")
        take = await here.server.next("take")
        second = here.load(b"k2")
        error = await failure(second, CacheBusy)

        assert error.line.startswith(b"-CACHEBUSY loader 'x': 1 loads run (concurrency)")
        assert here.server.quiet
        take.arrive([1, b"there"])
        assert await first == b"there"


async def test_who_waits_for_anothers_load_leaves_its_place_to_others() -> None:
    async with air(concurrency=1) as here:
        first = here.load(b"k1")
        await here.server.answer("take", HELD)
        second = here.load(b"k2")
        await here.server.answer("take", [1, b"there"])

        assert await second == b"there"
        first.cancel()


# --- Warming ----------------------------------------------------------------------------------


async def test_warm_says_what_it_did() -> None:
    async with air() as here:
        for reply, value, how in (
            ([1, None], None, "skipped"),
            ([4], None, "not_found"),
            (LEASED, b"v", "loaded"),
            (LEASED, None, "not_found"),
        ):
            caller = here.call(here.flights.warm(KEY, None, None, False))
            take = await here.server.answer("take", reply)
            assert take.args[2:] == (b"", b"quiet")
            if reply is LEASED:
                await here.loaded(value)
                await here.server.answer("fill" if value else "settle", 1)
            assert await caller == how


async def test_warm_refresh_stores_over_the_value_that_stood_when_it_began() -> None:
    async with air() as here:
        caller = here.call(here.flights.warm(KEY, "x", 1000, True))
        take = await here.server.answer("take", [2, b"digest"])
        await here.loaded()
        fill = await here.server.answer("fill", 1)

        assert await caller == "loaded"
        assert take.args[2] == b"fresh"
        assert fill.args[4] == b"digest"
        assert 900 <= int(fill.args[3]) <= 1100


async def test_a_refresh_asks_whether_the_value_that_stands_still_holds() -> None:
    async with air() as here:
        here.source.confirmable = b"digest"
        caller = here.call(here.flights.warm(KEY, "x", 1000, True))
        await here.server.answer("take", [2, b"digest"])
        get = await here.server.answer("GET", b"v")
        await here.loaded(b"v", not_modified=True)
        fill = await here.server.answer("fill", 1)

        assert await caller == "loaded"
        assert get.keys == (KEY,)
        assert here.source.known == [b"v"]
        assert (fill.args[1], fill.args[4]) == (b"v", b"digest")
        assert (here.counts["loads"], here.counts["not_modified"]) == (1, 1)


@pytest.mark.parametrize("digest", [b"", b"another's"])
async def test_what_the_loader_did_not_bring_is_loaded_whole(digest: bytes) -> None:
    async with air() as here:
        here.source.confirmable = b"digest"
        caller = here.call(here.flights.warm(KEY, "x", None, True))
        await here.server.answer("take", [2, digest])
        await here.loaded()
        await here.server.answer("fill", 1)

        assert await caller == "loaded"
        assert here.source.known == []
        assert "not_modified" not in here.counts


@pytest.mark.parametrize("answer", [None, ServerError(b"-WRONGTYPE no\r\n")])
async def test_a_value_that_goes_before_it_is_read_is_loaded_whole(answer: object) -> None:
    async with air() as here:
        here.source.confirmable = b"digest"
        caller = here.call(here.flights.warm(KEY, "x", None, True))
        await here.server.answer("take", [2, b"digest"])
        get = await here.server.next("GET")
        if isinstance(answer, ProxyError):
            get.lose(answer)
        else:
            get.arrive(answer)
        await settle()
        await here.loaded()
        await here.server.answer("fill", 1)

        assert await caller == "loaded"
        assert here.source.known == []


async def test_a_confirmed_value_is_not_stored_over_a_write_meanwhile() -> None:
    async with air() as here:
        here.source.confirmable = b"digest"
        caller = here.call(here.flights.warm(KEY, "x", None, True))
        await here.server.answer("take", [2, b"digest"])
        await here.server.answer("GET", b"v")
        here.scope.push(KEY)
        await here.loaded(b"v", not_modified=True)
        settled = await here.server.answer("settle", 1)

        assert await caller == "loaded"
        assert settled.args[1] == b""
        assert here.counts["fills_refused"] == 1


async def test_a_server_that_does_not_give_the_value_costs_the_loads_time_and_no_more() -> None:
    async with air(timeout=0.01) as here:
        here.source.confirmable = b"digest"
        caller = here.call(here.flights.warm(KEY, "x", None, True))
        await here.server.answer("take", [2, b"digest"])
        await here.server.next("GET")
        while here.server.quiet:
            await asyncio.sleep(0)
        await here.server.answer("settle", 1)

        await failure(caller, LoadTimeout)


async def test_warm_with_a_loader_that_is_not_there_is_refused() -> None:
    async with air() as here:
        await failure(here.call(here.flights.warm(KEY, "nosuch", None, False)), BadInput)
        await failure(here.call(here.flights.warm(b"other", None, None, False)), NoLoader)
        assert here.server.quiet


# --- Tags -------------------------------------------------------------------------------------

TAGGED: Final[dict[str, Any]] = {"tags": (TagTemplate.parse("of {id}"),)}
EPOCH: Final = b"tagepoch:{of 1}"


async def begun(here: Air, epoch: bytes = b"") -> asyncio.Task[Any]:
    """A load that runs, of a key that has a tag."""
    caller = here.load()
    await here.server.answer("take", LEASED)
    assert (await here.server.answer("tag_read", epoch)).keys == (EPOCH,)
    return caller


async def test_a_key_is_attached_to_its_tags_and_then_stored() -> None:
    async with air(ttl=60.0, **TAGGED) as here:
        caller = await begun(here, b"7")
        here.now = 3.0
        await here.loaded()
        add = await here.server.answer("tag_add", [b"7", 5])
        fill = await here.server.answer("fill", 1)

        assert await caller == b"v"
        assert add.keys == (b"tag:{of 1}", EPOCH)
        assert add.args[0] == b"1000"
        assert add.args[2:] == (KEY, *fill.args[2:4])  # for the same time
        # Of the 7 s of the lease 3 are gone, and the way from there to here takes 1 at most.
        assert fill.args[5:] == (b"3010",)


async def test_a_short_lease_is_all_the_time_there_is() -> None:
    async with air(timeout=0.1, lease=0.5, **TAGGED) as here:
        caller = await begun(here)
        here.now = 0.1
        await here.loaded()
        add = await here.server.answer("tag_add", [b"", -1])
        fill = await here.server.answer("fill", 1)

        assert await caller == b"v"
        assert (add.args[0], fill.args[5:]) == (b"500", ())


async def test_a_tag_that_was_invalidated_while_it_loaded_refuses_the_value() -> None:
    async with air(**TAGGED) as here:
        caller = await begun(here, b"7")
        await here.loaded()
        await here.server.answer("tag_add", [b"8", 0])
        settled = await here.server.answer("settle", 1)

        assert await caller == b"v"
        assert settled.args[1] == b""
        assert here.counts["fills_refused"] == 1
        assert here.server.quiet


@pytest.mark.parametrize("how", ["push", "here"])
async def test_who_asks_behind_an_invalidation_of_a_tag_joins_no_older_load(how: str) -> None:
    async with air(**TAGGED) as here:
        older = await begun(here)
        if how == "push":
            here.scope.push(EPOCH)
        else:
            here.writes.passed_tags([b"another", b"of 1"])
        newer = here.load()
        await here.server.answer("take", HELD)
        await here.loaded(b"old")
        # It is known already: the key is not even attached.
        await here.server.answer("settle", 1)
        assert await older == b"old"

        here.scope.push(LEASE)
        await here.server.answer("take", LEASED)
        await here.server.answer("tag_read", b"8")
        await here.loaded(b"new")
        await here.server.answer("tag_add", [b"8", 1])
        await here.server.answer("fill", 1)
        assert await newer == b"new"


async def test_other_tags_leave_the_load_joinable() -> None:
    async with air(**TAGGED) as here:
        one = await begun(here)
        here.writes.passed_tags([b"of 2"])
        other = here.load()
        await here.loaded()
        await here.server.answer("tag_add", [b"", -1])
        await here.server.answer("fill", 1)

        assert (await one, await other) == (b"v", b"v")
        assert here.counts["loads"] == 1


@pytest.mark.parametrize("why", [UpstreamLost("s"), ServerError(b"-NOPERM\r\n")])
async def test_an_epoch_that_cannot_be_read_ends_the_load_and_gives_the_lease_up(
    why: ProxyError,
) -> None:
    async with air(**TAGGED, fail_open=not isinstance(why, UpstreamLost)) as here:
        caller = here.load()
        await here.server.answer("take", LEASED)
        (await here.server.next("tag_read")).lose(why)
        await here.server.answer("settle", 1)

        await failure(caller, type(why))


async def test_where_the_server_goes_away_under_a_lease_the_loader_answers_alone() -> None:
    async with air(**TAGGED) as here:
        caller = here.load()
        await here.server.answer("take", LEASED)
        (await here.server.next("tag_read")).lose(UpstreamDown("s"))
        await here.server.answer("settle", 1)
        await here.loaded(b"v")

        assert await caller == b"v"
        assert (here.counts["unstored"], here.counts["loads"]) == (1, 1)


async def test_a_fill_that_no_node_takes_is_counted_as_unstored() -> None:
    async with air() as here:
        caller = await here.loading()
        await here.loaded(b"v")
        (await here.server.next("fill")).lose(NotServed(b"-CLUSTERDOWN x\r\n"))
        await here.server.answer("settle", 1)
        await here.server.answer("undo", 0)

        assert await caller == b"v"
        assert (here.counts["unstored"], here.counts["fills_refused"]) == (1, 0)


async def test_what_cannot_be_attached_is_not_stored_and_costs_nobody_its_value() -> None:
    async with air(**TAGGED) as here:
        caller = await begun(here)
        await here.loaded()
        (await here.server.next("tag_add")).lose(ServerError(b"-NOPERM\r\n"))
        await here.server.answer("settle", 1)
        await here.server.answer("undo", 0)

        assert await caller == b"v"
        assert here.counts["fills_refused"] == 1


async def test_warm_adds_tags_and_joins_no_load_that_has_them_not() -> None:
    async with air(**TAGGED) as here:
        plain = await begun(here)
        warm = here.call(here.flights.warm(KEY, None, None, False, [b"mine"]))
        await here.server.answer("take", HELD)
        await here.loaded()
        await here.server.answer("tag_add", [b"", -1])
        await here.server.answer("fill", 1)
        here.scope.push(KEY)
        await here.server.answer("take", LEASED)
        for tag in (b"of 1", b"mine"):
            read = await here.server.answer("tag_read", b"")
            assert read.keys == (b"tagepoch:{%b}" % tag,)
        await here.loaded()
        for _ in range(2):
            await here.server.answer("tag_add", [b"", -1])
        await here.server.answer("fill", 1)

        assert (await plain, await warm) == (b"v", "loaded")


@pytest.mark.parametrize("tags", [[b"%d" % n for n in range(16)], [b"}"]])
async def test_tags_that_cannot_be_kept_fail_the_load_of_their_key(tags: list[bytes]) -> None:
    async with air(**TAGGED) as here:
        error = await failure(here.call(here.flights.warm(KEY, None, None, False, tags)), LoadError)

        assert "tag" in str(error)
        assert here.idle
        assert here.server.quiet


async def test_a_key_has_the_grace_of_its_loader() -> None:
    async with air(grace=2.5) as here:
        assert here.flights.grace_ms(KEY) == 2500
        assert here.flights.grace_ms(b"other") == 0


# --- What is told of loads


@pytest.mark.parametrize(
    ("loaded", "result"),
    [
        (Loaded(b"v"), "success"),
        (Loaded(None), "not_found"),
        (Loaded(b"v", not_modified=True), "not_modified"),
    ],
)
async def test_what_came_of_a_load_is_told_with_its_time(loaded: Loaded, result: str) -> None:
    async with air() as here:
        await here.loading()
        here.now += 0.25
        here.source.loads[0].set_result(loaded)
        await settle()
        await here.server.answer("settle" if loaded.value is None else "fill", 1)

        assert here.loaders.seen == [("x", result, 0.25)]


async def test_a_load_that_fails_is_told_too() -> None:
    async with air() as here:
        caller = await here.loading()
        here.now += 0.5
        here.source.loads[0].set_exception(SourceError("no database"))
        await here.server.answer("settle", 1)
        await failure(caller, LoadError)

        assert here.loaders.seen == [("x", "error", 0.5)]


# --- Traces -----------------------------------------------------------------------------------


async def test_a_load_is_a_span_with_what_came_of_it_and_who_joins_says_so() -> None:
    seen = Seen()
    async with air() as here:
        here.loaders.traces = seen.traces

        async def asks() -> object:
            with seen.traces.command("GETORSET", "GETORSET k1", 0):
                return await here.flights.load(KEY)

        first = here.call(asks())
        await here.server.answer("take", LEASED)
        second = here.call(asks())
        await settle()
        await here.loaded(b"v")
        await here.server.answer("fill", 1)
        assert (await first, await second) == (b"v", b"v")

    load, *commands = seen.spans()
    assert (load.name, (load.attributes or {})["nearhit.load.result"]) == ("load x", "success")
    joined = [(one.attributes or {}).get("nearhit.coalesced", False) for one in commands]
    assert sorted(joined) == [False, True]
    assert load.parent is not None
    assert load.parent.span_id == commands[joined.index(False)].context.span_id
    seen.close()


async def test_a_load_that_takes_too_long_is_an_error_of_its_span() -> None:
    seen = Seen()
    async with air(timeout=0.01) as here:
        here.loaders.traces = seen.traces
        caller = await here.loading()
        await asyncio.wait(here.source.loads)
        await here.server.answer("settle", 1)
        await failure(caller, LoadTimeout)

    assert (seen.named("load x").attributes or {})["error.type"] == "LOADTIMEOUT"
    seen.close()
