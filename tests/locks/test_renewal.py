"""LOCK ACQUIRE RENEW with real processes: kept while its client stays, freed as it goes, and never
extended by a process that was stopped for longer than the lock lasted."""

from __future__ import annotations

import signal
import socket
import time

import pytest
from redis import Redis

from tests.servers import HOST, any_kind, nearhit, upstream, wait_for
from tests.wire.link import Link

from .conftest import Fleet, loss_told


def holding(port: int, resp: int, ms: int, *words: str, at: str = "r") -> Link:
    link = Link(port)
    link.ask("HELLO", str(resp))
    token = link.ask("LOCK", "ACQUIRE", at, "PX", str(ms), *words, "RENEW")
    assert token.startswith(b"$"), token
    return link


@pytest.mark.parametrize(
    ("resp", "words"), [(2, ()), (3, ("TOKEN", "t"))], ids=["its token", "a named one"]
)
def test_a_lock_is_kept_while_its_client_stays_and_freed_as_it_goes(
    fleet: Fleet, resp: int, words: tuple[str, ...]
) -> None:
    direct = fleet.direct()
    link = holding(fleet.proxies[0].port, resp, 900, *words)
    token = direct.get("lock:{r}")

    ends = time.monotonic() + 2
    while time.monotonic() < ends:
        assert direct.get("lock:{r}") == token
        time.sleep(0.05)
    link.ask("LOCK", "ACQUIRE", "long", "PX", "60000", *words, "RENEW")
    waiter = fleet.waiting("long", proxy=1)

    link.close()

    assert waiter.result(10), "not by its time"


def test_who_loses_a_lock_is_told(fleet: Fleet, resp: int) -> None:
    link = holding(fleet.proxies[0].port, resp, 300)
    fleet.direct().delete("lock:{r}")

    loss_told(link, resp)

    assert link.ask("LOCK", "INFO", "r").startswith(b"*8" if resp == 2 else b"%4")
    link.close()


def test_a_client_that_blocks_is_told_at_once(fleet: Fleet) -> None:
    link = holding(fleet.proxies[0].port, 3, 300)
    link.send(b"BLPOP nothing 0\r\n")
    fleet.direct().delete("lock:{r}")

    loss_told(link, 3)

    fleet.direct().rpush("nothing", "something")
    assert link.read(1, 5) == [b"*2\r\n$7\r\nnothing\r\n$9\r\nsomething\r\n"]
    link.close()


def test_maxhold_ends_the_renewals(fleet: Fleet, resp: int) -> None:
    link = holding(fleet.proxies[0].port, resp, 300, "MAXHOLD", "900")

    began = time.monotonic()
    loss_told(link, resp)

    assert 0.7 < time.monotonic() - began < 5
    wait_for(lambda: not fleet.direct().exists("lock:{r}"), 5, "its end")
    link.close()


def test_a_proxy_that_was_stopped_for_longer_than_the_lock_says_lost_and_never_extends(
    fleet: Fleet, resp: int
) -> None:
    proxy, direct = fleet.proxies[0], fleet.direct()
    link = holding(proxy.port, resp, 600)
    proxy.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: not direct.exists("lock:{r}"), 5, "the lock's end")
        # As if the server's clock were the slower one: it is the stopped process that must know.
        token = b"another's"
        direct.set("lock:{r}", token, px=60_000)
    finally:
        proxy.signal(signal.SIGCONT)

    loss_told(link, resp)

    assert direct.get("lock:{r}") == token
    assert direct.pttl("lock:{r}") <= 60_000
    link.close()


def test_a_proxy_that_ends_gives_its_clients_locks_back(doomed: Fleet) -> None:
    link = holding(doomed.proxies[0].port, 2, 60_000)

    doomed.proxies[0].stop()

    assert not doomed.direct().exists("lock:{r}")
    link.close()


def test_a_client_that_resets_its_connection_holds_nothing(fleet: Fleet) -> None:
    with socket.create_connection((HOST, fleet.proxies[0].port)) as link:
        link.sendall(b"LOCK ACQUIRE r RENEW\r\n")
        assert link.recv(100).startswith(b"$32")

    wait_for(lambda: not fleet.direct().exists("lock:{r}"), 5, "its end")


def test_a_lock_that_outlived_the_stop_of_its_proxy_is_not_extended_but_given_back(
    fleet: Fleet,
) -> None:
    proxy, direct = fleet.proxies[0], fleet.direct()
    link = holding(proxy.port, 3, 900)
    proxy.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        direct.persist("lock:{r}")  # to the server it is the client's for ever
        wait_for(lambda: time.monotonic() - began > 1, 5, "the end of its time")
    finally:
        proxy.signal(signal.SIGCONT)

    loss_told(link, 3)

    wait_for(lambda: not direct.exists("lock:{r}"), 5, "the giving back")
    link.close()


def test_each_worker_keeps_its_clients_locks() -> None:
    names = [f"r{number}" for number in range(8)]
    with (
        upstream(any_kind()) as server,
        Redis(host=HOST, port=server.port) as direct,
        nearhit(f"redis://{HOST}:{server.port}", "--workers", "2") as proxy,
    ):
        links = {name: holding(proxy.port, 2, 900, at=name) for name in names}
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            assert direct.exists(*map("lock:{{{}}}".format, names)) == 8
            time.sleep(0.05)
        leaving, staying = names[:4], names[4:]

        for name in leaving:
            links[name].close()

        wait_for(lambda: not direct.exists(*map("lock:{{{}}}".format, leaving)), 5, "their end")
        assert direct.exists(*map("lock:{{{}}}".format, staying)) == 4
        for name in staying:
            links[name].close()
