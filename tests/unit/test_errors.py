"""Every error that Nearhit words itself is one RESP line."""

from __future__ import annotations

import pytest
from nearhit.proxy import errors
from nearhit.proxy.errors import (
    BadFilter,
    BadInput,
    CacheBusy,
    ExitCode,
    LoadError,
    LoadTimeout,
    LockBusy,
    NoLoader,
    OddReply,
    ProtocolError,
    ProxyError,
    ServerError,
    StartError,
    UpstreamDown,
    UpstreamLost,
    UpstreamNotReady,
    UpstreamRefused,
    WrongArity,
    is_away,
    one_line,
    shown,
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ProtocolError("bad"), b"-ERR Protocol error: bad\r\n"),
        (ProtocolError("got '\xff'"), b"-ERR Protocol error: got '\xff'\r\n"),
        (
            OddReply("a script"),
            b"-UPSTREAM the server's answer to a script makes no sense; "
            b"the command may or may not have been executed\r\n",
        ),
        (UpstreamDown("refused"), b"-UPSTREAM no connection to the server: refused\r\n"),
        (
            UpstreamLost("reset"),
            b"-UPSTREAM connection to the server lost (reset); "
            b"the command may or may not have been executed\r\n",
        ),
        (UpstreamNotReady(b"-LOADING wait\r\n"), b"-LOADING wait\r\n"),
        (UpstreamRefused(b"-WRONGPASS no\r\n", True), b"-WRONGPASS no\r\n"),
        (ServerError(b"-OOM no\r\n"), b"-OOM no\r\n"),
        (BadInput("not\na number"), b"-ERR not a number\r\n"),
        (BadFilter("syntax error"), b"-ERR syntax error\r\n"),
        (WrongArity("LEASE"), b"-ERR wrong number of arguments for 'lease' command\r\n"),
        (NoLoader(b"k"), b"-NOLOADER no loader matches 'k'\r\n"),
        (LoadError("users", "500"), b"-LOADERR loader 'users': 500\r\n"),
        (LoadTimeout("users", 5), b"-LOADTIMEOUT loader 'users': no answer in 5 ms\r\n"),
        (CacheBusy("full"), b"-CACHEBUSY full; try again later\r\n"),
        (LockBusy("full"), b"-LOCKBUSY full; try again later\r\n"),
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


def test_only_a_lost_lane_leaves_the_outcome_unknown() -> None:
    assert UpstreamLost("reset").outcome_unknown
    for error in (UpstreamDown("refused"), UpstreamNotReady(b"-LOADING"), ServerError(b"-ERR")):
        assert not error.outcome_unknown


def test_an_exit_code_has_a_number_of_its_own_and_a_meaning() -> None:
    assert [int(code) for code in ExitCode] == list(range(7))
    assert all(code.meaning for code in ExitCode)


def test_a_number_from_a_worker_becomes_its_exit_code() -> None:
    assert StartError("no", 4).exit_code is ExitCode.REFUSED

    with pytest.raises(ValueError, match="99"):
        StartError("no", 99)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (b"k", "'k'"),
        (b"a\nb\xff", "'a\\nb\\xff'"),
        (b"k" * 129, f"'{'k' * 128}...'"),
    ],
)
def test_a_clients_word_is_shown_printable_and_not_too_long(word: bytes, text: str) -> None:
    assert shown(word) == text


def test_fixed_lines_are_whole_lines() -> None:
    for line in (errors.MAX_CLIENTS, errors.NO_AUTH_COMMAND):
        assert line.startswith(b"-ERR ")
        assert line.endswith(b"\r\n")


def test_a_server_is_away_by_the_kind_of_error_or_by_its_words() -> None:
    """A reply that is made of several nodes' has words alone."""
    for error in (UpstreamDown("refused"), UpstreamLost("reset")):
        assert is_away(error)
        assert is_away(ServerError(error.line))
    assert not is_away(OddReply("MGET"))
    assert not is_away(ServerError(b"-OOM no memory"))
