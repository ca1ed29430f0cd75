"""Imports in proxy/ go downward only (design/architecture.md, "Folders and layers")."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROXY = ROOT / "proxy"
# Bottom to top; modules of one line do not import each other.
LAYERS = """
braces errors gate glob log names nearcache patterns progress settings_file _kernel _kernel_py
address http_body kernel loaded terminal
resp
kinds load_call load_demo load_redis load_url spec stats table waiting
loader_settings
config loaders
channels dial facts hot locks metrics route slot
fleet http lane
lanes
clients scope
flight
dispatch
session
conduct_client conduct_command conduct_near
conduct_custom
conduct
embedded listen
reach server shell_words
shell_keys workers
shell
cli
__main__
"""
LEVEL = {name: level for level, line in enumerate(LAYERS.split("\n")) for name in line.split()}
# Time and I/O are passed in to these.
_PURE = """
address braces channels config errors facts glob kernel kinds loader_settings names patterns resp
route settings_file slot spec stats table
"""
PURE = list(_PURE.split())
# All that commands know of the proxy.
FOR_COMMANDS = {"errors", "glob", "names", "resp", "spec"}
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

    assert not {name for name in ours - {"commands", "lua"} if LEVEL[name] >= LEVEL[module]}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_names_its_siblings_relatively(module: str) -> None:
    found = imports((PROXY / f"{module}.py").read_text())

    assert not [name for name, own in found if not own and name.split(".")[0] == "nearhit"]


@pytest.mark.parametrize("module", PURE)
def test_the_core_knows_no_event_loop_no_socket_and_no_clock(module: str) -> None:
    found = {name.split(".")[0] for name, _ in imports((PROXY / f"{module}.py").read_text())}

    assert not found & {"asyncio", "uvloop", "socket", "ssl", "time", "datetime"}


@pytest.mark.parametrize("path", [*ROOT.glob("commands/*.py")], ids=lambda path: path.stem)
def test_a_command_knows_neither_sessions_nor_lanes(path: Path) -> None:
    found = {name for name, own in imports(path.read_text()) if own and "proxy." in name}

    assert {name.removeprefix("proxy.") for name in found} <= FOR_COMMANDS


def test_only_the_server_knows_the_commands() -> None:
    assert [
        path.stem for path in PROXY.glob("*.py") if ("commands", True) in imports(path.read_text())
    ] == ["server"]


def test_every_layer_exists() -> None:
    assert set(LEVEL) == {*MODULES, "_kernel"}


def test_an_import_is_seen_wherever_it_stands() -> None:
    source = "def f():\n    from .server import serve\n    from . import lane\nimport time.x"

    assert set(imports(source)) == {("server", True), ("lane", True), ("time.x", False)}
