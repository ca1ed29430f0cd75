"""``python -m nearhit.proxy`` is the command ``nearhit``."""

from __future__ import annotations

import runpy
import sys

import pytest
from nearhit.proxy.resp.kernel import BUILD
from nearhit.proxy.settings.config import VERSION


def test_the_package_runs_as_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nearhit", "--version"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("nearhit.proxy", run_name="__main__")

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"nearhit {VERSION} ({BUILD})\n"
