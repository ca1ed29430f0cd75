"""Two tenants with the ACL that docs/operating.md gives: each has all of Nearhit, and nothing that
is the other's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.wire.frames import children, payload
from tests.wire.link import Link

from .people import Cache

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"
OWN = ["lease:{%s}", "lock:{%s}", "fence:{%s}", "fence:{%s}:grant"]


def rules(tenant: str) -> list[str]:
    """What the page has an operator say, of a tenant called so."""
    found = re.search(r"> (ACL SETUSER shop .+)", OPERATING.read_text())
    assert found is not None
    return found[1].replace("shop", tenant).split()


@pytest.fixture
def tenants(cache: Cache) -> Iterator[tuple[Link, Link]]:
    """Clients of shop and of user; the keys of the latter are a loader's."""
    for name in ("shop", "user"):
        cache.server.execute_command(*rules(name))
    with closing(cache.link()) as shop, closing(cache.link()) as user:
        for name, link in (("shop", shop), ("user", user)):
            assert link.ask("AUTH", name, "secret") == b"+OK\r\n"
        yield shop, user
    cache.server.execute_command("ACL", "DELUSER", "shop", "user")


def test_each_has_all_of_nearhit(cache: Cache, tenants: tuple[Link, Link]) -> None:
    for name, link in zip(("shop", "user"), tenants, strict=True):
        thing = f"{name}:till"
        assert payload(link.ask("GETORSET", thing, "v")) == b"v"
        assert link.ask("INVALIDATE", thing) == b":1\r\n"
        assert link.ask("LOCK", "ACQUIRE", thing, "TOKEN", "t") == b"$1\r\nt\r\n"
        assert link.ask("LOCK", "EXTEND", thing, "t", "PX", 60_000) == b":1\r\n"
        assert link.ask("LOCK", "RELEASE", thing, "t") == b":1\r\n"
        _, (_, token) = children(link.ask("LEASE", "GET", thing))
        assert link.ask("LEASE", "SET", thing, payload(token), "v") == b":1\r\n"
        assert link.ask("DEL", thing) == b":1\r\n"
    assert payload(tenants[1].ask("GETORSET", "user:7")) == b"user 7"


@pytest.mark.parametrize("key", OWN)
def test_none_reads_or_writes_what_is_the_others(
    cache: Cache, tenants: tuple[Link, Link], key: str
) -> None:
    shop, _ = tenants
    theirs = key % "user:1"
    cache.server.set(theirs, "theirs")

    for request in (("GET", theirs), ("SET", theirs, "n"), ("DEL", theirs), ("TTL", theirs)):
        assert shop.ask(*request).startswith(b"-NOPERM "), request

    assert cache.server.get(theirs) == b"theirs"


@pytest.mark.parametrize(
    "request_",
    [
        ("LOCK", "ACQUIRE", "user:1", "TOKEN", "t"),
        ("LOCK", "RELEASE", "user:1", "t"),
        ("LOCK", "EXTEND", "user:1", "t", "PX", 5),
        ("LOCK", "INFO", "user:1"),
        ("LEASE", "GET", "user:1"),
        ("LEASE", "SET", "user:1", "t", "v"),
        ("LEASE", "CANCEL", "user:1", "t"),
        ("INVALIDATE", "user:1"),
        ("GETORSET", "user:1", "v"),
        ("GETORSET", "user:1"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_none_uses_a_command_on_what_is_the_others(
    cache: Cache, tenants: tuple[Link, Link], request_: tuple[object, ...]
) -> None:
    shop, _ = tenants
    cache.server.set("lock:{user:1}", "t")
    cache.server.set("lease:{user:1}", "t")

    assert shop.ask(*request_).startswith(b"-NOPERM ")

    assert cache.server.mget("lock:{user:1}", "lease:{user:1}") == [b"t", b"t"]
    assert not cache.loads("1")


@pytest.mark.parametrize("planted", ["eMOVED 1 10.0.0.1:6379", "eASK 1 10.0.0.1:1", "eOK\r\n+OK"])
def test_what_stands_at_a_lease_is_no_error_of_another_kind(cache: Cache, planted: str) -> None:
    cache.server.set("lease:{user:1}", planted, px=5_000)

    with closing(cache.link()) as link:
        assert link.ask("GETORSET", "user:1") == (
            b"-LOADERR loader 'users': it has failed lately\r\n"
        )
