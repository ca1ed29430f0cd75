"""Refused clients are counted, and told in one line now and then."""

from __future__ import annotations

import logging

import pytest
from nearhit.proxy.session.refusals import EVERY, Refusals


def test_all_are_counted_and_a_line_tells_how_many(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING):
        for at in range(100):
            refusals.refused(7, 100.0 + at / 100)
        refusals.refused(7, 100.0 + EVERY)

    assert refusals.count == 101
    assert repr(refusals) == "<Refusals 101>"
    told = [vars(one).get("fields") or one.getMessage() for one in caplog.records]
    assert len(told) == 2
