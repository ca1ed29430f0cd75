"""The table of acts: each route has one, and MULTI comes before it."""

from __future__ import annotations

import pytest
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.session.acts.conduct import ACTS, ALL_ACTS, SHORTCUTS, conduct
from nearhit.proxy.session.reasons import HOLD_MULTI
from nearhit.proxy.table.modes import UNSAFE_IN_MULTI
from nearhit.proxy.table.route import refined

from tests.asking import OK, asked
from tests.fakes import Client, World

# What route.py makes another route of, by the words: no session sees it.
REFINED = {Route.BLOCK_OPTION, Route.DEBUG}


def test_each_route_that_a_session_sees_has_an_act() -> None:
    assert set(ACTS) == set(Route) - REFINED
    assert set(SHORTCUTS) <= set(ACTS)
    assert (ALL_ACTS.conduct, ALL_ACTS.shortcuts) == (conduct, SHORTCUTS)


@pytest.mark.parametrize("route", sorted({*REFINED, Route.SCRIPT}))
@pytest.mark.parametrize("word", [b"", b"KILL", b"DEBUG", b"PROTOCOL", b"BLOCK"])
def test_what_refining_gives_has_an_act_too(route: Route, word: bytes) -> None:
    assert refined(route, [b"NAME", word]) in ACTS


async def test_a_request_is_acted_on_by_its_route(world: World, client: Client) -> None:
    assert conduct(client.session, Route.QUIT, [b"QUIT"])
    await world.settle()

    assert client.took() == OK
    assert client.wire.end == "closed"


async def test_inside_multi_what_is_unsafe_is_queued(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    assert client.session.berth.holds & HOLD_MULTI
    assert Route.SELECT in UNSAFE_IN_MULTI

    assert conduct(client.session, Route.SELECT, [b"SELECT", b"3"])
    await world.settle()

    world.dial.wires[0].expect(b"SELECT", b"3")
    assert len(client.session.transaction.patches) == 1
    assert client.session.berth.lane_key.db == 0
