"""What a session has of a client's bytes, out of its fields."""

from __future__ import annotations

from tests.fakes import Client, World


async def test_what_came_and_what_waits_is_told_apart(world: World, client: Client) -> None:
    world.dial.answer = lambda words: b"+PONG\r\n"
    client.send(b"PING")
    await world.settle()
    client.raw(b"*1\r\n$4\r\nPI")
    client.session.write(b"one")
    client.session.write(b"two")
    client.wire.unread = 7

    traffic = client.session.traffic

    assert (traffic.received, traffic.sent, traffic.answered) == (14 + 10, 7 + 6, 1)
    assert (traffic.unread, traffic.room) == (10, 256 * 1024 - 10)
    assert (traffic.gathered, traffic.unsent) == ((6, 2), 7)


async def test_one_piece_of_this_turn_is_counted_too(client: Client) -> None:
    client.session.write(b"one")

    assert client.session.traffic.gathered == (3, 1)


async def test_a_client_that_is_gone_has_nothing_unsent(client: Client) -> None:
    client.leave()

    assert client.session.traffic.unsent == 0
