"""Log lines: one for each event, whatever the values hold."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest
from nearhit.proxy.log import FORMS, Json, Logfmt, event, redacted, start

log = logging.getLogger("nearhit.test")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Every event from now on, as its line without the time."""
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record).partition(" ")[2])

    handler = Keep()
    handler.setFormatter(Logfmt({}))
    caplog.set_level(logging.INFO, log.name)
    log.addHandler(handler)
    yield written
    log.removeHandler(handler)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (3, "3"),
        (None, "None"),
        (True, "True"),
        (0.12345, "0.123"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("line\nline\r\t", r'"line\nline\r\t"'),
        ("\x1b[31m\x00\x7f", r'"\u001b[31m\u0000\u007f"'),
        ("\x85\u2028", r'"\u0085\u2028"'),
        ("käse", "käse"),
        (ConnectionResetError(104, "Connection reset"), '"[Errno 104] Connection reset"'),
    ],
)
def test_a_value_is_one_word_or_quoted(lines: list[str], value: object, text: str) -> None:
    event(log, logging.INFO, "it", value=value)

    assert lines == [f"level=info event=it value={text}"]


def test_fields_keep_their_order_and_need_no_names_of_their_own(lines: list[str]) -> None:
    event(log, logging.WARNING, "lane lost", lane=3, args="x", message="y", name_="z")

    assert lines == ['level=warning event="lane lost" lane=3 args=x message=y name_=z']


def test_an_event_below_the_level_is_not_made(lines: list[str]) -> None:
    event(log, logging.DEBUG, "nothing")

    assert lines == []


def test_a_percent_sign_is_only_a_percent_sign(lines: list[str]) -> None:
    event(log, logging.INFO, "100 % of %s")

    assert lines == ['level=info event="100 % of %s"']


def test_other_libraries_records_become_lines_too(lines: list[str]) -> None:
    log.info("hello %s", "you")

    assert lines == ['level=info event="hello you"']


def test_a_traceback_stays_on_its_line(lines: list[str]) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("failed")

    (line,) = lines
    assert line.startswith(r'level=error event=failed trace="Traceback (most recent call last):\n')
    assert line.endswith(r'\nValueError: no"')


def test_the_time_is_utc_to_the_millisecond_and_constant_fields_follow() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "created": 1795371503.123})

    assert Logfmt({"worker": 2}).format(record) == (
        "2026-11-22T18:18:23.123Z level=info event=x worker=2"
    )


def test_as_json_an_event_is_an_object_with_the_same_names() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "created": 1795371503.123})
    record.nearhit_fields = {
        "lane": 3,
        "seconds": 0.12345,
        "lent": False,
        "db": None,
        "key": 'two\n"words" \u2028',
        "error": ConnectionResetError(104, "Connection reset"),
        "never": float("inf"),
        "odd": "\udc80",
    }

    line = Json({"worker": 2}).format(record)

    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line) == {
        "time": "2026-11-22T18:18:23.123Z",
        "level": "info",
        "event": "x",
        "worker": 2,
        "lane": 3,
        "seconds": 0.123,
        "lent": False,
        "db": None,
        "key": 'two\n"words" \u2028',
        "error": "[Errno 104] Connection reset",
        "never": "inf",
        "odd": "\\udc80",
    }


def test_as_json_a_traceback_is_a_field() -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        exc_info = type(error), error, error.__traceback__
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), exc_info)

    assert json.loads(Json({}).format(record))["trace"].endswith("ValueError: no")


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_lines_is_chosen_at_the_start(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        start("info", form, worker=3)
        event(log, logging.INFO, "hello")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)

    assert capsys.readouterr().err.startswith("{") == (form == "json")


def test_a_whole_second_has_its_zeros() -> None:
    record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "created": 1795371503.0})

    assert re.match(r"2026-11-22T18:18:23\.000Z ", Logfmt({}).format(record))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://[::1]:1/0", "redis://[::1]:1/0"),
        ("unix:///run/s?db=1", "unix:///run/s?db=1"),
        ("redis://u:p@h:1/0", "redis://u:***@h:1/0"),
        ("redis://:p@h", "redis://:***@h"),
        ("redis://p@h", "redis://***@h"),
        ("redis://u:a/b@c?d@h", "redis://u:***@h"),
        ("redis://h?password=p&db=1", "redis://h?password=***&db=1"),
        ("rediss://h?ssl_password=p", "rediss://h?ssl_password=***"),
        ("redis://h?password=a@b", "redis://h?password=***"),
        ("redis://h:p", "redis://h:***"),
        ("u:p@h", "u:***@h"),
        ("redis://h?pass=p&db=1", "redis://h?pass=***&db=1"),
        ("redis://h?socket_timeout=5&p", "redis://h?socket_timeout=5&***"),
        ("http://h/users/{id}?token=p&user={id}", "http://h/users/{id}?token=***&user={id}"),
        (
            "rediss://h?ssl_certfile=/c&ssl_password=p",
            "rediss://h?ssl_certfile=/c&ssl_password=***",
        ),
        ("http://h?", "http://h?"),
        ("redis-sentinel://s1:1,[::1]:2/m/0", "redis-sentinel://s1:1,[::1]:2/m/0"),
        ("redis-sentinel://u:p@s1:1,s2:2/m", "redis-sentinel://u:***@s1:1,s2:2/m"),
        ("redis-sentinel://s1:1,s2:p/m", "redis-sentinel://s1:1,s2:***"),
        (
            "redis-cluster://h?sentinel_username=u&sentinel_password=p",
            "redis-cluster://h?sentinel_username=u&sentinel_password=***",
        ),
        ("nothing at all", "nothing at all"),
        ("redis://:p,q@a:1,rediss://u:p@b", "redis://:***@a:1,rediss://u:***@b"),
    ],
)
def test_a_password_is_hidden(url: str, shown: str) -> None:
    assert redacted(url) == shown
