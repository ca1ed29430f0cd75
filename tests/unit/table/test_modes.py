"""What each mode of a session makes of the routes."""

from __future__ import annotations

import pytest
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.table.modes import transforms
from nearhit.proxy.table.table import Ours, Table, snapshot

OWN = frozenset({b"GETORSET", b"LOCK"})


@pytest.fixture(scope="module")
def table() -> Table:
    return snapshot(Ours(OWN, near=True))


def test_modes_are_counted_from_zero_and_each_has_its_transform() -> None:
    assert [int(mode) for mode in Mode] == list(range(len(Mode)))
    assert set(transforms(keys_matter=True)) == set(Mode)


@pytest.mark.parametrize(
    ("mode", "name", "route"),
    [
        (Mode.LOCKED, b"GET", Route.ODD),
        (Mode.LOCKED, b"LOCK", Route.ODD),
        (Mode.NEAR, b"GET", Route.NEAR),
        (Mode.NEAR, b"SET", Route.WRITE_ONE),
        (Mode.FAR, b"GET", Route.READ),
        (Mode.FAR, b"MGET", Route.READ),
        (Mode.FAR, b"SET", Route.WRITE_ONE),
        (Mode.QUEUEING, b"GET", Route.PLAIN),
        (Mode.QUEUEING, b"SET", Route.WRITE),
        (Mode.QUEUEING, b"EXEC", Route.EXEC),
        (Mode.QUEUEING, b"LOCK", Route.CUSTOM),
        (Mode.SUBSCRIBED, b"SUBSCRIBE", Route.SUBSCRIBE),
        (Mode.SUBSCRIBED, b"GET", Route.PLAIN),
        (Mode.SUBSCRIBED, b"LOCK", Route.CUSTOM),
        (Mode.SCRIPTING, b"EVAL", Route.SCRIPTED),
        (Mode.TRACKED, b"GET", Route.READ),
        (Mode.TRACKED, b"GETORSET", Route.GETORSET),
        (Mode.TRACKED, b"MGET", Route.READ),
        (Mode.TRACKED, b"STRLEN", Route.ODD),
        (Mode.OWN, b"GETORSET", Route.GETORSET),
        (Mode.OWN, b"LOCK", Route.CUSTOM),
        (Mode.OWN, b"GET", Route.ODD),
        (Mode.INSIDE, b"GET", Route.PLAIN),
        (Mode.INSIDE, b"SET", Route.PLAIN),
        (Mode.INSIDE, b"EXEC", Route.EXEC),
        (Mode.INSIDE, b"BLPOP", Route.BLOCK),
    ],
)
def test_a_mode_has_its_own_route_for_a_command(
    table: Table, mode: Mode, name: bytes, route: Route
) -> None:
    assert table.maps[mode].get(name) == route


def test_scripts_are_like_others_on_their_lane_where_nobody_looks_at_keys() -> None:
    assert snapshot(Ours()).maps[Mode.SCRIPTING].get(b"EVAL") == Route.PLAIN
    assert snapshot(Ours(voids=True)).maps[Mode.SCRIPTING].get(b"EVAL") == Route.SCRIPTED
