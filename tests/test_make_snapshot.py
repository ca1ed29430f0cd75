"""The table that ships with us can be written again."""

from __future__ import annotations

import json

from nearhit.proxy.table.table import table_from_reply

from tests.make_snapshot import snapshot_rows


def test_the_snapshot_says_the_same_when_it_is_written_again() -> None:
    rows = [[b"get", 2, [b"fast"], 1, 1, 1, [], [], [], [[b"x|y"]]], [b"abc", -1, [], 0, 0, 0]]
    again = json.loads(snapshot_rows(rows, [[b"get", 9, [], 0, 0, 0]]))

    assert [row[:2] for row in again] == [["abc", -1], ["get", 2]]
    assert table_from_reply(again).commands == table_from_reply(rows).commands
