"""What is kept near is dropped as rights change; clients read by what is known of their user."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.process.keeping import rights_of, swaps_of
from nearhit.proxy.process.wiring import Parts, Told, wire
from nearhit.proxy.settings.config import load
from nearhit.proxy.upstream.ask import Done
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.fakes import Tasks


def _nobody(*_: object) -> None: ...


def wired(**given: str) -> Parts:
    tasks = Tasks()
    return wire(
        load(given, {}, lambda path: ""),
        "unix:///nowhere/s",
        loop=asyncio.get_running_loop(),
        start=tasks.start,
        start_work=tasks.start,
        told=Told(_nobody, _nobody, _nobody, _nobody, _nobody),
    )


async def test_what_is_known_of_a_user_chooses_how_his_clients_read() -> None:
    parts = wired(near_cache="1mb")
    asked: list[tuple[tuple[bytes, ...], Done]] = []
    parts.primary.ask = lambda done, *words: asked.append((words, done))  # type: ignore[method-assign]
    rights_of(parts)
    session = parts.session()
    parts.context.clients.join(session)
    session.berth.choose_mode()
    table = parts.context.table
    assert session.maps is table.narrow

    for reply in (b"*2\r\n$9\r\nselectors\r\n*0\r\n", b"+OK\r\n", b"+OK\r\n"):
        asked.pop(0)[1](reply)
    assert session.maps is table.maps

    parts.context.rights_changed()
    assert session.maps is table.narrow


async def test_where_we_have_no_login_that_of_the_default_user_asks() -> None:
    parts = wired(near_cache="1mb")
    asked: list[tuple[object, bytes]] = []

    def hear(lane: Lane) -> None:
        lane.ask = lambda done, *words: asked.append((lane, words[0]))  # type: ignore[method-assign]

    hear(parts.primary)
    rights = rights_of(parts)
    for name in (b"alice", b"default"):
        tracked = parts.scopes.scope(LaneKey(user=User(name, b"pw"))).tracked
        hear(tracked.lane())
    asked.clear()
    rights.look()
    assert asked
    assert {lane for lane, _ in asked} == {parts.primary}

    parts.primary.locked = True
    asked.clear()
    rights.look()

    assert {lane for lane, _ in asked} == {tracked.lane()}


@pytest.mark.parametrize("near", ["1mb", "off"])
async def test_new_rights_drop_what_is_kept_where_anything_is(near: str) -> None:
    parts = wired(near_cache=near)
    rights = rights_of(parts)
    parts.scopes.scope(LaneKey())

    rights.changed()

    cache = parts.context.near
    assert (cache is None) is (near == "off")
    assert cache is None or cache.flushes["flushed"] == 1


async def test_a_swap_drops_what_is_kept_and_wakes_who_waits() -> None:
    parts = wired(near_cache="1mb")
    asked: list[Done] = []
    swaps = swaps_of(parts, lambda done, *_: asked.append(done))
    with parts.scopes.scope(LaneKey()).tracked.watch(b"k") as watch:
        for calls in (1, 2):
            watch.clear()
            swaps.tick()
            asked.pop()(b"$60\r\ncmdstat_swapdb:calls=%d,usec=9,usec_per_call=9.00\r\n\r\n" % calls)

        assert watch.fired
    assert parts.context.near is not None
    assert parts.context.near.flushes["flushed"] == 2
