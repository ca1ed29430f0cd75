"""What the setting ``traces`` makes."""

from __future__ import annotations

import sys

import pytest
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.process.traced import maker_of, traces_of
from nearhit.proxy.settings.config import load
from nearhit.proxy.spans import OFF
from nearhit.proxy.stats.otlp import otlp_traces


def test_off_makes_none() -> None:
    assert traces_of(load({}, {}, lambda path: ""), "h:6379") is OFF


def test_otlp_makes_those_of_opentelemetry() -> None:
    assert maker_of("otlp") is otlp_traces


def test_what_is_not_installed_is_said_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "nearhit.proxy.stats.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(StartError, match=r"pip install 'nearhit\[otel\]'") as caught:
        traces_of(load({"traces": "otlp"}, {}, lambda path: ""), "h:6379")

    assert caught.value.exit_code is ExitCode.BAD_SETTINGS
