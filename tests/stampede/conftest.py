"""A server of each kind, and two proxies with the same loaders before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .scene import Scene, scene


@pytest.fixture(scope="module", params=["redis", "valkey"])
def two(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """For tests that end none of them."""
    with scene(request.param, tmp_path_factory.mktemp("loaders")) as here:
        yield here


@pytest.fixture(params=["redis", "valkey"])
def mortal(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """For tests that end them."""
    with scene(request.param, tmp_path_factory.mktemp("loaders")) as here:
        yield here
