"""One number for each route, wherever it is written down."""

from __future__ import annotations

import importlib
from types import ModuleType

import nearhit.proxy.hot.session
import pytest
from nearhit.proxy.resp import _kernel_py, routes
from nearhit.proxy.resp.routes import FULL, MORE, Route

try:
    compiled: ModuleType | None = importlib.import_module("nearhit.proxy.resp._kernel")
except ImportError:
    compiled = None

NUMBERS = {"MORE": MORE, "FULL": FULL, **{route.name: int(route) for route in Route}}
# What the kernel itself walks or stops at for reasons of its own.
WALKED = {"MORE", "FULL", "ODD", "PLAIN", "READ", "NEAR", "NEAR_MANY", "TELL", "FAR_ANY"}


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(compiled, marks=pytest.mark.skipif(compiled is None, reason="was not built")),
        _kernel_py,
    ],
    ids=["compiled", "twin"],
)
def test_a_kernel_has_the_numbers_of_the_routes(kernel: ModuleType) -> None:
    assert dict(kernel.ROUTES) == {name: NUMBERS[name] for name in WALKED}


@pytest.mark.parametrize("name", ["NEAR", "NEAR_ANY", "WRITE_ONE", "GETORSET"])
def test_the_hot_path_has_them_too(name: str) -> None:
    number = getattr(nearhit.proxy.hot.session, name)

    assert number == NUMBERS[name]
    assert type(number) is int  # compared with a C integer for every request


def test_no_number_stands_for_two_routes() -> None:
    assert len(set(NUMBERS.values())) == len(NUMBERS)
    assert [route for route in Route if route < 0] == []  # below zero the kernel speaks of itself


def test_what_the_kernel_says_below_zero_is_no_route() -> None:
    assert (routes.MORE, routes.FULL) == (-1, -2)
