"""Modules that are compiled where they can be, as the plain Python they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

PROXY = Path(__file__).parents[1] / "proxy"


def plain(room: str, name: str) -> ModuleType:
    """proxy/<room>/<name>.py as it is, whether or not there is a compiled form."""
    path = PROXY / room / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"nearhit.proxy.{room}.{name}_plain", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
