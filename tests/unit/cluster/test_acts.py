"""No command that leaves something on its connection is ordinary."""

from __future__ import annotations

from nearhit.proxy.cluster.acts import ALONE, AT_ONCE, BESIDE, Table
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.table.table import OVERLAY

from .nodes import World, clustered

# Run by the proxy itself, refused by the planner, or of no connection.
ELSEWHERE = {
    Route.COMMAND, Route.DEBUG, Route.INFO, Route.PERMIT, Route.QUIT, Route.SCRIPT,
    Route.SCRIPTED, Route.SHUTDOWN, Route.BLOCK_OPTION,
}  # fmt: skip


def test_what_is_special_on_one_server_is_special_here() -> None:
    special = {name for name, route in OVERLAY.items() if route not in ELSEWHERE}

    # Of WAITAOF the planner says why not.
    assert special - ALONE.keys() - BESIDE.keys() == {b"WAITAOF"}
    assert ALONE.keys().isdisjoint(BESIDE)
    assert ALONE.keys() | BESIDE.keys() >= AT_ONCE


@clustered
async def test_inside_multi_all_is_queued_but_what_ends_it(world: World) -> None:
    line = await world.connect()
    await line.ask("MULTI")
    queued, _ = Table().find(line.connection, [b"SELECT", b"1"])

    for name in AT_ONCE:
        assert Table().find(line.connection, [name])[0] is not queued
    assert Table().find(line.connection, [b"BLPOP", b"k", b"0"])[0] is queued
