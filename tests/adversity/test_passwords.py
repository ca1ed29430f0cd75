"""A server that wants a password which the proxy does not have: clients log in, and read near."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Process, nearhit, upstream, wait_for

from .conftest import KIND, url
from .links import Link, bulk, link


@pytest.fixture
def server() -> Iterator[Process]:
    with upstream(KIND, *["--user", "boss", "on", ">boss", "~*", "+@all"]) as process:
        with link(process.port) as direct:
            direct.ask("CONFIG", "SET", "requirepass", "secret")
        yield process


def near_hits(client: Link) -> int:
    return int(client.ask("INFO", "nearhit").split(b"near_hits:")[1].split(b"\r\n")[0])


def test_clients_with_the_password_read_near_and_lose_rights_at_once(server: Process) -> None:
    with nearhit(url(server.port)) as proxy, link(proxy.port) as client:
        assert client.ask("GET", "k").startswith(b"-NOAUTH")
        assert client.ask("AUTH", "secret") == b"+OK\r\n"
        client.ask("SET", "k", "v")

        def mget_is_near() -> bool:
            before = near_hits(client)
            for _ in range(5):  # the first one behind INFO is asked
                assert client.ask("MGET", "k") == b"*1\r\n" + bulk(b"v")
            return near_hits(client) > before

        wait_for(mget_is_near, 5, "an MGET out of the near cache")
        with link(server.port) as direct:
            assert direct.ask("AUTH", "boss", "boss") == b"+OK\r\n"
            direct.ask("ACL", "SETUSER", "default", "-get", "-mget")

        wait_for(lambda: client.ask("GET", "k").startswith(b"-NOPERM"), 3, "the refusal")
        assert b"rights not told" not in proxy.log.read_bytes()
