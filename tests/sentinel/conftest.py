"""A trio of each kind for all tests here, set right before each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.sentinel.trio import Trio, link, trio
from tests.servers import Kind, Process, nearhit


@pytest.fixture(scope="session", params=["redis", "valkey"])
def whole(request: pytest.FixtureRequest) -> Iterator[Trio]:
    with trio(cast(Kind, request.param)) as made:
        yield made


@pytest.fixture
def three(whole: Trio) -> Trio:
    whole.set_right()
    link(whole.master.port).flushall()
    return whole


@pytest.fixture
def proxy(three: Trio) -> Iterator[Process]:
    with nearhit(three.url) as process:
        yield process


@pytest.fixture
def holding(three: Trio) -> Iterator[Process]:
    with nearhit(three.url, "--hold-writes-on-failover", "10s") as process:
        yield process
