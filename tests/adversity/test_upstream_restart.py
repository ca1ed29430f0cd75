"""The upstream is killed and comes back while clients hold their connections to the proxy."""

from __future__ import annotations

import threading
import time

import pytest

from tests.servers import nearhit, wait_for

from .conftest import Pair, Relayed, url
from .fault import Fault
from .links import Link, bulk, command, link, split

pytestmark = pytest.mark.waits

UPSTREAM = b"-UPSTREAM "


def test_commands_in_flight_fail_once_each_and_later_ones_succeed(pair: Pair) -> None:
    server, proxy = pair
    with link(server.port) as direct, link(proxy.port) as client:
        client.ask("PING")
        direct.send(command("DEBUG", "SLEEP", "5"))  # the server answers nobody
        client.send(b"".join(command("ECHO", f"lost {i}") for i in range(10)))
        wait_for(lambda: _unread_by(server.pid), 5, "requests waiting in the server's socket")

        server.kill()
        replies = client.read(10)
        server.start()

        assert [reply[:10] for reply in replies] == [UPSTREAM] * 10
        # A server that starts slowly outlasts the three attempts of development.
        wait_for(lambda: client.ask("ECHO", "found") == bulk(b"found"), 5, "service")


def _unread_by(pid: int) -> bool:
    """Whether a connection to the server holds bytes that it has not read."""
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    return any(row[4].partition(":")[2] != "00000000" for row in rows)


def test_commands_sent_while_the_server_is_away_wait_for_it(pair: Pair) -> None:
    server, _ = pair
    with nearhit(url(server.port), env={"NEARHIT_ENV": "production"}) as proxy:
        with link(proxy.port) as one, link(proxy.port) as two:
            one.ask("PING")
            two.ask("SELECT", "1")
            server.kill()

            one.send(command("SET", "a", "1") + command("GET", "a"))
            two.send(command("SET", "b", "2") + command("GET", "b"))
            assert one.read(1, 0.3) == []
            server.start()

            assert one.read(2, 5) == [b"+OK\r\n", bulk(b"1")]
            assert two.read(2, 5) == [b"+OK\r\n", bulk(b"2")]
        with link(server.port) as direct:
            assert direct.ask("GET", "a") == bulk(b"1")
            direct.ask("SELECT", "1")
            assert direct.ask("GET", "b") == bulk(b"2")


def test_after_the_last_attempt_commands_fail_at_once_until_the_server_is_back(pair: Pair) -> None:
    server, proxy = pair
    with link(proxy.port) as client:
        client.ask("PING")
        server.kill()
        wait_for(lambda: b"upstream is down" in proxy.log.read_bytes(), 5, "giving up")

        begin = time.monotonic()
        replies = [client.ask(*words) for words in ([("GET", "a")] * 20)]
        assert time.monotonic() - begin < 0.2
        assert [reply[:10] for reply in replies] == [UPSTREAM] * 20
        assert client.ask("BLPOP", "q", "1").startswith(UPSTREAM)

        server.start()
        wait_for(lambda: client.ask("GET", "a") == b"$-1\r\n", 2.5, "service")


def test_a_lane_of_every_kind_serves_again_after_a_restart(pair: Pair) -> None:
    server, proxy = pair
    requests = {
        "shared": (command("GET", "a"), b"$-1\r\n"),
        "script": (command("EVAL", "return 1", "0"), b":1\r\n"),
        "own": (command("BLPOP", "nothing", "0.01"), b"*-1\r\n"),
        "transaction": (command("MULTI") + command("EXEC"), b"+OK\r\n*0\r\n"),
        "login": (command("AUTH", "default", "any"), b"+OK\r\n"),
    }
    with link(proxy.port) as client:
        for data, expected in requests.values():
            client.send(data)
            assert b"".join(client.read(len(split(expected)))) == expected
        server.kill()
        server.start()

        wait_for(lambda: client.ask("GET", "a") == b"$-1\r\n", 3, "service")
        for name, (data, expected) in requests.items():
            client.send(data)
            assert b"".join(client.read(len(split(expected)))) == expected, name


