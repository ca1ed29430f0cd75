"""Rights that the server takes away at run time: who comes later is asked for what a new connection
would be asked for, who is in keeps what a connection keeps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import HOST, Process, free_port, nearhit, upstream, wait_for

from .conftest import KIND, Pair, url
from .links import Link, bulk, link

pytestmark = pytest.mark.waits

CHANGES = [
    ("CONFIG", "SET", "requirepass", "secret"),
    ("ACL", "SETUSER", "default", "off"),
    ("ACL", "SETUSER", "default", "resetpass"),
    ("ACL", "SETUSER", "default", ">secret"),
]
OPENING = {"CONFIG": ("CONFIG", "SET", "requirepass", ""),
           "ACL": ("ACL", "SETUSER", "default", "on", "nopass")}  # fmt: skip


def commands(client: Link) -> None:
    """All of these are refused, whatever they take: a shared lane, one of its own, none."""
    for words in (
        ("GET", "k"), ("GET", "k"), ("MGET", "k"), ("CONFIG", "GET", "requirepass"),
        ("EVAL", "return 1", "0"), ("BLPOP", "q", "0.01"), ("MULTI",), ("SELECT", "3"),
        ("GETORSET", "k", "v"), ("STATS",), ("SUBSCRIBE", "c"), ("CLIENT", "LIST"),
    ):  # fmt: skip
        assert client.ask(*words).startswith(b"-NOAUTH"), words


def warmed(port: int, link_: Link) -> None:
    """Lanes of all kinds stand, and the near cache has the key."""
    assert link_.ask("SET", "k", "v") == b"+OK\r\n"
    link_.ask("EVAL", "return 1", "0")
    link_.ask("BLPOP", "q", "0.01")
    link_.ask("SELECT", "3")
    link_.ask("PING")
    link_.ask("SELECT", "0")
    for _ in range(5):
        assert link_.ask("GET", "k") == bulk(b"v")


@pytest.mark.parametrize("change", CHANGES, ids=" ".join)
def test_newcomers_are_asked_at_once_when_the_change_passes_through(
    pair: Pair, change: tuple[str, ...]
) -> None:
    _, proxy = pair
    with link(proxy.port) as old:
        warmed(proxy.port, old)

        assert old.ask(*change) == b"+OK\r\n"
        with link(proxy.port) as new:
            commands(new)

        assert old.ask("GET", "k") == bulk(b"v")
        assert old.ask("RESET") == b"+RESET\r\n"  # a newcomer again
        commands(old)


@pytest.mark.parametrize("change", CHANGES, ids=" ".join)
def test_newcomers_are_asked_within_seconds_when_others_change_it(
    pair: Pair, change: tuple[str, ...]
) -> None:
    server, proxy = pair
    with link(server.port) as direct, link(proxy.port) as old:
        warmed(proxy.port, old)
        direct.ask(*change)

        def refused() -> bool:
            with link(proxy.port) as new:
                return new.ask("GET", "k").startswith(b"-NOAUTH")

        wait_for(refused, 3, "the refusal")
        with link(proxy.port) as new:
            commands(new)
            assert direct.ask(*OPENING[change[0]]) == b"+OK\r\n"
            # As a connection of their own would be: let in as soon as nobody is asked any more.
            assert new.ask("GET", "k") == bulk(b"v")
            wait_for(lambda: new.ask("GETORSET", "k", "w") == bulk(b"v"), 3, "its release")

            assert old.ask(*change) == b"+OK\r\n"
            commands(new)
        assert old.ask("GET", "k") == bulk(b"v")


def test_who_knows_the_password_is_served(pair: Pair) -> None:
    _, proxy = pair
    with link(proxy.port) as old:
        warmed(proxy.port, old)
        old.ask("CONFIG", "SET", "requirepass", "secret")
        with link(proxy.port) as new:
            assert new.ask("AUTH", "wrong").startswith(b"-WRONGPASS")
            assert new.ask("AUTH", "secret") == b"+OK\r\n"
            for _ in range(3):
                assert new.ask("GET", "k") == bulk(b"v")


def test_newcomers_are_refused_when_the_proxy_s_own_login_is_revoked() -> None:
    with (
        upstream(KIND, "--requirepass", "old") as server,
        nearhit(f"redis://:old@{HOST}:{server.port}") as proxy,
        link(proxy.port) as old,
    ):
        warmed(proxy.port, old)
        assert old.ask("CONFIG", "SET", "requirepass", "new") == b"+OK\r\n"
        with link(proxy.port) as new:
            assert new.ask("GET", "k").startswith(b"-WRONGPASS")
            assert new.ask("AUTH", "new") == b"+OK\r\n"
            assert new.ask("GET", "k") == bulk(b"v")
        assert old.ask("CONFIG", "SET", "requirepass", "old") == b"+OK\r\n"
        with link(proxy.port) as new:
            assert new.ask("GET", "k") == bulk(b"v")


@pytest.fixture
def near(pair: Pair) -> Iterator[tuple[Pair, dict[str, Link], Link]]:
    """Clients of two users whose reads are answered near, and somebody who may change what they
    may."""
    server, proxy = pair
    with (
        link(server.port) as direct,
        link(proxy.port) as alice,
        link(proxy.port) as default,
        link(proxy.port) as boss,
    ):
        direct.ask("ACL", "SETUSER", "alice", "on", ">pw", "+@all", "~*", "&*")
        assert alice.ask("AUTH", "alice", "pw") == b"+OK\r\n"
        warmed(proxy.port, alice)
        users = {"alice": alice, "default": default}

        def answered_near() -> bool:
            return all(_is_near(boss, client) for client in users.values())

        wait_for(answered_near, 3, "near hits")
        yield pair, users, boss


def _is_near(boss: Link, client: Link) -> bool:
    before = _near_hits(boss)
    assert client.ask("GET", "k") == bulk(b"v")
    return _near_hits(boss) > before


def _near_hits(boss: Link) -> int:
    return int(boss.ask("INFO", "nearhit").split(b"near_hits:")[1].split(b"\r\n")[0])


@pytest.mark.parametrize("user", ["alice", "default"])
def test_a_right_lost_through_the_proxy_is_lost_near_too(
    near: tuple[Pair, dict[str, Link], Link], user: str
) -> None:
    _, users, boss = near

    assert boss.ask("ACL", "SETUSER", user, "-get") == b"+OK\r\n"

    assert users[user].ask("GET", "k").startswith(b"-NOPERM")


@pytest.mark.parametrize("user", ["alice", "default"])
def test_a_right_lost_by_others_is_lost_near_within_seconds(
    near: tuple[Pair, dict[str, Link], Link], user: str
) -> None:
    (server, _), users, _ = near
    with link(server.port) as direct:
        direct.ask("ACL", "SETUSER", user, "-get")

    wait_for(lambda: users[user].ask("GET", "k").startswith(b"-NOPERM"), 3, "the refusal")


def test_http_has_no_login_that_a_newcomer_would_need(server: Process) -> None:
    http = free_port()
    with (
        nearhit(url(server.port), "--http", f"{HOST}:{http}") as proxy,
        link(proxy.port) as old,
    ):
        warmed(proxy.port, old)
        old.ask("CONFIG", "SET", "requirepass", "secret")

        with link(http) as web:
            web.send(b"GET /api/cache/k HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = web.socket.recv(65536)
    assert head.startswith(b"HTTP/1.1 403")
