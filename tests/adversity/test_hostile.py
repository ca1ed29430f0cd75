"""Hostile clients beside good ones: memory within its bounds, and nobody else waits for long.

Less than a second each; ``python -m tests.bench.hostile --seconds 60`` is the long form, with
figures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench import hostile
from tests.bench.attacks import ATTACKS, Attack, Doors
from tests.bench.targets import Target
from tests.servers import HOST, upstream, wait_for

from .conftest import KIND
from .links import MB, Growth, link, pinging

pytestmark = pytest.mark.alone

SECONDS = 0.4


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Doors, int]]:
    with upstream(KIND) as server, hostile.stage(Target("direct", HOST, server.port)) as made:
        doors, pids = made
        yield doors, min(pids)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_it_costs_others_little(stage: tuple[Doors, int], attack: Attack) -> None:
    doors, pid = stage
    with link(doors.port) as control:
        control.ask("SET", "victim", b"v" * attack.value)
    growth = Growth(pid)

    with pinging(doors.port) as pinger:
        before = pinger.count
        with hostile.under(attack, doors, SECONDS) as bad:
            bad.join(SECONDS + 5)
        wait_for(lambda: pinger.count > before + 10, 5, "answers")

    assert growth.peak < hostile.BOUND / MB


@pytest.mark.soak
def test_a_minute_of_each() -> None:
    assert hostile.main(["--seconds", "60"]) == 0
