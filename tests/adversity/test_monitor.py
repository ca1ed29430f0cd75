"""MONITOR through the proxy shows what clients send, not what lanes do on their own account."""

from __future__ import annotations

import re

import pytest

from tests.servers import Process, nearhit

from .conftest import url
from .fault import fault
from .links import link

pytestmark = pytest.mark.waits

LINE = re.compile(rb"\+[\d.]+ \[(\d+) [^\]]*\] (.*)\r\n")


@pytest.mark.parametrize("relay", [False, True])
def test_lanes_that_open_fill_and_look_after_themselves_are_not_shown(
    server: Process, relay: bool
) -> None:
    with link(server.port) as direct:
        direct.ask("ACL", "SETUSER", "alice", "on", ">pw", "+@all", "~*", "&*")
    with (
        fault(server.port) as through,
        nearhit(url(through.port if relay else server.port)) as proxy,
        link(proxy.port) as monitor,
        link(proxy.port) as client,
        link(proxy.port) as alice,
    ):
        assert client.ask("PING") == b"+PONG\r\n"
        assert monitor.ask("MONITOR") == b"+OK\r\n"
        client.ask("SELECT", "9")  # a lane opens
        client.ask("SET", "k", "v")
        for _ in range(6):
            client.ask("GET", "k")  # the near cache is filled
        client.ask("EVAL", "return 1", "0")
        client.ask("BLPOP", "q", "0.01")
        alice.ask("AUTH", "alice", "pw")
        alice.ask("GET", "k")
        alice.ask("GET", "k")
        frames = monitor.read(10_000, 2.5)  # some seconds of looking after themselves
        client.ask("ECHO", "last")
        while not frames or b'"last"' not in frames[-1]:
            frames += monitor.read(1, 3) or pytest.fail(f"only {frames}")

    # Those that the near cache answers are not seen by the server.
    seen = [word for word in shown(frames) if word != b"GET"]
    assert seen == [b"SELECT", b"SET", b"EVAL", b"BLPOP", b"AUTH", b"ECHO"]


def shown(frames: list[bytes]) -> list[bytes]:
    """What the lines say, the first word of each."""
    found = [LINE.fullmatch(frame) for frame in frames]
    return [line[2].split(b" ")[0].strip(b'"') for line in found if line is not None]
