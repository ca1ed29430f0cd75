"""A whole server in this process, in front of a real Valkey: its start, its clients, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.process import server as module
from nearhit.proxy.process.embedded import Embedded, find_server
from nearhit.proxy.process.listen import Doors, listening
from nearhit.proxy.process.reload import Settings
from nearhit.proxy.process.server import Server, raise_file_limit, serve
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.settings.address import Tcp, Unix
from nearhit.proxy.settings.config import Config, load
from nearhit.proxy.upstream.ask import AskSlot

SETTINGS = {"drain_timeout": "5s", "http": "off", "stats_key": "off"}


def settings(**given: str) -> Config:
    return load({**SETTINGS, **given}, {}, lambda path: "")


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """The URL of a server."""
    with Embedded(find_server()) as embedded:
        yield embedded.url


@pytest.fixture
def door(tmp_path: Path) -> Iterator[socket.socket]:
    with listening([Unix(str(tmp_path / "s"))]) as (one,):
        yield one


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, *words: bytes) -> bytes:
        self.writer.write(encode(words))
        return await self.reader.readline()

    async def ended(self) -> bool:
        """Whether the other side has closed it, once it has."""
        return await self.reader.read() == b""

    def leave(self) -> None:
        self.writer.close()


async def connected(path: str) -> Client:
    return Client(*await asyncio.open_unix_connection(path))


async def until_info(client: Client, section: bytes, says: bytes) -> None:
    """Ask for a section of INFO until it says so."""
    async with asyncio.timeout(10):
        found = b""
        while says not in found:
            size = int((await client.ask(b"INFO", section))[1:])
            found = await client.reader.readexactly(size + 2)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


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


@pytest.fixture
async def paused(valkey: str) -> AsyncIterator[Client]:
    """A connection to the server, which answers no write before CLIENT UNPAUSE."""
    direct = await connected(valkey.removeprefix("unix://"))
    assert await direct.ask(b"CLIENT", b"PAUSE", b"3600000", b"WRITE") == b"+OK\r\n"
    yield direct
    await direct.ask(b"CLIENT", b"UNPAUSE")
    direct.leave()


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


# --- serve ------------------------------------------------------------------------------------


async def test_serve_says_that_it_is_ready_and_ends_at_a_signal(
    valkey: str, door: socket.socket
) -> None:
    said: list[str] = []

    def ready(version: str) -> None:
        said.append(version)
        os.kill(os.getpid(), signal.SIGTERM)

    code = await serve(Settings(settings()), valkey, doors=Doors([door]), ready=ready)

    assert code == ExitCode.ALL_DONE
    assert len(said) == 1
    assert said[0].startswith("Valkey ")


async def test_a_second_signal_ends_the_drain(
    valkey: str, door: socket.socket, paused: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    given = settings(drain_timeout="1h")
    served = asyncio.create_task(
        serve(Settings(given), valkey, doors=Doors([door]), ready=ready.set_result)
    )
    await ready
    client = await connected(door.getsockname())
    answer = asyncio.create_task(client.ask(b"SET", b"k", b"v"))
    # Paused: so it has come when the server says that a client is blocked.
    await until_info(paused, b"clients", b"blocked_clients:1")

    os.kill(os.getpid(), signal.SIGINT)
    await until(lambda: "stopping" in caplog.text)
    os.kill(os.getpid(), signal.SIGINT)

    async with asyncio.timeout(10):
        assert await served == ExitCode.ALL_DONE
    assert await answer == b""
    client.leave()


class Mute(asyncio.Protocol):
    """A server that takes connections and says nothing."""

    def __init__(self, came: asyncio.Event, links: list[asyncio.BaseTransport]) -> None:
        self.came = came
        self.links = links

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.links.append(transport)
        self.came.set()


async def test_a_signal_ends_a_start_whose_upstream_says_nothing(
    tmp_path: Path, door: socket.socket
) -> None:
    came = asyncio.Event()
    loop = asyncio.get_running_loop()
    path = str(tmp_path / "mute")
    links: list[asyncio.BaseTransport] = []
    mute = await loop.create_unix_server(lambda: Mute(came, links), path)
    given = settings(env="production", drain_timeout="1h")
    said: list[str] = []
    served = asyncio.create_task(
        serve(Settings(given), f"unix://{path}", doors=Doors([door]), ready=said.append)
    )
    await came.wait()
    client = await connected(door.getsockname())
    answer = asyncio.create_task(client.ask(b"GET", b"k"))

    os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(5):
        assert await served == ExitCode.ALL_DONE
    assert said == []
    await asyncio.gather(answer, return_exceptions=True)
    client.leave()
    mute.close()
    for link in links:
        link.close()


async def test_a_signal_that_asks_for_nothing_is_logged(
    valkey: str, door: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    def ready(version: str) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)

    code = await serve(Settings(settings()), valkey, doors=Doors([door]), ready=ready)

    assert code == ExitCode.ALL_DONE
    assert "signal ignored" in caplog.text


async def test_a_second_signal_does_not_wait_for_http(
    valkey: str, door: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    given = settings(drain_timeout="1h")
    with listening([Tcp("127.0.0.1", 0)]) as http:
        served = asyncio.create_task(
            serve(Settings(given), valkey, doors=Doors([door], http), ready=ready.set_result)
        )
        await ready
        client = Client(*await asyncio.open_connection(*http[0].getsockname()))
        client.writer.write(
            b"POST /api/cache/warm HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Content-Length: 9\r\n\r\n"
        )
        assert b"100" in await client.reader.readline()  # it runs, and waits for the rest

        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: "stopping" in caplog.text)
        os.kill(os.getpid(), signal.SIGTERM)

        async with asyncio.timeout(5):
            assert await served == ExitCode.ALL_DONE
        client.leave()


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


# --- Settings that change, and a delay --------------------------------------------------------


async def test_settings_are_read_again_at_sighup(
    valkey: str, door: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    file = '[loaders.made_up]\nmatch = "x:{id}"\ndemo = true\n'

    def read() -> Config:
        return load({**SETTINGS, "config": "f", "max_clients": "1"}, {}, lambda path: file)

    held = Settings(settings(env="production", upstream="redis://h"), read)
    served = asyncio.create_task(serve(held, valkey, doors=Doors([door]), ready=ready.set_result))
    await ready
    client = await connected(door.getsockname())
    assert await client.ask(b"PING") == b"+PONG\r\n"

    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: "settings reloaded" in caplog.text)

    assert (await client.ask(b"GETORSET", b"x:1")).startswith(b"$")
    late = await connected(door.getsockname())
    assert (await late.reader.readline()).startswith(b"-ERR max number of clients")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await served == ExitCode.ALL_DONE
    client.leave()
    late.leave()


async def test_a_delay_serves_newcomers_until_it_is_over(
    valkey: str, door: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    given = settings(drain_delay="1h")
    served = asyncio.create_task(
        serve(Settings(given), valkey, doors=Doors([door]), ready=ready.set_result)
    )
    await ready

    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: "stopping" in caplog.text)

    client = await connected(door.getsockname())
    assert await client.ask(b"PING") == b"+PONG\r\n"
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await served == ExitCode.ALL_DONE
    client.leave()
