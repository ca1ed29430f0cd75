"""Every error that Nearhit words itself is one RESP line."""

from __future__ import annotations

import pytest
from nearhit.proxy import errors
from nearhit.proxy.errors import (
    ProtocolError,
    ProxyError,
    StartError,
    UpstreamDown,
    UpstreamLost,
    UpstreamNotReady,
    UpstreamRefused,
    one_line,
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ProtocolError("bad"), b"-ERR Protocol error: bad\r\n"),
        (ProtocolError("got '\xff'"), b"-ERR Protocol error: got '\xff'\r\n"),
        (UpstreamDown("refused"), b"-UPSTREAM no connection to the server: refused\r\n"),
        (
            UpstreamLost("reset"),
            b"-UPSTREAM connection to the server lost (reset); "
            b"the command may or may not have been executed\r\n",
        ),
        (UpstreamNotReady(b"-LOADING wait\r\n"), b"-LOADING wait\r\n"),
        (UpstreamRefused(b"-WRONGPASS no\r\n", True), b"-WRONGPASS no\r\n"),
    ],
)
def test_an_error_is_the_line_that_the_client_gets(error: ProxyError, line: bytes) -> None:
    assert error.line == line


@pytest.mark.parametrize("why", ["a\r\nb", "a\n\n b", " a\tb "])
def test_a_foreign_text_makes_no_second_line(why: str) -> None:
    assert one_line(why) == "a b"
    for error in (UpstreamDown(why), UpstreamLost(why)):
        assert error.line.count(b"\r") == error.line.count(b"\n") == 1


def test_a_missing_reason_is_said_to_be_missing() -> None:
    assert one_line(" \n") == "no reason given"


def test_a_refusal_knows_whether_it_was_the_login() -> None:
    assert UpstreamRefused(b"-NOAUTH x\r\n", True).login
    assert not UpstreamRefused(b"-ERR DB index is out of range\r\n", False).login


def test_a_start_error_carries_its_exit_code() -> None:
    error = StartError("no", 4)

    assert (str(error), error.exit_code) == ("no", 4)


def test_fixed_lines_are_whole_lines() -> None:
    for line in (errors.MAX_CLIENTS,):
        assert line.startswith(b"-ERR ")
        assert line.endswith(b"\r\n")
