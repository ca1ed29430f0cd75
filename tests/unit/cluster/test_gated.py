"""Slots that change their owner: what waits, what goes on."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster.gates import Gate
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


@pytest.mark.parametrize(
    ("gone", "silent", "patience"),
    [
        (False, 0.0, 1.0),
        (False, 9.0, 1.0),  # it goes on with its other slots
        (True, 0.0, 1.0),  # asked just now: a commanded failover may have paused it
        (True, 0.25, 0.75),
        (True, 0.95, 0.05),
        (True, 9.0, 0.05),  # as long as a failover takes that nobody has commanded: frozen
    ],
)
async def test_who_was_silent_before_its_slots_left_is_given_so_much_less(
    gone: bool, silent: float, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await Bench().open()
    bench.silent = silent
    given: list[float] = []
    monkeypatch.setattr(Gate, "behind", lambda gate, lane, patience: given.append(patience))
    bench.send(get(A))
    await later(0)
    bench.router.move({hash_slot(A)}, bench.lanes[0], gone=gone)

    assert given == [pytest.approx(patience)]
    await bench.close()


async def test_an_owner_that_is_none_any_more_and_frozen_is_cut_soon() -> None:
    bench = await Bench().open()
    bench.silent = 1.6
    tray = bench.send(get(A))
    await later(0)
    bench.owners[hash_slot(A)] = 1
    bench.router.move({hash_slot(A)}, bench.lanes[0], gone=True)
    await later(0.15)
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
