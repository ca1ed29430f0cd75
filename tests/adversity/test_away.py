"""The server is away: loaders answer for their keys alone, and the near cache goes on for a while
where it is told to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
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


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def resp(request: pytest.FixtureRequest) -> int:
    return int(request.param)


class World:
    def __init__(self, server: Process, proxy: Process) -> None:
        self.server = server
        self.proxy = proxy

    def stats(self, client: Link, name: str) -> int:
        found = re.search(rf"{name}:(\d+)", client.ask("INFO", "nearhit").decode())
        return int(found[1]) if found else 0


KINDS: dict[str, Kind] = {"development": "redis", "production": "valkey"}


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """In production it is dialled for ten seconds before commands fail at once."""
    path = tmp_path / "nearhit.toml"
    path.write_text(LOADERS)
    with ExitStack() as stack:
        server = stack.enter_context(upstream(KINDS[request.param]))
        env = {"NEARHIT_ENV": request.param}
        proxy = stack.enter_context(nearhit(url(server.port), "--config", str(path), env=env))
        yield World(server, proxy)


def test_loaders_answer_for_a_server_that_is_away_and_store_nothing(
    world: World, resp: int
) -> None:
    with link(world.proxy.port) as client:
        client.ask("HELLO", str(resp))
        client.ask("SET", "made:set", "there")
        client.ask("GETORSET", "strict:1")
        world.server.kill()

        client.send(
            command("GETORSET", "made:1")
            + command("GET", "made:2")
            + command("GETORSET", "graceful:1")
            + command("MGETORSET", "2", "made:3", "graceful:2")
            + command("MGET", "made:4", "made:5")
        )
        answers = client.read(5, 5)

        def value(key: str) -> bytes:
            return bulk(f"demo value of {key}".encode())

        assert answers == [
            value("made:1"),
            value("made:2"),
            value("graceful:1"),
            b"*2\r\n" + value("made:3") + value("graceful:2"),
            b"*2\r\n" + value("made:4") + value("made:5"),
        ]
        world.server.start()
        wait_for(lambda: client.ask("EXISTS", "made:1") == b":0\r\n", 15, "service")
        assert client.ask("GETORSET", "made:1") == value("made:1")
        assert client.ask("EXISTS", "made:1", "made:2") == b":1\r\n"


@pytest.mark.parametrize("world", ["development"], indirect=True)
def test_without_fail_open_and_without_a_loader_the_error_is_the_answer(world: World) -> None:
    with link(world.proxy.port) as client:
        client.ask("PING")
        world.server.kill()

        assert client.ask("GETORSET", "strict:1").startswith(b"-UPSTREAM no connection")
        assert client.ask("GETORSET", "nobody's").startswith(b"-UPSTREAM no connection")
        assert client.ask("MGETORSET", "2", "made:1", "nobody's").startswith(b"-UPSTREAM no conn")


def test_what_stood_near_is_told_until_the_link_is_back(world: World, resp: int) -> None:
    proxy, server = world.proxy, world.server
    with link(proxy.port) as client, link(proxy.port) as other, link(server.port) as direct:
        client.ask("HELLO", str(resp))
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
        for words in (("GET", "k"), ("GETORSET", "made:near"), ("GET", "made:near")):
            assert client.ask(*words) == bulk(b"right"), words
        assert client.ask("MGET", "k", "k") == b"*2\r\n" + bulk(b"right") * 2
        other.send(command("GET", "k"))  # of another db, where it is not
        assert b"right" not in b"".join(other.read(1, 0.3))

        world.server.start()  # empty
        wait_for(lambda: client.ask("PING") == b"+PONG\r\n", 15, "service")
        nil = {2: b"$-1\r\n", 3: b"_\r\n"}[resp]
        wait_for(lambda: client.ask("GET", "k") == nil, 5, "the link")
        assert client.ask("GETORSET", "made:near") == bulk(b"demo value of made:near")
        # The first ones may have come before the loss was known, and some before the new link.
        assert world.stats(client, "near_hits_down") >= 3
