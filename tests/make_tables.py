"""The tables of docs/ that say what stands in the code: settings, options of loaders, exit codes.

    python -m tests.make_tables    writes them anew

A table is known by its head. tests/test_readme.py asserts that they are as this makes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nearhit.proxy import errors
from nearhit.proxy.settings.config import ROWS, variable
from nearhit.proxy.settings.loaders import LOADER_ROWS

DOCS: Final = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True, slots=True)
class Table:
    head: Sequence[str]
    rows: Callable[[], Iterator[Sequence[str]]]

    def __str__(self) -> str:
        return self.top + "".join(map(line, self.rows()))

    @property
    def top(self) -> str:
        return line(self.head) + f"|{'---|' * len(self.head)}\n"


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def settings() -> Iterator[Sequence[str]]:
    for name, row in ROWS.items():
        names = (env for env in (variable(name), row.env, row.port_env) if env)
        default = row.unset if row.default is None else f"`{row.default}`"
        yield f"`{name}`", ", ".join(f"`{env}`" for env in names), default, row.meaning


def options() -> Iterator[Sequence[str]]:
    for name, row in LOADER_ROWS.items():
        default = row.unset if row.default is None else f"`{row.default}`"
        yield f"`{name}`", default, row.meaning


def exit_codes() -> Iterator[Sequence[str]]:
    return ((str(int(code)), code.meaning) for code in errors.ExitCode)


PAGES: Final = {
    DOCS / "configuration.md": (
        Table(("setting", "environment", "default", "meaning"), settings),
        Table(("option", "default", "meaning"), options),
    ),
    DOCS / "operating.md": (Table(("code", "meaning"), exit_codes),),
}


def renewed(text: str, *tables: Table) -> str:
    """The page with these tables as they are now."""
    for table in tables:
        found = re.compile(re.escape(table.top) + r"(?:\|.*\n)*")
        text, count = found.subn(lambda _, table=table: str(table), text)
        assert count == 1, f"one table {table.head}, not {count}"
    return text


def main() -> None:
    for page, tables in PAGES.items():
        page.write_text(renewed(page.read_text(), *tables))


if __name__ == "__main__":
    main()
