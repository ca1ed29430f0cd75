"""Waiters are woken in their order, by the release and nothing else; who leaves holds nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable

import pytest
from redis import Redis

from tests.servers import HOST, wait_for

from .conftest import Fleet, acquire, info, release, scripts_run, waiters

pytestmark = pytest.mark.alone

Leave = Callable[[socket.socket], None]


@pytest.mark.parametrize("proxy", [0, 1], ids=["the same proxy", "another proxy"])
def test_a_release_wakes_a_waiter_within_50_ms_and_nobody_polls(fleet: Fleet, proxy: int) -> None:
    releaser, direct = fleet.client(1 - proxy), fleet.direct()
    release(releaser, "r", acquire(releaser, "r"))  # the server knows the scripts
    spans = []
    for _ in range(5):
        token = acquire(releaser, "r")
        waiter = fleet.waiting("r", proxy=0)
        before = scripts_run(direct)
        with fleet.direct().monitor() as seen:
            direct.set("mark", 1)
            commands: list[str] = []
            while "mark" not in (command := seen.next_command()["command"]):
                commands.append(command)
        assert not any("lock" in command for command in commands)

        began = time.monotonic()
        release(releaser, "r", token)
        token = waiter.result(5)
        spans.append(time.monotonic() - began)

        assert scripts_run(direct) - before == 2  # the release, and the attempt
        release(releaser, "r", token)

    assert sorted(spans)[2] < 0.05, spans


@pytest.mark.parametrize(
    "free",
    [
        pytest.param(lambda direct: direct.delete("lock:{r}"), id="DEL"),
        pytest.param(lambda direct: direct.flushall(), id="FLUSHALL"),
        pytest.param(lambda direct: direct.pexpire("lock:{r}", 20), id="its end"),
        pytest.param(lambda direct: direct.rename("lock:{r}", "x"), id="RENAME"),
    ],
)
def test_whatever_frees_the_lock_wakes_the_waiter(
    fleet: Fleet, free: Callable[[object], object]
) -> None:
    acquire(fleet.client(), "r")
    waiter = fleet.waiting("r")

    began = time.monotonic()
    free(fleet.direct())

    assert waiter.result(5)
    assert time.monotonic() - began < 0.5


def test_waiters_of_all_proxies_get_it_one_after_another(fleet: Fleet) -> None:
    token, fence, _ = acquire(fleet.client(), "r", "FENCE")
    waiting = [fleet.waiting("r", "FENCE", proxy=number % 2) for number in range(6)]
    release(fleet.client(), "r", token)

    fences = [fence]
    while waiting:
        wait_for(lambda: any(waiter.done() for waiter in waiting), 5, "a grant")
        done = next(waiter for waiter in waiting if waiter.done())
        waiting.remove(done)
        token, fence, _ = done.result()
        fences.append(fence)
        assert not any(waiter.done() for waiter in waiting)
        release(fleet.client(), "r", token)

    assert fences == sorted(set(fences))


def test_a_wait_that_ran_out_is_answered_nil_on_time(fleet: Fleet) -> None:
    acquire(fleet.client(), "r")
    began = time.monotonic()

    assert acquire(fleet.client(1), "r", "WAIT", 200) is None

    assert 0.2 <= time.monotonic() - began < 0.6
    assert waiters(fleet.client(1), "r") == 0


def reset(link: socket.socket) -> None:
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


def half_close(link: socket.socket) -> None:
    link.shutdown(socket.SHUT_WR)


LEAVING = [
    pytest.param(reset, id="reset"),
    pytest.param(socket.socket.close, id="closed"),
]


@pytest.mark.parametrize("leave", LEAVING)
def test_a_waiter_that_disconnects_leaves_and_never_holds_the_lock(
    fleet: Fleet, leave: Leave
) -> None:
    name = f"left-{leave.__name__}"
    token = acquire(fleet.client(), name)
    leaving = [fleet.waiting_socket(name, proxy=1) for _ in range(3)]

    for link in leaving:
        leave(link)
    wait_for(lambda: waiters(fleet.client(1), name) == 0, 2, "the end of the line")
    release(fleet.client(), name, token)

    assert acquire(fleet.client(1), name)


@pytest.mark.parametrize("leave", LEAVING)
def test_who_disconnects_as_the_lock_becomes_free_does_not_keep_it(
    fleet: Fleet, leave: Leave
) -> None:
    name = f"left-{leave.__name__}"
    for turn in range(20):
        token = acquire(fleet.client(), name)
        leaving = fleet.waiting_socket(name, proxy=turn % 2)

        leave(leaving)
        release(fleet.client(), name, token)

        # Either it is free now, or the grant that was on its way comes back.
        token = acquire(fleet.client(), name, "WAIT", 2_000)
        assert token
        release(fleet.client(), name, token)


@pytest.mark.parametrize("words", ["LOCK ACQUIRE r", "LOCK ACQUIRE r TOKEN t", "LEASE GET k"])
@pytest.mark.parametrize("leave", [*LEAVING, pytest.param(half_close, id="half closed")])
def test_what_is_granted_to_a_client_that_was_seen_to_leave_is_nobodys(
    fleet: Fleet, leave: Leave, words: str
) -> None:
    direct, client = fleet.direct(), fleet.client()
    release(client, "r", acquire(client, "r"))  # the server knows the scripts
    direct.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
    link = socket.create_connection((HOST, fleet.proxies[0].port), timeout=10)
    try:
        link.sendall(f"{words}\r\n".encode())
        wait_for(lambda: any("b" in one["flags"] for one in direct.client_list()), 5, "the attempt")

        leave(link)
        wait_for(lambda: len(client.client_list()) == 1, 5, "the client's end")
    finally:
        direct.execute_command("CLIENT", "UNPAUSE")

    wait_for(lambda: scripts_done(direct), 5, "the giving back")
    assert not direct.exists("lock:{r}", "lease:{k}")
    link.close()


def scripts_done(direct: Redis) -> bool:
    """Whether an attempt was made and undone: nothing of it stands."""
    return not any("b" in one["flags"] for one in direct.client_list()) and not direct.exists(
        "lock:{r}", "lease:{k}"
    )


def test_a_thousand_waiters_are_served_in_order_for_one_attempt_each(fleet: Fleet) -> None:
    direct = fleet.direct()
    proxy = fleet.client()
    token = acquire(proxy, "r")
    port = fleet.proxies[0].port

    async def run() -> tuple[list[int], int, float]:
        order: list[int] = []
        links = [await asyncio.open_connection(HOST, port) for _ in range(1000)]

        async def work(number: int) -> None:
            reader, writer = links[number]
            await reader.readexactly(4)  # $32\r and what follows is the token
            taken = (await reader.readexactly(35))[1:33]
            order.append(number)
            writer.write(b"LOCK RELEASE r %b\r\n" % taken)
            assert await reader.readexactly(4) == b":1\r\n"

        for number, (_, writer) in enumerate(links):
            writer.write(b"LOCK ACQUIRE r WAIT 60000\r\n")
            while waiters(proxy, "r") <= number:
                await asyncio.sleep(0)
        before = scripts_run(direct)
        tasks = [asyncio.create_task(work(number)) for number in range(1000)]
        began = time.monotonic()
        assert release(proxy, "r", token)
        await asyncio.gather(*tasks)
        span = time.monotonic() - began
        for _, writer in links:
            writer.close()
        return order, scripts_run(direct) - before, span

    order, scripts, span = asyncio.run(run())

    assert order == list(range(1000))
    assert 2000 <= scripts <= 2100  # an attempt and a release each
    assert span < 30


def test_a_waiter_outlives_the_loss_of_the_connection_that_would_wake_it(doomed: Fleet) -> None:
    client, direct = doomed.client(1), doomed.direct()
    token = acquire(client, "r")
    waiter = doomed.waiting("r")
    for _ in range(3):
        direct.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    wait_for(lambda: _released(doomed, token), 5, "the release")

    assert waiter.result(10)


def _released(fleet: Fleet, token: bytes) -> bool:
    return release(fleet.client(1), "r", token) == 1


def test_a_lock_that_was_freed_while_the_connection_was_lost_is_granted(doomed: Fleet) -> None:
    direct = doomed.direct()
    acquire(doomed.client(1), "r")
    waiter = doomed.waiting("r")

    with direct.pipeline() as at_once:
        at_once.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        at_once.delete("lock:{r}")
        at_once.execute()

    assert waiter.result(10)


def test_a_server_that_forgot_everything_grants_to_the_waiter_a_greater_fence(
    doomed: Fleet,
) -> None:
    _, fence, _ = acquire(doomed.client(1), "r", "FENCE")
    waiter = doomed.waiting("r", "FENCE")

    doomed.server.kill()
    doomed.server.start()

    assert waiter.result(15)[1] > fence
    assert info(doomed.client(0), "r")["held"]