def test_pipelines_get_their_own_replies_or_errors_in_order_under_repeated_cuts(
    relayed: Relayed,
) -> None:
    _, relay, proxy = relayed
    clients = [EchoClient(proxy.port, number) for number in range(4)]
    for client in clients:
        client.start()
    end = time.monotonic() + 2.5
    while time.monotonic() < end and any(client.is_alive() for client in clients):
        reached = min(client.rounds for client in clients) + 3
        wait_for(lambda: min(client.rounds for client in clients) >= reached, 10, "rounds")  # noqa: B023
        relay.cut()
    for client in clients:
        client.ended = True
    for client in clients:
        client.join(10)

    assert [client.wrong for client in clients] == [[]] * 4
    assert all(client.good > 100 for client in clients)
    assert sum(client.errors for client in clients) > 10, "no cut hit a command: a test of nothing"


class EchoClient(threading.Thread):
    """Pipelines of unique words, for ever; keeps what was not as it must be."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self.port, self.number = port, number
        self.rounds = self.good = self.errors = 0
        self.wrong: list[tuple[bytes, bytes]] = []
        self.ended = False

    def run(self) -> None:
        with link(self.port) as client:
            while not self.ended and not self.wrong:
                self._round(client)
                self.rounds += 1

    def _round(self, client: Link) -> None:
        words = [b"%d-%d-%d" % (self.number, self.rounds, at) for at in range(150)]
        client.send(b"".join(command("ECHO", word) for word in words))
        replies = client.read(len(words), 8)
        replies += [b"nothing"] * (len(words) - len(replies))
        for word, reply in zip(words, replies, strict=True):
            if reply == bulk(word):
                self.good += 1
            elif reply.startswith(UPSTREAM):
                self.errors += 1
            else:
                self.wrong.append((word, reply))


@pytest.mark.parametrize("part", range(4))
def test_no_command_is_executed_twice_and_what_was_confirmed_once(
    relayed: Relayed, part: int
) -> None:
    """In parts: the more often in a row it was cut, the longer a lane waits before it dials."""
    server, relay, proxy = relayed
    confirmed: list[str] = []
    unknown = 0
    with link(proxy.port) as client, link(server.port) as direct:
        for number in range(part * 15, part * 15 + 15):
            names = [f"{number}-{at}" for at in range(20)]
            data = b"".join(command("APPEND", name, "x") for name in names)
            if number % 3:
                cutter = threading.Thread(target=_cut_soon, args=(relay, number))
                cutter.start()
                client.send(data)
            else:  # executed, and nobody told
                wait_for(lambda: client.ask("PING") == b"+PONG\r\n", 3, "a lane")
                relay.stall()
                client.send(data)
                cutter = threading.Thread(target=_cut_executed, args=(relay, direct, names[0]))
                cutter.start()
            replies = client.read(len(names), 8)
            cutter.join()
            assert len(replies) == len(names), client
            for name, reply in zip(names, replies, strict=True):
                assert reply.startswith((b":", UPSTREAM)), reply
                confirmed += [name] if reply.startswith(b":") else []
                unknown += reply.startswith(UPSTREAM)
                assert not reply.startswith(b":") or reply == b":1\r\n", "executed twice"

    assert unknown, "no cut hit a command: a test of nothing"
    with link(server.port) as direct:
        lengths = [direct.ask("STRLEN", name) for name in confirmed]
        assert lengths == [b":1\r\n"] * len(confirmed)
        direct.send(command("EVAL", LONGEST, "0"))
        assert direct.read(1) == [b":1\r\n"]


LONGEST = """
local most = 0
for _, key in ipairs(redis.call('KEYS', '*')) do
  most = math.max(most, redis.call('STRLEN', key))
end
return most
"""


def _cut_executed(relay: Fault, direct: Link, name: str) -> None:
    try:
        wait_for(lambda: direct.ask("EXISTS", name) == b":1\r\n", 3, "the command's execution")
    finally:
        relay.cut()
        relay.flow()


def _cut_soon(relay: Fault, number: int) -> None:
    """A cut somewhere within the round: sooner or later, by a busy loop and no sleep."""
    for _ in range(number * 200):
        pass
    relay.cut()
