"""LOCK LIST on each server, in both protocols; of a cluster see tests/cluster/test_all_nodes.py."""

from __future__ import annotations

import re

import pytest

from tests.wire.link import Link

from .people import Cache


@pytest.mark.parametrize("glob", ["", " mail*"])
def test_the_locks_that_are_held_are_listed(cache: Cache, resp: int, glob: str) -> None:
    link = Link(cache.proxy)
    link.ask("HELLO", str(resp))
    link.ask("LOCK", "ACQUIRE", "mail", "PX", "60000")
    cache.server.set("lock:{mail:ever}", "a stranger's")
    if not glob:
        link.ask("SET", "plain", "no lock")

    listed = link.ask(*f"LOCK LIST{glob}".split(" "))

    assert listed.startswith(b"%2\r\n" if resp == 3 else b"*4\r\n")
    assert re.search(rb"\$4\r\nmail\r\n:(5\d{4}|60000)\r\n", listed)
    assert b"$9\r\nmail:ever\r\n" + (b"_\r\n" if resp == 3 else b"$-1\r\n") in listed
    assert link.ask("LOCK", "LIST", "nothing*") == (b"%0\r\n" if resp == 3 else b"*0\r\n")
    link.close()
