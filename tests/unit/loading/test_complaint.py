"""A loader that fails is told of, and not at every load."""

from __future__ import annotations

import logging

import pytest
from nearhit.proxy.errors import LoadError, LoadTimeout
from nearhit.proxy.loading.complaint import EVERY, Complaint, raised_first
from nearhit.proxy.loading.source import SourceError


def made(cause: BaseException | None = None) -> LoadError:
    """As loaders.py makes it, of what a source made of its cause."""
    error, source = LoadError("x", "why"), SourceError("why")
    error.__cause__, source.__cause__ = source, cause
    return error


def fields(record: logging.LogRecord) -> dict[str, object]:
    return dict(record.__dict__["nearhit_fields"])


def test_the_first_failure_is_told_and_then_how_many_there_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    complaint = Complaint("x")

    with caplog.at_level(logging.WARNING):
        for second in range(int(2.5 * EVERY)):
            complaint.failed(made(ValueError("no")), 100.0 + second)

    assert [record.getMessage() for record in caplog.records] == ["loader fails"] * 3
    told = [fields(record) for record in caplog.records]
    assert [line["failures"] for line in told] == [1, EVERY, EVERY]
    assert told[0]["loader"] == "x"
    assert told[0]["kind"] == "ValueError"
    assert repr(complaint) == "<Complaint x failures=4>"


def test_each_loader_complains_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for name in ("x", "y"):
            Complaint(name).failed(made(), 0.0)

    assert [fields(record)["loader"] for record in caplog.records] == ["x", "y"]


def test_why_is_told_only_in_words_of_our_own(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for error in (made(), LoadTimeout("x", 5), made(OSError("GET http://h/?key=secret"))):
            Complaint("x").failed(error, 0.0)

    told = [fields(record) for record in caplog.records]
    assert [str(line.get("error")) for line in told] == [
        "LOADERR loader 'x': why",
        "LOADTIMEOUT loader 'x': no answer in 5 ms",
        "None",
    ]
    assert [line["kind"] for line in told] == ["SourceError", "LoadTimeout", "OSError"]


def test_what_was_raised_first_is_at_the_end_of_the_causes() -> None:
    cause = OSError("refused")

    assert raised_first(made(cause)) is cause
    assert raised_first(cause) is cause
