"""Clients that come, do anything and vanish, at full load: nothing of them stays.

Seconds; ``python -m tests.bench.churn`` is the long form, of half an hour, with figures."""

from __future__ import annotations

import pytest

from tests.bench import churn


@pytest.mark.alone
def test_a_few_seconds_of_churn_leave_nothing_behind() -> None:
    assert churn.main(["--minutes", "0.1", "--settle", "0.08"]) == 0


@pytest.mark.soak
def test_half_an_hour_of_it_does_neither() -> None:
    assert churn.main([]) == 0
