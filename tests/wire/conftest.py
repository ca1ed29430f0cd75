"""Two servers of each kind, started once: one reached directly, one behind the proxy.

``NEARHIT_WIRE=direct pytest tests/wire`` leaves the proxy out and compares the two servers with
each other: that checks the scripts and masks, and must pass whatever state the proxy is in.
``NEARHIT_WIRE_NEAR=off`` runs them without the near cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from tests.servers import HOST, Kind, nearhit, server_binary, upstream

from .link import Control

NEAR = os.environ.get("NEARHIT_WIRE_NEAR", "64mb")


@dataclass(frozen=True, slots=True)
class Side:
    """A port that clients use, and the server behind it."""

    name: str
    port: int
    control: Control


@dataclass(frozen=True, slots=True)
class Twins:
    """The same server twice: ``direct`` is the truth, ``proxied`` is under test."""

    kind: Kind
    direct: Side
    proxied: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.direct, self.proxied

    def reset(self) -> None:
        for side in self.sides:
            side.control.reset()


def start_twins(stack: ExitStack, kind: Kind, password: str = "") -> Twins:
    """Start both servers and the proxy; skip, naming the reason, where the binary is missing."""
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    options = ("--requirepass", password) if password else ()
    ports = [stack.enter_context(upstream(kind, *options)).port for _ in range(2)]
    controls = [stack.enter_context(closing(Control(port, password))) for port in ports]
    door = ports[1]
    if os.environ.get("NEARHIT_WIRE") != "direct":
        door = stack.enter_context(
            nearhit(f"redis://{HOST}:{ports[1]}", "--stats-key", "off", "--near-cache", NEAR)
        ).port
    return Twins(kind, Side("direct", ports[0], controls[0]), Side("proxy", door, controls[1]))


@pytest.fixture(scope="session", params=["redis", "valkey"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    """Twins that anybody may use without a password."""
    with ExitStack() as stack:
        yield start_twins(stack, request.param)


@pytest.fixture(scope="session", params=["redis", "valkey"])
def locked_twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    """Twins with a password that the proxy has not been given."""
    with ExitStack() as stack:
        yield start_twins(stack, request.param, "sesame")


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def resp(request: pytest.FixtureRequest) -> int:
    """The protocol that the connections of a test speak."""
    return int(request.param)


@pytest.fixture(params=["direct", "proxy"])
def side(request: pytest.FixtureRequest, twins: Twins) -> Side:
    """Each of both, for what must be so on each."""
    twins.reset()
    return twins.direct if request.param == "direct" else twins.proxied
