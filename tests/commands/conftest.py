"""A proxy with loaders before each kind of server; every test finds it empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .people import Cache
from .people import cache as serving


@pytest.fixture(scope="module", params=["redis", "valkey"])
def kept_cache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cache]:
    with serving(request.param, tmp_path_factory.mktemp("people")) as here:
        yield here


@pytest.fixture
def cache(kept_cache: Cache) -> Cache:
    kept_cache.clean()
    return kept_cache


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def resp(request: pytest.FixtureRequest) -> int:
    """The protocol that a test's clients speak."""
    return int(request.param)
