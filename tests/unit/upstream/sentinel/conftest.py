"""Fake Sentinels answer at once, but for what a busy machine and a debug loop take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nearhit.proxy.upstream.sentinel.link import Link


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    methods: tuple[Callable[..., Any], ...] = (Link.open, Link.ask, Link.ask_all)
    for method in methods:
        monkeypatch.setitem(method.__kwdefaults__, "seconds", 3.0)  # type: ignore[attr-defined]
