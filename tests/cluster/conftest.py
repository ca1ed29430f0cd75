"""A cluster for each engine, made once in a run and brought home after each test.

Tests of what only one engine does: ``@pytest.mark.parametrize("engine", ["valkey"],
indirect=True)``, and the same with ``single_engine``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import clusters
from tests.clusters import Cluster

ENGINES = ("redis", "valkey")


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three primaries and three replicas; a test takes ``cluster``."""
    with clusters.cluster(request.param) as made:
        yield made


@pytest.fixture
def cluster(engine: Cluster) -> Iterator[Cluster]:
    """Three primaries with a replica each, empty, that the test may do anything to."""
    yield engine
    engine.reset()


@pytest.fixture(scope="session", params=ENGINES)
def single_engine(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """One node with all slots; a test takes ``single``."""
    with clusters.cluster(request.param, 1, 0) as made:
        yield made


@pytest.fixture
def single(single_engine: Cluster) -> Iterator[Cluster]:
    """A cluster of one node, empty: for what needs no second one."""
    yield single_engine
    single_engine.reset()
