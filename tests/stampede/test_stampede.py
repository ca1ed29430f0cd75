"""Many callers of one cold key, before two proxies: one load, and everybody is answered."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import Any

import hiredis
import pytest

from .scene import Caller, Callers, Scene, crowd

CROWD = 500


def ports(here: Scene) -> list[int]:
    return [proxy.port for proxy in here.proxies]


def kinds(answers: list[Any]) -> Counter[str]:
    """Errors by their first word, values as they are."""
    return Counter(
        str(one).split()[0] if isinstance(one, hiredis.ReplyError) else str(one) for one in answers
    )


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("read", ["GETORSET", "GET"])
async def test_five_hundred_cold_callers_load_once(two: Scene, read: str) -> None:
    key = f"slow:{read}"

    answers = await crowd(ports(two), CROWD, read, key)

    assert Counter(answers) == {f"value of {read}".encode(): CROWD}
    assert len(two.loads(key)) == 1


async def test_mget_joins_the_load(two: Scene) -> None:
    answers = await crowd(ports(two), 50, "MGET", "slow:m1", "nothing", "slow:m2")

    assert Counter(map(tuple, answers)) == {(b"value of m1", None, b"value of m2"): 50}
    assert [len(two.loads(key)) for key in ("slow:m1", "slow:m2")] == [1, 1]


async def test_a_load_that_fails_fails_for_all_and_is_tried_once(two: Scene) -> None:
    answers = await crowd(ports(two), CROWD, "GETORSET", "fail:1")

    assert kinds(answers) == {"LOADERR": CROWD}
    assert len({str(one) for one in answers}) == 1
    assert len(two.loads("fail:1")) == 1


async def test_a_load_that_hangs_ends_for_all_in_its_time(two: Scene) -> None:
    began = time.monotonic()

    answers = await crowd(ports(two), CROWD, "GETORSET", "hang:1")

    assert kinds(answers) == {"LOADTIMEOUT": CROWD}
    assert {str(one) for one in answers} == {"LOADTIMEOUT loader 'hang': no answer in 300 ms"}
    assert len(two.loads("hang:1")) == 1
    assert time.monotonic() - began < 5  # 0.3 s of it is the load's


async def test_many_keys_at_once_load_once_each(two: Scene) -> None:
    keys = [f"slow:k{at}" for at in range(40)]

    answers = await asyncio.gather(*(crowd(ports(two), 6, "GETORSET", key) for key in keys))

    assert [set(got) for got in answers] == [{f"value of k{at}".encode()} for at in range(40)]
    assert [len(two.loads(key)) for key in keys] == [1] * len(keys)


async def test_callers_that_leave_end_no_load(two: Scene) -> None:
    async with Callers([ports(two)[0]] * 10) as leaving:
        for one in leaving:
            one.send("GETORSET", "slow:left")
        await until(lambda: two.loads("slow:left"))
    answers = await crowd(ports(two), 10, "GETORSET", "slow:left")

    assert set(answers) == {b"value of left"}
    assert len(two.loads("slow:left")) == 1


@pytest.mark.parametrize("read", ["GETORSET", "WARM"])
@pytest.mark.waits
async def test_a_proxy_killed_while_it_loads_costs_one_load_more(mortal: Scene, read: str) -> None:
    words = ("WARM", "KEYS", "dies:1") if read == "WARM" else (read, "dies:1")
    async with Callers([ports(mortal)[at % 2] for at in range(CROWD)]) as callers:
        for at, one in enumerate(callers):
            one.send(*(words if at < 2 else ("GETORSET", "dies:1")))
        await until(lambda: mortal.loads("dies:1"))
        dead = next(at for at in (0, 1) if mortal.proxies[at].pid in mortal.loads("dies:1"))
        began = time.monotonic()
        mortal.proxies[dead].kill()
        answers = await asyncio.gather(*(one.read() for one in callers))
        seconds = time.monotonic() - began

    assert {type(one) for one in answers[dead::2]} == {ConnectionError}
    alive = answers[1 - dead :: 2]
    assert set(map(str, alive[1:])) == {str(b"value of 1")}
    assert len(mortal.loads("dies:1")) == 2
    assert seconds < 4  # what is left of the lease, and a load


@pytest.mark.waits
async def test_a_proxy_that_is_stopped_gives_its_lease_up(mortal: Scene) -> None:
    async with Callers([ports(mortal)[0], ports(mortal)[1]]) as (first, second):
        first.send("GETORSET", "dies:2")
        await until(lambda: mortal.loads("dies:2"))
        second.send("GETORSET", "dies:2")
        began = time.monotonic()
        mortal.proxies[0].signal(signal.SIGTERM)
        mortal.proxies[0].signal(signal.SIGTERM)  # waits for no client
        answer = await second.read()

    assert answer == b"value of 2"
    assert time.monotonic() - began < 0.9  # the lease would have lasted for a second


# --- LEASE ------------------------------------------------------------------------------------

WAITERS = 100


async def take(caller: Caller, key: str, ms: int = 10_000) -> bytes:
    value, token = await caller.ask("LEASE", "GET", key, "PX", ms)
    assert value is None
    assert isinstance(token, bytes)
    return token


@pytest.mark.waits
async def test_all_who_wait_get_what_the_holder_sets(two: Scene) -> None:
    async with (
        Caller(ports(two)[0]) as holder,
        Callers([ports(two)[at % 2] for at in range(WAITERS)]) as callers,
    ):
        token = await take(holder, "lease1")
        for one in callers:
            one.send("LEASE", "GET", "lease1", "WAIT", 5000)
        began = time.monotonic()
        assert await holder.ask("LEASE", "SET", "lease1", token, "v") == 1
        answers = await asyncio.gather(*(one.read() for one in callers))

    assert answers == [[b"v", None]] * WAITERS
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("how", ["cancels", "dies"])
async def test_the_next_waiter_gets_the_lease_of_a_holder_that(two: Scene, how: str) -> None:
    key = f"lease:{how}"
    async with (
        Caller(ports(two)[0]) as holder,
        Callers([ports(two)[at % 2] for at in range(WAITERS)]) as callers,
    ):
        token = await take(holder, key, 10_000 if how == "cancels" else 200)
        for one in callers:
            one.send("LEASE", "GET", key, "WAIT", 5000)
        if how == "cancels":
            assert await holder.ask("LEASE", "CANCEL", key, token) == 1
        readers = {asyncio.ensure_future(one.read()): one for one in callers}
        done, others = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        first = done.pop()
        value, mine = first.result()
        assert (value, len(mine)) == (None, len(token))
        assert await readers[first].ask("LEASE", "SET", key, mine, "v") == 1
        answers = await asyncio.gather(*others)

    assert answers == [[b"v", None]] * (WAITERS - 1)


@pytest.mark.waits
async def test_who_waits_for_a_holder_that_never_answers_is_told_in_time(two: Scene) -> None:
    async with (
        Caller(ports(two)[0]) as holder,
        Callers([ports(two)[at % 2] for at in range(WAITERS)]) as callers,
    ):
        await take(holder, "lease3")
        began = time.monotonic()
        answers = await asyncio.gather(
            *(one.ask("LEASE", "GET", "lease3", "WAIT", 300) for one in callers)
        )
        seconds = time.monotonic() - began

    assert answers == [[None, None]] * WAITERS
    assert 0.29 < seconds < 2


async def test_a_waiter_that_leaves_never_ends_up_with_the_lease(two: Scene) -> None:
    async with Caller(ports(two)[0]) as holder, Caller(ports(two)[1]) as last:
        token = await take(holder, "lease4", 60_000)
        async with Callers([ports(two)[at % 2] for at in range(20)]) as leaving:
            for one in leaving:
                one.send("LEASE", "GET", "lease4", "WAIT", 60_000)
            # For less long than a lease that one of them had would last.
            last.send("LEASE", "GET", "lease4", "WAIT", 5_000)

        assert await holder.ask("LEASE", "CANCEL", "lease4", token) == 1
        value, mine = await last.read()

    assert value is None
    assert mine is not None
