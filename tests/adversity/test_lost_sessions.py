"""Connections with state of their own: their lane dies, or their client does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from tests.servers import wait_for

from .conftest import Pair, Relayed
from .links import Link, command, link

States = dict[str, list[tuple[str, ...]]]
STATES: States = {
    "MULTI": [("MULTI",), ("SET", "half", "1")],
    "WATCH": [("WATCH", "half")],
    "SUBSCRIBE": [("SUBSCRIBE", "c")],
    "TRACKING": [("HELLO", "3"), ("CLIENT", "TRACKING", "ON")],
    "NO-EVICT": [("CLIENT", "NO-EVICT", "ON")],
    "MONITOR": [("MONITOR",)],
}


@pytest.mark.parametrize("state", STATES)
def test_a_client_whose_state_died_with_its_lane_is_closed(relayed: Relayed, state: str) -> None:
    server, relay, proxy = relayed
    with link(proxy.port) as client:
        for words in STATES[state]:
            assert not client.ask(*words).startswith(b"-")

        relay.cut()
        rest = client.rest()

        assert rest is not None, f"not closed: {client}"
        assert rest in (b"",) or rest.startswith(b"-UPSTREAM ")
    with link(server.port) as direct:
        assert direct.ask("EXISTS", "half") == b":0\r\n"


@pytest.mark.parametrize("part", range(4))
def test_a_transaction_whose_lane_dies_under_it_runs_as_a_whole_or_not(
    relayed: Relayed, part: int
) -> None:
    """In parts: the more often in a row it was cut, the longer a lane waits before it dials."""
    server, relay, proxy = relayed
    for number in range(part * 10, part * 10 + 10):
        names = [f"{number}:{at}" for at in range(60)]
        data = b"".join(command("SET", name, "1") for name in names)
        with link(proxy.port) as client:
            cutter = threading.Thread(target=relay.cut)
            client.send(command("MULTI"))
            cutter.start()
            client.send(data + command("EXEC"))
            client.read(len(names) + 2, 2)
            cutter.join()
        with link(server.port) as direct:
            done = direct.ask("EXISTS", *names)
        assert done in (b":0\r\n", b":60\r\n"), f"half a transaction was executed: {done!r}"


def test_nothing_of_a_transaction_runs_whose_multi_failed(relayed: Relayed) -> None:
    server, relay, proxy = relayed
    with link(proxy.port) as client:
        client.ask("PING")
        relay.cut_on = b"MULTI"
        client.send(command("MULTI") + command("SET", "half", "1"))
        wait_for(lambda: relay.cuts, 3, "the cut")
        relay.cut_on = b""
        client.read(2, 2)

        # What a client sends that has not read the errors yet.
        client.send(command("SET", "other", "2") + command("EXEC"))
        client.read(2, 2)

    with link(server.port) as direct:
        assert direct.ask("EXISTS", "half", "other") == b":0\r\n"


def test_a_blocked_client_whose_lane_dies_is_closed_without_a_word(relayed: Relayed) -> None:
    """As by a server that dies: Celery's and RQ's workers connect anew then, and end themselves for
    an error."""
    _, relay, proxy = relayed
    with link(proxy.port) as client:
        client.send(command("BLPOP", "q", "0") + command("ECHO", "behind"))
        assert client.read(1, 0.1) == []
        relay.cut()

        assert client.rest() == b""


# --- Clients that leave ---------------------------------------------------------------------------


def _leave_at_once(client: Link) -> None:
    client.close()


def _leave_by_reset(client: Link) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def _leave_half(client: Link) -> None:
    client.socket.shutdown(socket.SHUT_WR)


LEAVES = [_leave_at_once, _leave_by_reset, _leave_half]
BEFORE = {
    "alone": b"",
    "behind a command": command("GET", "x"),
    "behind many": command("GET", "x") * 200,
}


@pytest.mark.parametrize("leave", LEAVES)
@pytest.mark.parametrize("before", BEFORE)
def test_nothing_is_popped_for_a_client_that_left(
    steady: Pair, leave: Callable[[Link], None], before: str
) -> None:
    server, proxy = steady
    key = f"{before} {leave.__name__}"
    with (
        link(server.port) as direct,
        link(proxy.port) as client,
        link(proxy.port) as other,
    ):
        other.ask("CLIENT", "SETNAME", "other")
        client.ask("CLIENT", "SETNAME", "leaver")
        direct.send(command("DEBUG", "SLEEP", "0.05"))  # its end comes before any reply
        client.send(BEFORE[before] + command("BLPOP", key, "0"))
        leave(client)
        assert direct.read(1) == [b"+OK\r\n"]

        wait_for(lambda: b"name=leaver" not in other.ask("CLIENT", "LIST"), 2, "the client's end")
        assert direct.ask("RPUSH", key, "v") == b":1\r\n"
        assert direct.ask("LLEN", key) == b":1\r\n", "popped for nobody"
