"""The documents as a whole: each page is found, each link leads somewhere, each command of the
proxy's own has a page that says what COMMAND DOCS says, and README stays short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from nearhit.commands import COMMANDS
from nearhit.proxy.custom.introspection import SINCE
from nearhit.proxy.custom.spec import Argument, CommandSpec

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
README_LINES_MAX = 200
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]\n]+\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """The page without its fenced blocks and without what stands in backticks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "``", text)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings, each of them once on a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        text = prose(page)
        for found in (*LINK.findall(text), *IMAGE.findall(text)):
            yield page, found


def test_every_link_leads_somewhere() -> None:
    lost = []
    for page, link in links():
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        if link.startswith("https://"):
            continue
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(f"{page.relative_to(ROOT)}: {link}")

    assert not lost


def test_every_page_is_in_a_list_of_pages() -> None:
    lists = (INDEX, DOCS / "examples" / "README.md")

    listed = {(page.parent / link).resolve() for page, link in links() if page in lists}
    assert set(DOCS.rglob("*.md")) - {INDEX} <= listed


def test_readme_is_short_and_leads_to_the_list_of_all_pages() -> None:
    readme = (ROOT / "README.md").read_text()

    assert len(readme.splitlines()) <= README_LINES_MAX
    assert "(docs/README.md)" in readme


# --- A page for each command


def page_of(spec: CommandSpec) -> Path:
    return DOCS / "commands" / f"{spec.name.decode().lower()}.md"


def tokens(arguments: tuple[Argument, ...]) -> Iterator[str]:
    for argument in arguments:
        yield from filter(None, (argument.token,))
        yield from tokens(argument.arguments)


def test_each_command_of_our_own_has_a_page_and_nothing_else_has() -> None:
    pages = set((DOCS / "commands").glob("*.md"))

    assert pages == {DOCS / "commands" / "README.md", *map(page_of, COMMANDS)}


def test_the_list_of_commands_says_what_each_does() -> None:
    text = (DOCS / "commands" / "README.md").read_text()

    rows = re.findall(r"^\| \[(\w+)\]\((\w+\.md)\) \| (.+) \|$", text, re.MULTILINE)
    assert sorted(rows) == sorted(
        (spec.name.decode(), page_of(spec).name, spec.summary) for spec in COMMANDS
    )


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name.decode())
def test_a_page_opens_with_the_facts_of_command_docs(spec: CommandSpec) -> None:
    facts = f"*Since {SINCE}, group {spec.group}. {spec.complexity.removesuffix('.')}.*"

    opening = f"# {spec.name.decode()}\n\n{spec.summary}\n\n{facts}\n\n    {spec.name.decode()}"
    assert page_of(spec).read_text().startswith(opening)


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name.decode())
def test_a_page_has_a_heading_for_each_subcommand(spec: CommandSpec) -> None:
    name = spec.name.decode()

    found = re.findall(rf"^## {name} (\w+)\n\n(.+)$", page_of(spec).read_text(), re.MULTILINE)
    assert found == [(sub.name, sub.summary) for sub in spec.subcommands]


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name.decode())
def test_a_page_shows_each_word_that_may_be_said(spec: CommandSpec) -> None:
    syntax = "\n".join(re.findall(r"^    (.+)$", page_of(spec).read_text(), re.MULTILINE))

    said = set(re.findall(r"[A-Z]+", syntax))
    assert set(tokens(spec.arguments)) <= said
    for sub in spec.subcommands:
        (form,) = re.findall(
            rf"^    {spec.name.decode()} {sub.name}\b(.*)$", page_of(spec).read_text(), re.MULTILINE
        )
        assert set(tokens(sub.arguments)) <= set(re.findall(r"[A-Z]+", form)), sub.name
