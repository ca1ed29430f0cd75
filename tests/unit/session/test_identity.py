"""Who a client is: its addresses as Redis writes them, and what RESET undoes."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.session.identity import Identity, address


class Placed(asyncio.BaseTransport):
    """A transport that knows both its ends."""

    def __init__(self, peer: object, local: object) -> None:
        super().__init__({"peername": peer, "sockname": local})


@pytest.mark.parametrize(
    ("peer", "local", "shown"),
    [
        (("10.0.0.1", 5000), ("10.0.0.2", 6380), ("10.0.0.1:5000", "10.0.0.2:6380")),
        (("::1", 5000, 0, 0), ("::1", 6380, 0, 0), ("[::1]:5000", "[::1]:6380")),
        ("", "/run/nearhit.sock", ("/run/nearhit.sock:0", "/run/nearhit.sock:0")),
        (b"", b"/run/nearhit.sock", ("/run/nearhit.sock:0", "/run/nearhit.sock:0")),
    ],
)
def test_both_ends_are_shown_as_redis_writes_them(
    peer: object, local: object, shown: tuple[str, str]
) -> None:
    who = Identity(1.0)

    who.locate(Placed(peer, local))

    assert (who.peer, who.local) == shown


def test_a_unix_client_with_a_name_keeps_it() -> None:
    assert address("/tmp/client", "/run/nearhit.sock") == "/tmp/client:0"


def test_reset_undoes_what_the_client_has_said_and_nothing_else() -> None:
    who = Identity(1.0, 7, b"me", (b"lib", b"1"), "a:1", "b:2", capa="r", marks="e", redirect=5)

    who.reset()

    assert who == Identity(1.0, 7, b"", (b"lib", b"1"), "a:1", "b:2")


def test_what_a_balancer_tells_wins_over_the_connection() -> None:
    who = Identity(1.0)
    who.told(("203.0.113.7", 5000), None)

    who.locate(Placed(("10.0.0.1", 1), ("10.0.0.2", 6380)))

    assert (who.peer, who.local) == ("203.0.113.7:5000", "10.0.0.2:6380")


def test_where_it_tells_nothing_the_connection_is_shown() -> None:
    who = Identity(1.0)
    who.told(None, None)

    who.locate(Placed(("10.0.0.1", 1), ("10.0.0.2", 6380)))

    assert (who.peer, who.local) == ("10.0.0.1:1", "10.0.0.2:6380")


def test_a_path_told_is_a_unix_client() -> None:
    who = Identity(1.0)

    who.told("/c", "/s")

    assert (who.peer, who.local) == ("/c:0", "/s:0")
