"""LOCK by the majority of lock servers, with real processes."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.servers import HOST, Process, any_kind, free_port, nearhit, upstream, wait_for
from tests.test_readme import SESSIONS, blocks, converse
from tests.wire.link import Link

from .conftest import loss_told
from .quorum import Quorum, check, quorum


@pytest.fixture(scope="module")
def steady() -> Iterator[Quorum]:
    with quorum() as found:
        yield found


@pytest.fixture
def five(steady: Quorum) -> Quorum:
    """The steady ones, empty."""
    for server in steady.servers:
        with Redis(host=HOST, port=server.port) as direct:
            direct.flushall()
    return steady


def linked(proxy: Process, resp: int = 2) -> Link:
    link = Link(proxy.port)
    link.ask("HELLO", str(resp))
    return link


def keys(server: Process, pattern: str = "lock:*") -> list[bytes]:
    with Redis(host=HOST, port=server.port) as direct:
        return [direct.get(key) for key in direct.keys(pattern)]


def holders(found: Quorum) -> list[bytes]:
    return [token for server in found.servers for token in keys(server)]


def token_of(reply: bytes) -> bytes:
    assert reply.startswith((b"$32\r\n", b"*3\r\n$32\r\n")), reply
    return reply.partition(b"$32\r\n")[2][:32]


def test_a_lock_is_one_token_at_the_lock_servers_and_none_in_the_upstream(
    five: Quorum, resp: int
) -> None:
    link, other = linked(five.proxies[0], resp), linked(five.proxies[1], resp)

    token = token_of(link.ask("LOCK", "ACQUIRE", "r", "PX", "60000", "FENCE"))

    wait_for(lambda: holders(five) == [token] * 5, 5, "all five")
    assert not keys(five.main)
    nil = b"$-1\r\n" if resp == 2 else b"_\r\n"
    assert other.ask("LOCK", "ACQUIRE", "r") == nil
    told = other.ask("LOCK", "INFO", "r")
    assert (b"held\r\n:1\r\n" if resp == 2 else b"held\r\n#t\r\n") in told
    assert token not in told
    assert b"$1\r\nr\r\n:" in other.ask("LOCK", "LIST")
    assert other.ask("LOCK", "EXTEND", "r", token, "EX", "90") == b":1\r\n"
    assert other.ask("LOCK", "EXTEND", "r", "wrong", "EX", "90") == b":0\r\n"
    assert other.ask("LOCK", "RELEASE", "r", "wrong") == b":0\r\n"
    assert other.ask("LOCK", "RELEASE", "r", token) == b":1\r\n"
    assert other.ask("LOCK", "RELEASE", "r", token) == b":0\r\n"
    assert other.ask("LOCK", "LIST") == (b"*0\r\n" if resp == 2 else b"%0\r\n")
    assert b"lock_servers_up:5\r\n" in link.ask("INFO", "nearhit")
    link.close()
    other.close()


def test_a_db_s_locks_are_its_own(five: Quorum, resp: int) -> None:
    link, other = linked(five.proxies[0], resp), linked(five.proxies[1], resp)
    other.ask("SELECT", "1")

    token_of(link.ask("LOCK", "ACQUIRE", "r"))
    token_of(other.ask("LOCK", "ACQUIRE", "r"))

    link.close()
    other.close()


def test_a_token_asks_again_through_another_proxy_and_has_the_same_fence(
    five: Quorum, resp: int
) -> None:
    link, other = linked(five.proxies[0], resp), linked(five.proxies[1], resp)

    first = link.ask("LOCK", "ACQUIRE", "r", "TOKEN", "t", "FENCE").split(b"\r\n")
    again = other.ask("LOCK", "ACQUIRE", "r", "TOKEN", "t", "FENCE").split(b"\r\n")

    assert first[:4] == again[:4]
    link.close()
    other.close()


def test_a_release_wakes_who_waits_at_another_proxy(five: Quorum, resp: int) -> None:
    link, other = linked(five.proxies[0], resp), linked(five.proxies[1], resp)
    token = token_of(link.ask("LOCK", "ACQUIRE", "r"))
    other.send(b"LOCK ACQUIRE r WAIT 30000\r\n")
    wait_for(lambda: b"lock_waiters:1" in _info(five.proxies[1]), 5, "the waiter")

    began = time.monotonic()
    link.ask("LOCK", "RELEASE", "r", token)
    token_of(other.read(1, 5)[0])

    assert time.monotonic() - began < 0.5
    link.close()
    other.close()


def _info(proxy: Process) -> bytes:
    link = Link(proxy.port)
    try:
        return link.ask("INFO", "nearhit")
    finally:
        link.close()


def test_replicas_are_refused(five: Quorum, resp: int) -> None:
    link = linked(five.proxies[0], resp)

    assert link.ask("LOCK", "ACQUIRE", "r", "REPLICAS", "1").startswith(b"-ERR REPLICAS is for one")

    assert not holders(five)
    link.close()


# --- RENEW


def test_a_renewed_lock_stays_and_is_free_as_its_client_goes(five: Quorum, resp: int) -> None:
    link = linked(five.proxies[0], resp)
    token_of(link.ask("LOCK", "ACQUIRE", "r", "PX", "600", "RENEW"))
    ends = time.monotonic() + 1.4
    while time.monotonic() < ends:
        assert len(holders(five)) >= 3
        time.sleep(0.05)
    token = token_of(link.ask("LOCK", "ACQUIRE", "long", "PX", "60000", "RENEW"))

    other = linked(five.proxies[1], resp)
    other.send(b"LOCK ACQUIRE long WAIT 30000\r\n")
    link.close()

    assert token_of(other.read(1, 10)[0]) != token, "not by its time"
    other.close()


def test_maxhold_ends_it_and_tells(five: Quorum, resp: int) -> None:
    link = linked(five.proxies[0], resp)
    link.ask("LOCK", "ACQUIRE", "r", "PX", "300", "RENEW", "MAXHOLD", "900")

    loss_told(link, resp)

    wait_for(lambda: not holders(five), 5, "its end")
    link.close()


def test_a_proxy_that_was_stopped_for_longer_than_the_lock_says_lost(
    five: Quorum, resp: int
) -> None:
    link = linked(five.proxies[0], resp)
    token_of(link.ask("LOCK", "ACQUIRE", "r", "PX", "900", "RENEW"))
    wait_for(lambda: len(holders(five)) == 5, 5, "all five")
    five.proxies[0].signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        for server in five.servers:
            with Redis(host=HOST, port=server.port) as direct:
                direct.persist("lock:{r}")  # to the servers it is the client's for ever
        wait_for(lambda: time.monotonic() - began > 1, 5, "the end of its time")
    finally:
        five.proxies[0].signal(signal.SIGCONT)

    loss_told(link, resp)

    wait_for(lambda: not holders(five), 5, "the giving back")
    link.close()


def test_a_proxy_that_ends_gives_its_clients_locks_back(five: Quorum) -> None:
    link = linked(five.proxies[1], 3)
    token_of(link.ask("LOCK", "ACQUIRE", "r", "PX", "60000", "RENEW"))

    five.proxies[1].stop()

    assert not holders(five)
    five.proxies[1].start()
    link.close()


# --- Servers that are away


def test_two_of_five_may_be_killed_and_with_three_it_is_refused_in_time(
    five: Quorum, resp: int
) -> None:
    link = linked(five.proxies[0], resp)
    killed: list[Process] = []
    try:
        for server in five.servers[:2]:
            server.kill()
            killed.append(server)
        # All of the three must answer: on a busy machine one may be too late.
        token = acquired(link, "r")
        assert link.ask("LOCK", "RELEASE", "r", token) == b":1\r\n"
        five.servers[2].kill()
        killed.append(five.servers[2])
        began = time.monotonic()
        refused = link.ask("LOCK", "ACQUIRE", "r", "PX", "10000", "WAIT", "5000")

        assert refused.startswith(b"-UPSTREAM 2 of 5 lock servers answered, 3 must agree: "), (
            refused
        )
        assert time.monotonic() - began < 2
        wait_for(lambda: not any(map(keys, five.servers[3:])), 5, "the giving back")
    finally:
        for server in killed:
            server.start()
    acquired(link, "s")
    link.close()


def acquired(link: Link, resource: str) -> bytes:
    """The token, once the servers that there are have answered in time."""
    said: list[bytes] = []

    def granted() -> bool:
        said.append(link.ask("LOCK", "ACQUIRE", resource, "PX", "60000"))
        return said[-1].startswith(b"$32")

    wait_for(granted, 10, f"{resource} granted")
    return token_of(said[-1])


def test_three_that_hang_are_not_waited_for(five: Quorum, resp: int) -> None:
    link = linked(five.proxies[0], resp)
    token = token_of(link.ask("LOCK", "ACQUIRE", "r"))
    link.ask("LOCK", "RELEASE", "r", token)
    for server in five.servers[:3]:
        server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        refused = link.ask("LOCK", "ACQUIRE", "r", "PX", "10000", "WAIT", "5000")
        assert refused.startswith(b"-UPSTREAM 2 of 5 lock servers answered"), refused
        assert time.monotonic() - began < 2
    finally:
        for server in five.servers[:3]:
            server.signal(signal.SIGCONT)

    # What they do late is undone behind it.
    wait_for(lambda: not holders(five), 5, "the giving back")
    link.close()


@pytest.mark.parametrize(
    "seconds",
    [3, pytest.param(600, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
)
def test_no_two_clients_hold_it_within_its_validity_while_servers_restart(
    five: Quorum, seconds: float
) -> None:
    checker = asyncio.run(check(five, seconds))

    assert not checker.broken
    assert checker.entered > seconds / 3
    assert checker.killed > seconds / 10


# --- Settings and HTTP


def test_passwords_are_used_and_shown_nowhere() -> None:
    secret = "geheim-0815"
    with ExitStack() as stack:
        kind = any_kind()
        main = stack.enter_context(upstream(kind))
        servers = [stack.enter_context(upstream(kind, "--requirepass", secret)) for _ in range(3)]
        urls = [f"redis://:{secret}@{HOST}:{server.port}" for server in servers]
        wrong = [urls[0], *(url.replace(secret, "falsch-4711") for url in urls[1:])]
        port = free_port()
        proxies = [
            stack.enter_context(
                nearhit(
                    f"redis://{HOST}:{main.port}",
                    *("--http", f"{HOST}:{port}" if lists is urls else "off"),
                    env={"NEARHIT_LOCK_SERVERS": ",".join(lists)},
                )
            )
            for lists in (urls, wrong)
        ]
        right, refused = map(linked, proxies)

        token_of(right.ask("LOCK", "ACQUIRE", "r"))
        told = refused.ask("LOCK", "ACQUIRE", "s")
        assert told.startswith(
            b"-UPSTREAM 1 of 3 lock servers answered, 2 must agree: WRONGPASS"
        ), told
        assert _post(port, "acquire", {"resource": "r"})[0] == 409
        status, granted = _post(port, "acquire", {"resource": "h", "ttl": 5000})
        assert (status, granted["key"]) == (200, "lock:{h}")
        given = {"key": granted["key"], "token": granted["token"]}
        assert _post(port, "release", given) == (200, {"released": True})
        for proxy in proxies:
            log = proxy.log.read_text()
            assert secret not in log
            assert "4711" not in log
        right.close()
        refused.close()


def _post(port: int, what: str, body: dict[str, Any]) -> tuple[int, Any]:
    url = f"http://{HOST}:{port}/api/cache/lock/{what}"
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


# --- docs/locks.md


def test_the_session_of_the_docs_is_the_same_with_lock_servers(five: Quorum) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("no redis-cli on this machine")
    page = Path(__file__).parents[2] / "docs" / "locks.md"
    fence = next(one for one in SESSIONS if one.page == page)
    shown = blocks(fence.text.partition("\n")[2], re.compile(r"127\.0\.0\.1:6380> (.+)"))
    ask = ["redis-cli", "-3", "--no-raw", "-p", str(five.proxies[0].port)]

    def answer(command: str) -> str:
        return subprocess.run(
            [*ask, *command.split()], check=True, capture_output=True, text=True
        ).stdout

    # RENEW is for a client that stays: each of these leaves at once.
    staying = [block for block in shown if "RENEW" not in block.commands[0]][:-1]
    converse(fence, iter(staying), answer)
