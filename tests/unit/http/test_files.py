"""The status page's files: that they need nothing else, and fit each other."""

from __future__ import annotations

import re

from nearhit.proxy.http.files import FILES, text_of


def test_the_page_names_nothing_from_elsewhere() -> None:
    for name, _ in FILES.values():
        # Names of XML are never asked for.
        found = set(re.findall(r"https?://[^\s'\"]+", text_of(name)))
        assert found <= {"http://www.w3.org/2000/svg"}
        assert "innerHTML" not in text_of(name)


def test_the_script_finds_all_that_it_looks_for() -> None:
    ids = set(re.findall(r' id="([^"]+)"', text_of("status.html")))

    asked = set(re.findall(r'(?:\bat|\bset|new Plot)\("([^"]+)"', text_of("status.js")))

    assert asked
    assert asked <= ids
