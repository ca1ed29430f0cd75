"""Imports in proxy/ go downward only: docs/architecture.md, "Rooms"."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROXY = ROOT / "proxy"
# Bottom to top; rooms of one floor do not import each other. ``proxy``: its own files.
FLOORS = """
proxy keys near
resp settings
table hot custom http
upstream locking jobs
loading stats cluster
session
process
cli
__main__
"""
FLOOR = {room: floor for floor, line in enumerate(FLOORS.split("\n")) for room in line.split()}
# Time and I/O are passed in to these.
PURE_ROOMS = {"keys", "near", "resp", "settings", "table", "custom"}
PURE = {
    "errors",
    "upstream.ask",
    "upstream.handshake",
    "upstream.lane_key",
    "upstream.offline",
    "upstream.ports",
    "upstream.silence",
    "upstream.subscriptions",
}
CLOCKS_AND_LOOPS = {"asyncio", "uvloop", "socket", "ssl", "time", "datetime"}
# All that commands know of the proxy.
FOR_COMMANDS = {"proxy", "keys", "resp", "custom"}


def module(path: Path) -> str:
    """``upstream.lane`` for proxy/upstream/lane.py."""
    return ".".join(path.relative_to(PROXY).with_suffix("").parts)


def room(name: str) -> str:
    first, dot, _ = name.partition(".")
    return first if dot or first == "__main__" else "proxy"


FILES = {module(path): path for path in sorted(PROXY.rglob("*.py")) if path.stem != "__init__"}


def imports(source: str, package: str) -> Iterator[tuple[str, bool]]:
    """(module, whether it is one of ours) for each import of a module of ``package``, wherever in
    the file it stands; ours with their full names: ``proxy.upstream.lane``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or "", False
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1]
            whole = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            for alias in node.names:
                sub = f"{whole}.{alias.name}"
                known = ROOT.joinpath(*sub.split(".")).with_suffix(".py").exists()
                yield sub if known else whole, True


@cache
def imports_of(name: str) -> tuple[tuple[str, bool], ...]:
    path = FILES[name]
    return tuple(imports(path.read_text(), ".".join(path.relative_to(ROOT).parent.parts)))


def ours(name: str) -> set[str]:
    """The modules of proxy/ that a module of it imports."""
    return {
        found.removeprefix("proxy.")
        for found, own in imports_of(name)
        if own and found.startswith("proxy.")
    }


@pytest.mark.parametrize("name", FILES)
def test_a_module_imports_only_from_floors_below_its_room(name: str) -> None:
    assert room(name) in FLOOR, f"give {room(name)} its floor in FLOORS"

    others = {room(found) for found in ours(name)} - {room(name)}

    assert not {other for other in others if FLOOR[other] >= FLOOR[room(name)]}


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: ours(name) & FILES.keys() for name in FILES}
    done: set[str] = set()
    while ready := [name for name in graph.keys() - done if graph[name] <= done]:
        done.update(ready)

    assert sorted(graph.keys() - done) == []


def test_there_are_nine_floors_at_most() -> None:
    assert len(set(FLOOR.values())) <= 9
    assert set(FLOOR) == {room(name) for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_a_module_names_its_siblings_relatively(name: str) -> None:
    assert not [
        found for found, own in imports_of(name) if not own and found.split(".")[0] == "nearhit"
    ]


@pytest.mark.parametrize(
    "name", [name for name in FILES if room(name) in PURE_ROOMS or name in PURE]
)
def test_the_core_knows_no_event_loop_no_socket_and_no_clock(name: str) -> None:
    found = {found.split(".")[0] for found, own in imports_of(name) if not own}

    assert not found & CLOCKS_AND_LOOPS


@pytest.mark.parametrize("path", [*ROOT.glob("commands/*.py")], ids=lambda path: path.stem)
def test_a_command_knows_neither_sessions_nor_lanes(path: Path) -> None:
    found = {name for name, own in imports(path.read_text(), "commands") if own}

    rooms = {room(name.removeprefix("proxy.")) for name in found if name.startswith("proxy.")}
    assert rooms <= FOR_COMMANDS


def test_only_one_module_knows_the_commands() -> None:
    assert [
        name
        for name in FILES
        if any(own and found.split(".")[0] == "commands" for found, own in imports_of(name))
    ] == ["process.wiring"]


@pytest.mark.parametrize("folder", [path.parent for path in PROXY.rglob("__init__.py")], ids=str)
def test_a_room_says_what_it_owns_and_gives_nothing_out(folder: Path) -> None:
    tree = ast.parse((folder / "__init__.py").read_text())

    assert len(tree.body) == 1, "re-exports nothing"
    text = ast.get_docstring(tree) or ""
    assert 3 <= len(text.splitlines()) <= 8 or folder == PROXY, f"{folder}: {text!r}"


def test_an_import_is_seen_wherever_it_stands() -> None:
    source = (
        "def f():\n    from ..process.server import serve\n    from . import lane\nimport time.x\n"
        "from ...commands import COMMANDS"
    )

    assert set(imports(source, "proxy.upstream")) == {
        ("proxy.process.server", True),
        ("proxy.upstream.lane", True),
        ("time.x", False),
        ("commands", True),
    }
