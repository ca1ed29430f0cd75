"""Replies that end in the middle, come a byte at a time, or not at all."""

from __future__ import annotations

import pytest

from .conftest import Relayed
from .links import bulk, command, link

VALUE = b"a" * 1000 + b"MIDDLE" + b"z" * 1000


@pytest.mark.parametrize("before", [0, 1, 20])
def test_a_reply_cut_in_the_middle_ends_the_connection_of_its_client(
    relayed: Relayed, before: int
) -> None:
    server, relay, proxy = relayed
    with link(server.port) as direct:
        direct.ask("SET", "k", VALUE)
    with link(proxy.port) as client, link(proxy.port) as other:
        other.ask("PING")
        relay.cut_within = b"MIDDLE"

        pings = b"".join(command("ECHO", str(at)) for at in range(before))
        client.send(pings + command("GET", "k") + command("PING") * 5)
        got = client.rest()

        expected = b"".join(bulk(b"%d" % at) for at in range(before)) + bulk(VALUE)
        assert got is not None, f"not closed: {client}"
        assert expected.startswith(got), "bytes behind a reply that broke off"
        assert relay.cuts == 1
        assert other.ask("ECHO", "served") == bulk(b"served")


def test_a_transaction_cut_in_the_middle_of_its_reply_ends_the_connection(relayed: Relayed) -> None:
    server, relay, proxy = relayed
    with link(server.port) as direct:
        direct.ask("SET", "k", VALUE)
    relay.cut_within = b"MIDDLE"
    with link(proxy.port) as client:
        client.send(command("MULTI") + command("GET", "k") + command("EXEC") + command("PING"))
        got = client.rest()

    assert got is not None
    assert (b"+OK\r\n+QUEUED\r\n*1\r\n" + bulk(VALUE)).startswith(got)


def test_others_on_the_lane_that_was_cut_get_errors_in_order(relayed: Relayed) -> None:
    server, relay, proxy = relayed
    with link(server.port) as direct:
        direct.ask("SET", "k", VALUE)
    with link(proxy.port) as client, link(proxy.port) as other:
        other.ask("PING")
        relay.stall()
        client.send(command("GET", "k"))
        other.send(command("ECHO", "1") + command("ECHO", "2"))
        relay.cut_within = b"MIDDLE"
        relay.flow()

        assert client.rest() is not None
        replies = other.read(2)
        allowed = {bulk(b"1"), bulk(b"2")}
        assert len(replies) == 2
        assert all(reply in allowed or reply.startswith(b"-UPSTREAM ") for reply in replies)
        assert other.ask("ECHO", "3") == bulk(b"3")


def test_replies_that_come_one_byte_at_a_time_are_the_same(relayed: Relayed) -> None:
    _, relay, proxy = relayed
    relay.dribble = 1
    with link(proxy.port) as client:
        client.send(
            command("SET", "k", "v" * 300)
            + command("GET", "k")
            + command("MULTI")
            + command("GET", "k")
            + command("EXEC")
            + command("LPUSH", "l", "a")
            + command("BLPOP", "l", "1")
            + command("HELLO", "3")
        )
        replies = client.read(8, 10)

    value = bulk(b"v" * 300)
    assert replies[:6] == [
        b"+OK\r\n",
        value,
        b"+OK\r\n",
        b"+QUEUED\r\n",
        b"*1\r\n" + value,
        b":1\r\n",
    ]
    assert replies[6] == b"*2\r\n" + bulk(b"l") + bulk(b"a")
    assert replies[7].startswith(b"%7\r\n")


def test_connections_that_are_reset_at_once_make_commands_fail_and_not_hang(
    relayed: Relayed,
) -> None:
    _, relay, proxy = relayed
    with link(proxy.port) as client:
        client.ask("PING")
        relay.accepting = False
        relay.cut()

        assert client.ask("GET", "k", seconds=3).startswith(b"-UPSTREAM ")
        client.send(command("MULTI"))
        assert client.read(1, 3)[0].startswith(b"-UPSTREAM ")
