"""Serving until a signal says stop: the start, settings that change, the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

import pytest
from nearhit.proxy.errors import ExitCode
from nearhit.proxy.process.listen import Doors, listening
from nearhit.proxy.process.reload import Settings
from nearhit.proxy.process.serve import serve
from nearhit.proxy.settings.address import Tcp
from nearhit.proxy.settings.config import Config, load
from redis import Redis

from .serving import SETTINGS, Client, Mute, connected, settings, until, until_info

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
        with Redis.from_url(valkey) as direct:
            direct.execute_command("CLIENT", "PAUSE", 20_000, "WRITE")
            try:
                client.writer.write(
                    b"POST /api/cache/invalidate HTTP/1.1\r\nHost: localhost\r\n"
                    b'Expect: 100-continue\r\nContent-Length: 12\r\n\r\n{"key": "k"}'
                )
                assert b"100" in await client.reader.readline()  # it runs, and waits

                os.kill(os.getpid(), signal.SIGTERM)
                await until(lambda: "stopping" in caplog.text)
                os.kill(os.getpid(), signal.SIGTERM)

                async with asyncio.timeout(5):
                    assert await served == ExitCode.ALL_DONE
            finally:
                direct.execute_command("CLIENT", "UNPAUSE")
        client.leave()


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
