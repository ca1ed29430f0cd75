"""What acts may know of a session: few names, all of which a session has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.session import acts
from nearhit.proxy.session.acts.own import Reads
from nearhit.proxy.session.conducted import Acts, Conducted

from tests.fakes import Client

NAMES_MAX = 15
FOLDER = Path(acts.__file__).parent
MODULES = sorted(FOLDER.glob("*.py"))


def names() -> set[str]:
    """The names of the Protocol."""
    own = vars(Conducted)
    declared = {name for name in own if not name.startswith("_")}
    return declared | set(own.get("__annotations__", ()))


def test_a_session_is_known_by_few_names() -> None:
    assert 0 < len(names()) <= NAMES_MAX


async def test_a_session_has_each_of_them(client: Client) -> None:
    for name in names():
        assert hasattr(client.session, name), name


@pytest.mark.parametrize("path", MODULES, ids=[path.stem for path in MODULES])
def test_an_act_uses_no_others(path: Path) -> None:
    tree = ast.parse(path.read_text())
    sessions = _sessions(tree)
    used = {
        (node.attr, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in sessions
    }

    assert [(name, line) for name, line in sorted(used) if name not in names()] == []


def _sessions(tree: ast.Module) -> set[str]:
    """What the module calls a session: the parameters that are typed so."""
    return {
        argument.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for argument in (*node.args, *node.kwonlyargs)
        if argument.annotation is not None and ast.unparse(argument.annotation) == "Conducted"
    }


def test_the_acts_of_a_session_are_a_table_and_shortcuts() -> None:
    acts_of_a_test = Acts(lambda session, route, args: True, {Route.MULTI: lambda *_: 0}, Reads())

    assert acts_of_a_test.shortcuts[10](None, b"", 0) == 0  # type: ignore[arg-type]  # not looked at
