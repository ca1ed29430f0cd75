"""Slots that change their owner: what waits, what goes on."""

from __future__ import annotations

import pytest
from nearhit.proxy.resp.kernel import hash_slot

from tests.unit.cluster.bench import A, B, Bench, get, later


async def test_slots_of_a_lane_that_owes_nothing_need_no_gate() -> None:
    bench = await Bench().open()
    bench.own(A, 1)
    assert not bench.router.gates
    await bench.close()


async def test_one_gate_stands_for_all_slots_that_left_together() -> None:
    bench = await Bench().open()
    bench.send(get(A))
    await later(0)
    bench.router.move({1, 2, 3}, bench.lanes[0])
    assert len({id(gate) for gate in bench.router.gates.values()}) == 1

    bench.node(0).reply(b"$-1\r\n*0\r\n")
    await later()
    assert not bench.router.gates
    await bench.close()


@pytest.mark.parametrize(("silent", "soon"), [(False, 0.35), (True, 0.15)])
async def test_an_owner_that_is_none_any_more_and_silent_is_cut_soon(
    silent: bool, soon: float
) -> None:
    bench = await Bench().open()
    bench.silent = silent
    tray = bench.send(get(A))
    await later(0)
    bench.owners[hash_slot(A)] = 1
    bench.router.move({hash_slot(A)}, bench.lanes[0], gone=True)
    await later(soon)
    assert bench.dials[0].wires[0].end
    await later(0.1)

    assert get(A) in bench.node(1).written
    bench.node(1).reply(b"$-1\r\n")
    assert tray.got == b"$-1\r\n"
    await bench.close()


async def test_what_others_wait_for_at_a_lost_node_stays_there() -> None:
    bench = await Bench().open()
    bench.dials[0].refuse = 100
    bench.node(0).lose()
    bench.lanes[0].ask(lambda _: None, b"HELLO")
    bench.send(get(A))
    assert len(bench.lanes[0].offline) == 2

    bench.own(A, 1)

    assert len(bench.lanes[0].offline) == 1
    bench.send(get(B))
    await bench.close()
