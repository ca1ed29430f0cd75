"""What the proxy's own commands write is read by the same client right behind them, near or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.servers import HOST, Kind, nearhit, server_binary, upstream
from tests.wire.frames import children, payload
from tests.wire.link import Link


@pytest.fixture(scope="module", params=["redis", "valkey"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind}-server on this machine")
    with upstream(kind) as server, nearhit(f"redis://{HOST}:{server.port}") as proxy:
        yield proxy.port


@pytest.fixture
def link(port: int) -> Iterator[Link]:
    with closing(Link(port)) as link:
        link.ask("FLUSHALL")
        yield link


def near(link: Link, key: str) -> bytes:
    """Read often enough to be answered near."""
    for _ in range(5):
        frame = link.ask("GET", key)
    return frame


NIL = b"$-1\r\n"


def test_a_lock(link: Link) -> None:
    for turn in range(20):
        token = f"t{turn}"
        assert near(link, "lock:{r}") == NIL
        link.ask("LOCK", "ACQUIRE", "r", "TOKEN", token)
        assert payload(link.ask("GET", "lock:{r}")) == token.encode()
        assert payload(near(link, "lock:{r}")) == token.encode()
        link.ask("LOCK", "RELEASE", "r", token)
        assert link.ask("GET", "lock:{r}") == NIL


def test_a_fence(link: Link) -> None:
    link.ask("LOCK", "ACQUIRE", "r", "TOKEN", "t")
    for _ in range(20):
        old = int(payload(near(link, "fence:{r}")))
        link.ask("LOCK", "RELEASE", "r", "t")
        link.ask("LOCK", "ACQUIRE", "r", "TOKEN", "t")
        assert int(payload(link.ask("GET", "fence:{r}"))) > old


@pytest.mark.parametrize("end", ["SET", "CANCEL", "INVALIDATE"])
def test_a_lease(link: Link, end: str) -> None:
    for _ in range(20):
        link.ask("DEL", "k")
        assert near(link, "lease:{k}") == NIL
        _, parts = children(link.ask("LEASE", "GET", "k"))
        token = payload(parts[1])
        assert payload(link.ask("GET", "lease:{k}")) == token
        assert payload(near(link, "lease:{k}")) == token
        if end == "INVALIDATE":
            link.ask("INVALIDATE", "k")
        else:
            link.ask("LEASE", end, "k", token, *(["v"] if end == "SET" else []))
        assert link.ask("GET", "lease:{k}") == NIL


def test_a_count_that_is_kept_in_its_key(link: Link) -> None:
    for turn in range(20):
        link.ask("PFADD", "h", f"x{turn}")
        before = near(link, "h")
        link.ask("PFCOUNT", "h")
        assert link.ask("GET", "h") != before
