"""The server is away: loaders answer for their keys alone, and the near cache goes on for a while
where it is told to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.servers import Kind, Process, nearhit, upstream, wait_for

from .conftest import url
from .links import Link, bulk, command, link

pytestmark = pytest.mark.waits

LOADERS = """
stale_if_down = "30s"

[loaders.made]
match = "made:{id}"
demo = true
read_through = true

[loaders.graceful]
match = "graceful:{id}"
demo = true
grace = "60s"

[loaders.strict]
match = "strict:{id}"
demo = true
fail_open = false
"""


NIL = {2: b"$-1\r\n", 3: b"_\r\n"}


class World:
    def __init__(self, server: Process, proxy: Process) -> None:
        self.server = server
        self.proxy = proxy

    def stats(self, client: Link, name: str) -> int:
        found = re.search(rf"{name}:(\d+)", client.ask("INFO", "nearhit").decode())
        return int(found[1]) if found else 0

    @contextmanager
    def clients(self) -> Iterator[dict[int, Link]]:
        """One for each protocol."""
        with link(self.proxy.port) as two, link(self.proxy.port) as three:
            two.ask("HELLO", "2")
            three.ask("HELLO", "3")
            yield {2: two, 3: three}


MODES = ("development", "production")
KINDS: tuple[Kind, ...] = ("redis", "valkey")


@pytest.fixture(params=[f"{kind}-{mode}" for kind in KINDS for mode in MODES])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """In production it is dialled for ten seconds before commands fail at once."""
    kind, _, mode = request.param.partition("-")
    path = tmp_path / "nearhit.toml"
    path.write_text(LOADERS)
    with ExitStack() as stack:
        server = stack.enter_context(upstream(kind))
        env = {"NEARHIT_ENV": mode}
        proxy = stack.enter_context(nearhit(url(server.port), "--config", str(path), env=env))
        yield World(server, proxy)


def test_loaders_answer_for_a_server_that_is_away_and_store_nothing(world: World) -> None:
    def value(key: str) -> bytes:
        return bulk(f"demo value of {key}".encode())

    with world.clients() as clients:
        client = clients[2]
        client.ask("SET", "made:set", "there")
        client.ask("GETORSET", "strict:1")
        world.server.kill()

        for one in clients.values():
            one.send(
                command("GETORSET", "made:1")
                + command("GET", "made:2")
                + command("GETORSET", "graceful:1")
                + command("MGETORSET", "2", "made:3", "graceful:2")
                + command("MGET", "made:4", "made:5")
            )
            assert one.read(5, 5) == [
                value("made:1"),
                value("made:2"),
                value("graceful:1"),
                b"*2\r\n" + value("made:3") + value("graceful:2"),
                b"*2\r\n" + value("made:4") + value("made:5"),
            ]
        world.server.start()
        wait_for(lambda: client.ask("EXISTS", "made:1") == b":0\r\n", 15, "service")

        def stored() -> bool:
            assert client.ask("GETORSET", "made:1") == value("made:1")
            return client.ask("EXISTS", "made:1", "made:2") == b":1\r\n"

        # The lane of scripts may be back a little later than that of EXISTS.
        wait_for(stored, 15, "a load that is stored")


DEVELOPING = [f"{kind}-development" for kind in KINDS]


@pytest.mark.parametrize("world", DEVELOPING, indirect=True)
def test_without_fail_open_and_without_a_loader_the_error_is_the_answer(world: World) -> None:
    with world.clients() as clients:
        for one in clients.values():
            one.ask("PING")
        world.server.kill()

        for one in clients.values():
            assert one.ask("GETORSET", "strict:1").startswith(b"-UPSTREAM no connection")
            assert one.ask("GETORSET", "nobody's").startswith(b"-UPSTREAM no connection")
            many = one.ask("MGETORSET", "2", "made:1", "nobody's")
            assert many.startswith(b"-UPSTREAM no conn")


def test_what_stood_near_is_told_until_the_link_is_back(world: World) -> None:
    proxy, server = world.proxy, world.server
    with world.clients() as clients, link(proxy.port) as other, link(server.port) as direct:
        client = clients[2]
        other.ask("SELECT", "1")
        for key in ("k", "made:near"):
            direct.ask("SET", key, "right")
        for _ in range(3):
            for words in (("GET", "k"), ("GETORSET", "made:near")):
                assert client.ask(*words) == bulk(b"right")
        wait_for(lambda: world.stats(client, "near_entries") == 2, 5, "both near")
        # Behind STATS the tracked lane is asked once more before anything is read near.
        assert client.ask("GET", "k") == bulk(b"right")

        world.server.kill()
        for one in clients.values():
            for words in (("GET", "k"), ("GETORSET", "made:near"), ("GET", "made:near")):
                assert one.ask(*words) == bulk(b"right"), words
            assert one.ask("MGET", "k", "k") == b"*2\r\n" + bulk(b"right") * 2
        other.send(command("GET", "k"))  # of another db, where it is not
        assert b"right" not in b"".join(other.read(1, 0.3))

        world.server.start()  # empty
        wait_for(lambda: client.ask("PING") == b"+PONG\r\n", 15, "service")
        for resp, one in clients.items():
            wait_for(lambda: one.ask("GET", "k") == NIL[resp], 5, "the link")  # noqa: B023
            assert one.ask("GETORSET", "made:near") == bulk(b"demo value of made:near")
        # The first ones may have come before the loss was known, and some before the new link.
        assert world.stats(client, "near_hits_down") >= 3
