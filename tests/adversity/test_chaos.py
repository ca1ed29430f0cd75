"""Faults at random, and clients that know what they may be answered: nothing that was acknowledged
is missing, nothing is done twice, no lock has two holders, no reply is another's."""

from __future__ import annotations

import asyncio
import random

import pytest

from .chaos import report, run, scene

LIMIT = 3.0  # seconds after which all must be served, once what failed is well again


@pytest.mark.waits
def test_a_few_faults_cost_nothing_but_errors() -> None:
    seed = random.randrange(1 << 16)
    with scene() as chaos:
        club = asyncio.run(run(chaos, seconds=6, clients=20, seed=seed, limit=15))

    assert club.wrong == [], (seed, club.wrong[:5])
    assert club.outcomes["answered"] > 100, report(chaos, club)


@pytest.mark.soak
def test_twenty_minutes_of_faults_cost_nothing_but_errors() -> None:
    seed = random.randrange(1 << 16)
    with scene() as chaos:
        club = asyncio.run(run(chaos, seconds=1200, clients=200, seed=seed, limit=15))

    print(seed, report(chaos, club))
    assert club.wrong == [], (seed, club.wrong[:5])
    late = [found for found in chaos.recoveries if found[0] > LIMIT]
    assert not late, late
