"""tests/make_tables.py: a table is known by its head, and written anew."""

from __future__ import annotations

import pytest

from tests.make_tables import Table, renewed

TABLE = Table(("name", "meaning"), lambda: iter([("`a`", "first"), ("`b`", "second")]))
TOP = "| name | meaning |\n|---|---|\n"


def test_a_table_that_is_out_of_date_is_written_anew_and_the_rest_stays() -> None:
    page = f"# Page\n\n{TOP}| `a` | old |\n| `gone` | gone |\n\nMore.\n"

    assert renewed(page, TABLE) == f"# Page\n\n{TOP}| `a` | first |\n| `b` | second |\n\nMore.\n"


def test_what_looks_like_an_escape_is_written_as_it_is() -> None:
    table = Table(TABLE.head, lambda: iter([("`a`", r"\1 \n")]))

    assert renewed(TOP, table) == rf"{TOP}| `a` | \1 \n |" + "\n"


@pytest.mark.parametrize("page", ["# Page\n", TOP + "\n" + TOP], ids=["none", "two"])
def test_a_page_that_has_not_this_one_table_is_a_mistake(page: str) -> None:
    with pytest.raises(AssertionError, match="one table"):
        renewed(page, TABLE)
