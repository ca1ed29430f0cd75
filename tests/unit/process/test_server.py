"""A whole server in this process, in front of a real Valkey: its start, its clients, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.process import server as module
from nearhit.proxy.process.listen import Doors, listening
from nearhit.proxy.process.server import Server, raise_file_limit
from nearhit.proxy.settings.address import Tcp
from nearhit.proxy.settings.config import Config, load
from nearhit.proxy.upstream.ask import AskSlot

from tests.servers import any_kind, upstream

from .serving import SETTINGS, Client, Mute, connected, settings, until, until_info


@contextlib.asynccontextmanager
async def running(url: str, *doors: socket.socket, **given: str) -> AsyncIterator[Server]:
    server = Server(settings(**given), url)
    try:
        await server.start(Doors(doors))
        yield server
    finally:
        server.hurry()
        await server.stop()


# --- Start ------------------------------------------------------------------------------------


async def test_it_serves_clients_and_knows_the_upstream(valkey: str, door: socket.socket) -> None:
    async with running(valkey, door) as server:
        client = await connected(door.getsockname())

        assert await client.ask(b"SET", b"k", b"v") == b"+OK\r\n"
        assert server.version.startswith("Valkey ")
        assert len(server.clients) == 1
        assert repr(server).startswith("<Server serving 'Valkey ")

    assert await client.ended()
    client.leave()


async def test_it_fills_what_loaders_name_once_it_serves_and_again_what_is_new(
    valkey: str, door: socket.socket
) -> None:
    def loaders(warm: str) -> Config:
        text = f"[loaders.made]\nmatch = 'm:{{id}}'\ndemo = true\nwarm = '{warm}'\n"
        return load({**SETTINGS, "config": "nearhit.toml"}, {}, lambda path: text)

    def filled() -> object:
        return server._parts.stats.own()["jobs_done"]

    server = Server(loaders("m:1"), valkey)
    await server.start(Doors([door]))
    client = await connected(door.getsockname())

    await until(lambda: filled() == 1)
    server.take(loaders("m:{1..2}"))
    await until(lambda: filled() == 2)

    assert await client.ask(b"EXISTS", b"m:1", b"m:2") == b":2\r\n"
    client.leave()
    server.hurry()
    await server.stop()


async def test_an_upstream_that_refuses_us_is_a_start_error(valkey: str) -> None:
    url = valkey.replace("unix://", "unix://nobody:wrong@")

    with pytest.raises(StartError, match="refused us: WRONGPASS") as caught:
        async with running(url):
            pass

    assert caught.value.exit_code is ExitCode.REFUSED
    assert "wrong@" not in str(caught.value)


async def test_an_upstream_that_is_away_does_not_stop_it(
    tmp_path: Path, door: socket.socket
) -> None:
    async with running(f"unix://{tmp_path}/nobody", door) as server:
        client = await connected(door.getsockname())

        assert server.version == "no answer yet"
        assert (await client.ask(b"GET", b"k")).startswith(b"-UPSTREAM ")
        client.leave()


async def test_it_does_not_start_where_strangers_would_be_let_in(
    valkey: str, door: socket.socket
) -> None:
    with pytest.raises(StartError, match=r"protected mode: .* 0\.0\.0\.0:1 would be let in"):
        async with running(valkey, door, listen="0.0.0.0:1"):
            pass


async def test_who_has_served_before_goes_on_and_tells_that_strangers_are_denied(
    valkey: str, door: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(settings(listen="0.0.0.0:1"), valkey)
    await server.start(Doors([door]), again=True)

    assert "protected mode" in caplog.text
    await server.stop()


async def test_strangers_are_denied_where_the_upstream_is_reached_late(
    valkey: str, door: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = tmp_path / "late"
    async with running(f"unix://{late}", door, listen="0.0.0.0:1") as server:
        assert server._protection.unknown

        late.symlink_to(valkey.removeprefix("unix://"))
        await until(lambda: not server._protection.unknown)

        assert "protected mode" in caplog.text


async def test_a_new_primary_connection_is_asked_again(valkey: str, door: socket.socket) -> None:
    direct = await connected(valkey.removeprefix("unix://"))

    async with running(valkey, door):
        assert await direct.ask(b"CONFIG", b"RESETSTAT") == b"+OK\r\n"

        assert (await direct.ask(b"CLIENT", b"KILL", b"TYPE", b"normal")).startswith(b":")

        await until_info(direct, b"commandstats", b"cmdstat_command:calls=1,")
    direct.leave()


async def test_clients_of_a_user_that_the_server_has_dropped_are_closed(
    valkey: str, door: socket.socket
) -> None:
    direct = await connected(valkey.removeprefix("unix://"))
    rules = (b"on", b">pw", b"+@all", b"~*", b"&*")
    assert await direct.ask(b"ACL", b"SETUSER", b"ada", *rules) == b"+OK\r\n"

    async with running(valkey, door) as server:
        theirs, ours = [await connected(door.getsockname()) for _ in range(2)]
        assert await theirs.ask(b"AUTH", b"ada", b"pw") == b"+OK\r\n"
        assert await theirs.ask(b"SET", b"k", b"v") == b"+OK\r\n"
        assert await ours.ask(b"SET", b"k", b"v") == b"+OK\r\n"

        assert await direct.ask(b"ACL", b"DELUSER", b"ada") == b":1\r\n"

        async with asyncio.timeout(10):
            assert await theirs.ended()
        assert await ours.ask(b"PING") == b"+PONG\r\n"
        assert len(server.clients) == 1
        theirs.leave()
        ours.leave()
    direct.leave()


async def test_a_login_that_others_want_from_now_on_is_noticed_without_a_near_cache_too(
    valkey: str, door: socket.socket
) -> None:
    direct = await connected(valkey.removeprefix("unix://"))

    async with running(valkey, door, near_cache="off") as server:
        assert await direct.ask(b"CONFIG", b"SET", b"requirepass", b"pw") == b"+OK\r\n"
        try:
            await until(lambda: server._parts.lanes.newcomers.barred)
        finally:
            assert await direct.ask(b"CONFIG", b"SET", b"requirepass", b"") == b"+OK\r\n"
            direct.leave()


async def test_http_is_served_beside_and_drained_too(valkey: str, door: socket.socket) -> None:
    server = Server(settings(), valkey)
    with listening([Tcp("127.0.0.1", 0)]) as http:
        await server.start(Doors([door], http))
        client = Client(*await asyncio.open_connection(*http[0].getsockname()))

        client.writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await client.reader.readline() == b"HTTP/1.1 200 OK\r\n"

        await server.stop()
        await client.ended()
        client.leave()


async def test_a_server_that_leaves_the_login_to_clients_is_ready(door: socket.socket) -> None:
    with (
        upstream(any_kind(), "--requirepass", "pw") as locked,
        listening([Tcp("127.0.0.1", 0)]) as http,
    ):
        server = Server(settings(), f"redis://127.0.0.1:{locked.port}")
        await server.start(Doors([door], http))
        client = Client(*await asyncio.open_connection(*http[0].getsockname()))

        client.writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await client.reader.readline() == b"HTTP/1.1 200 OK\r\n"

        client.leave()
        await server.stop()


async def test_readiness_is_told_while_the_start_waits_for_the_upstream(
    tmp_path: Path, door: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.http.api.READY_S", 0.01)
    came, links = asyncio.Event(), list[asyncio.BaseTransport]()
    path = str(tmp_path / "mute")
    mute = await asyncio.get_running_loop().create_unix_server(lambda: Mute(came, links), path)
    server = Server(settings(env="production", drain_timeout="0s"), f"unix://{path}")
    with listening([Tcp("127.0.0.1", 0)]) as http:
        starting = asyncio.create_task(server.start(Doors([door], http)))
        try:
            async with asyncio.timeout(5):
                await came.wait()
                client = Client(*await asyncio.open_connection(*http[0].getsockname()))
                client.writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                line = await client.reader.readline()
                client.leave()

            assert line == b"HTTP/1.1 503 Service Unavailable\r\n"
            assert not starting.done()
        finally:  # or nothing would end the start, and the test with it
            server.hurry()
            await starting
            await server.stop()
            mute.close()
            for link in links:
                link.close()


# --- End --------------------------------------------------------------------------------------


async def writing(client: Client, server: Server) -> asyncio.Task[bytes]:
    """A write that the server has got and does not answer."""
    waiting = asyncio.create_task(client.ask(b"SET", b"k", b"v"))
    # Not a question of the proxy's own, as those about a user who has just come.
    await until(lambda: any(type(slot) is not AskSlot for slot in server._primary.waiting))
    return waiting


async def test_it_waits_for_the_last_answer_and_no_longer(
    valkey: str, door: socket.socket, paused: Client
) -> None:
    server = Server(settings(drain_timeout="1h"), valkey)
    await server.start(Doors([door]))
    client = await connected(door.getsockname())
    answer = await writing(client, server)

    stopping = asyncio.create_task(server.stop())
    await paused.ask(b"CLIENT", b"UNPAUSE")

    assert await answer == b"+OK\r\n"
    async with asyncio.timeout(10):
        await stopping
    assert repr(server).startswith("<Server stopping ")
    client.leave()


@pytest.mark.parametrize("hurried", [False, True])
async def test_a_client_without_its_answer_is_closed_when_the_time_is_over(
    valkey: str, door: socket.socket, paused: Client, hurried: bool
) -> None:
    server = Server(settings(drain_timeout="1h" if hurried else "10ms"), valkey)
    await server.start(Doors([door]))
    client = await connected(door.getsockname())
    answer = await writing(client, server)

    stopping = asyncio.create_task(server.stop())
    if hurried:
        await asyncio.sleep(0)
        assert not stopping.done()
        server.hurry()
    async with asyncio.timeout(10):
        await stopping

    assert await answer == b""
    client.leave()


async def test_at_the_end_nobody_can_connect(valkey: str) -> None:
    with listening([Tcp("127.0.0.1", 0)]) as (door,):
        host, port = door.getsockname()
        async with running(valkey, door):
            pass

        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)


@pytest.mark.parametrize(
    ("soft", "hard", "granted", "warned"),
    [
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, False),
        (300, 1000, None, False),
        (100, resource.RLIM_INFINITY, 264, False),
        (100, 1000, 264, False),
        (100, 200, 200, False),
        (100, 120, 120, True),
    ],
)
def test_files_are_allowed_for_all_clients_as_far_as_the_system_lets_us(
    soft: int,
    hard: int,
    granted: int | None,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(module.resource, "setrlimit", lambda _, both: limits.append(both))

    raise_file_limit(100)

    assert limits == ([] if granted is None else [(granted, hard)])
    assert ("few files allowed" in caplog.text) is warned
