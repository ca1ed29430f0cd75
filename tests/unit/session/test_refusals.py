"""Refused clients are counted, and told in one line now and then."""

from __future__ import annotations

import logging

import pytest
from nearhit.proxy.errors import ProtocolError, TlsAtPlain
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


def test_tls_at_a_plain_address_is_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()

    with caplog.at_level(logging.WARNING):
        refusals.told(ProtocolError("invalid bulk length"), "h:1", 100.0)
        for at in range(100):
            refusals.told(TlsAtPlain(), "h:1", 100.0 + at / 100)
        refusals.told(TlsAtPlain(), "h:1", 100.0 + EVERY)

    assert [one.getMessage() for one in caplog.records] == ["TLS unexpected"] * 2
