"""Imports in proxy/ go downward only (design/architecture.md, "Folders and layers")."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROXY = Path(__file__).parents[1] / "proxy"
# Bottom to top; modules of one line do not import each other.
LAYERS = """
errors log _kernel _kernel_py
kernel config
table resp
route hot dial channels slot
lane
lanes
clients
session
conduct_client
conduct
server
embedded workers
cli
__main__
"""
LEVEL = {name: level for level, line in enumerate(LAYERS.split("\n")) for name in line.split()}
# Time and I/O are passed in to these.
PURE = ["channels", "config", "errors", "kernel", "resp", "route", "slot", "table"]
MODULES = sorted(path.stem for path in PROXY.glob("*.py") if path.stem != "__init__")


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """(module, whether it is one of ours) for each import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            ours = node.level > 0
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((name, ours) for name in names)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_layers_below_it(module: str) -> None:
    assert module in LEVEL, f"give {module} its place in LAYERS"

    ours = {name for name, own in imports((PROXY / f"{module}.py").read_text()) if own}

    assert not {name for name in ours if LEVEL[name] >= LEVEL[module]}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_names_its_siblings_relatively(module: str) -> None:
    found = imports((PROXY / f"{module}.py").read_text())

    assert not [name for name, own in found if not own and name.split(".")[0] == "nearhit"]


@pytest.mark.parametrize("module", PURE)
def test_the_core_knows_no_event_loop_no_socket_and_no_clock(module: str) -> None:
    found = {name.split(".")[0] for name, _ in imports((PROXY / f"{module}.py").read_text())}

    assert not found & {"asyncio", "uvloop", "socket", "ssl", "time", "datetime"}


def test_every_layer_exists() -> None:
    assert set(LEVEL) == {*MODULES, "_kernel"}


def test_an_import_is_seen_wherever_it_stands() -> None:
    source = "def f():\n    from .server import serve\n    from . import lane\nimport time.x"

    assert set(imports(source)) == {("server", True), ("lane", True), ("time.x", False)}
