"""How large a class and a file may be, and that each file has its tests: what a session grew to is
not to come back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROXY = ROOT / "proxy"
UNIT = ROOT / "tests" / "unit"
METHODS_MAX = 35
ATTRIBUTES_MAX = 25
LINES_MAX = 450
# The path of every request in one compiled class: more files would be more calls.
LONGER: dict[str, int] = {}

CLASSES = {
    "Answers": "hot/answers.py",
    "Reader": "hot/reading.py",
    "SessionCore": "hot/session.py",
    "Session": "session/session.py",
    "Berth": "session/berth.py",
}
# Tested by the tests of another: the kernel's twin, by each test of the kernel.
TESTED_WITH = {
    "resp/_kernel_py.py": "resp/kernel.py",
    "resp/_hashes_py.py": "resp/kernel.py",
    "resp/_packing_py.py": "resp/kernel.py",
    "resp/_runs_py.py": "resp/kernel.py",
    "resp/_words_py.py": "resp/kernel.py",
}
FILES = sorted(str(path.relative_to(PROXY)) for path in PROXY.rglob("*.py"))


def defined(name: str) -> ast.ClassDef:
    tree = ast.parse((PROXY / CLASSES[name]).read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return found


def functions(of: ast.ClassDef) -> dict[str, bool]:
    """Those that the class itself defines, and whether they are read as attributes are."""
    return {
        node.name: any(
            ast.unparse(decorator).split(".")[-1] in ("property", "setter")
            for decorator in node.decorator_list
        )
        for node in of.body
        if isinstance(node, ast.FunctionDef)
    }


def methods(of: ast.ClassDef) -> set[str]:
    return {name for name, is_property in functions(of).items() if not is_property}


def attributes(of: ast.ClassDef) -> set[str]:
    """Properties, what __init__ sets, and what __slots__ names."""
    found = {name for name, is_property in functions(of).items() if is_property}
    for node in of.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            found |= {
                target.attr
                for target in ast.walk(node)
                if isinstance(target, ast.Attribute)
                and isinstance(target.ctx, ast.Store)
                and ast.unparse(target.value) == "self"
            }
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            found |= set(ast.literal_eval(node.value))
    return found


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_a_session_has_few_methods(name: str) -> None:
    found = methods(defined(name))

    assert 0 < len(found) <= METHODS_MAX, sorted(found)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_of_a_session_has_few_attributes(name: str) -> None:
    found = attributes(defined(name))

    assert 0 < len(found) <= ATTRIBUTES_MAX, sorted(found)


@pytest.mark.parametrize("path", FILES)
def test_a_file_can_be_read_at_once(path: str) -> None:
    lines = len((PROXY / path).read_text().splitlines())

    assert lines <= LONGER.get(path, LINES_MAX)


@pytest.mark.parametrize("path", [path for path in FILES if not path.endswith("__init__.py")])
def test_a_module_has_tests_of_its_own(path: str) -> None:
    place = Path(TESTED_WITH.get(path, path))

    assert (UNIT / place.with_name(f"test_{place.name}")).exists()
