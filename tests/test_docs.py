"""What docs/architecture.md and CONTRIBUTING.md name is there: paths, modules, names in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]
PROXY = ROOT / "proxy"
WORDS = [
    (page.name, word)
    for page in PAGES
    for word in sorted(set(re.findall(r"`([^`\n]+)`", page.read_text())))
]
# Where names are looked for that stand without their module: the words of each file.
SOURCES = {
    path: frozenset(re.findall(r"\w+", path.read_text()))
    for folder in ("proxy", "commands", "lua", "tests", ".build")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".pyx", ".pyi", ".lua") and path.name != "test_docs.py"
}


def found(path: str) -> Path | None:
    """A file or folder of the repository or of proxy/, or a module of it without its ending."""
    for base in (ROOT, PROXY):
        for name in (path, f"{path}.py", f"{path}.pyx"):
            if (base / name.rstrip("/")).exists():
                return base / name.rstrip("/")
    return None


@pytest.mark.parametrize(
    ("page", "word"), [w for w in WORDS if re.fullmatch(r"[\w./-]+/[\w./-]*(:\w+)?", w[1])]
)
def test_a_path_leads_somewhere(page: str, word: str) -> None:
    path, _, name = word.partition(":")

    there = found(path)

    assert there is not None, f"{page}: {word}"
    assert not name or re.search(rf"\b{name}\b", there.read_text()), f"{page}: {word}"


@pytest.mark.parametrize(
    ("page", "word"), [w for w in WORDS if re.fullmatch(r"_?[A-Za-z]\w*(\.\w+)?", w[1])]
)
def test_a_name_stands_in_the_code(page: str, word: str) -> None:
    parts = word.split(".")

    holders = [words for words in SOURCES.values() if parts[0] in words]

    known = found(word) is not None or any(path.stem == word for path in SOURCES)
    rooms = any((room / f"{word}.py").exists() for room in PROXY.iterdir())
    assert known or rooms or any(parts[-1] in words for words in holders), page
