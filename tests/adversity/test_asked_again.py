"""Reads in flight as their connection dies are asked again, writes are not; nothing overtakes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.servers import Kind, Process, nearhit, server_binary, upstream, wait_for

from .conftest import url
from .fault import Fault, fault
from .links import Link, bulk, command, link

LOST = b"-UPSTREAM connection to the server lost"


class Scene(NamedTuple):
    server: Process
    relay: Fault
    proxy: Process


@pytest.fixture(
    scope="module",
    params=[("redis", "64mb"), ("redis", "off"), ("valkey", "64mb"), ("valkey", "off")],
    ids=lambda param: f"{param[0]}-near-{param[1]}",
)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    kind: Kind = request.param[0]
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    with (
        upstream(kind) as server,
        fault(server.port) as relay,
        nearhit(url(relay.port), "--near-cache", request.param[1]) as proxy,
    ):
        yield Scene(server, relay, proxy)


def calls(direct: Link, name: str) -> int:
    """How often the server has run a command."""
    found = direct.ask("INFO", "commandstats").split(b"cmdstat_%b:calls=" % name.encode())
    return int(found[1].split(b",")[0]) if len(found) > 1 else 0


@pytest.mark.parametrize("resp", [2, 3])
def test_reads_are_answered_and_writes_are_not_done_twice(scene: Scene, resp: int) -> None:
    server, relay, proxy = scene
    with link(server.port) as direct, link(proxy.port) as client, link(proxy.port) as writer:
        direct.ask("FLUSHALL")
        direct.ask("HSET", "h", "f", "1")
        direct.ask("SET", "k", "v")
        client.ask("HELLO", resp)
        for _ in range(3):  # known, and not near: it has changed
            client.ask("GET", "k")
        writer.ask("PING")
        direct.ask("SET", "k", "w")
        ran = {name: calls(direct, name) for name in ("strlen", "hgetall", "append")}
        relay.stall()
        client.send(command("STRLEN", "k"))
        client.send(command("HGETALL", "h"))
        writer.send(command("APPEND", "a", "x"))
        wait_for(lambda: calls(direct, "append") > ran["append"], 5, "the write")
        wait_for(lambda: calls(direct, "hgetall") > ran["hgetall"], 5, "the reads")

        relay.cut()
        relay.flow()
        client.send(command("SET", "k", "later") + command("GET", "k"))

        head = b"%1\r\n" if resp == 3 else b"*2\r\n"
        assert b"".join(client.read(4)) == (
            b":1\r\n" + head + bulk(b"f") + bulk(b"1") + b"+OK\r\n" + bulk(b"later")
        )
        assert writer.read(1)[0].startswith(LOST)
        assert direct.ask("GET", "a") == bulk(b"x")
        assert calls(direct, "strlen") == ran["strlen"] + 2


@pytest.mark.parametrize("resp", [2, 3])
def test_a_read_before_a_write_that_may_have_been_done_is_not(scene: Scene, resp: int) -> None:
    server, relay, proxy = scene
    with link(server.port) as direct, link(proxy.port) as client:
        direct.ask("FLUSHALL")
        client.ask("HELLO", resp)
        client.ask("STRLEN", "s")
        client.ask("APPEND", "t", "")
        ran = calls(direct, "append")
        relay.stall()
        client.send(command("STRLEN", "s"))
        client.send(command("APPEND", "s", "x"))
        wait_for(lambda: calls(direct, "append") > ran, 5, "the write")

        relay.cut()
        relay.flow()

        assert [reply.startswith(LOST) for reply in client.read(2)] == [True, True]
        assert client.ask("STRLEN", "s") == b":1\r\n"
