"""Which frames of a connection that monitors are no replies."""

from __future__ import annotations

import gc

import pytest
from nearhit.proxy.upstream.monitoring import DUE, Ledger, Monitoring, line_of


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        (b'+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\r\n', True),
        (b'+1339518083.107412 [15 lua] "set" "k" "v"\r\n', True),
        (b'+1339518083.107412 [0 unix:/tmp/s] "get" "k"\r\n', True),
        (b"+OK\r\n", False),
        (b"+RESET\r\n", False),
        (b"+1.5\r\n", False),
        (b"$5\r\n1.5 [0\r\n", False),
        (b"-ERR Replica can't interact with the keyspace\r\n", False),
    ],
)
def test_what_the_server_shows_is_told_from_what_it_answers(frame: bytes, shown: bool) -> None:
    assert Monitoring().unasked(frame, None) is shown


def test_messages_come_besides() -> None:
    framing = Monitoring()
    framing.names[0].add(b"c")

    assert framing.unasked(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", None)


def test_it_lasts_without_subscriptions_and_says_what_it_is() -> None:
    framing = Monitoring(3)

    assert not framing.empty
    assert repr(framing) == "<Monitoring <Channels 0 patterns=0 shards=0 resp=3>>"


# --- What lanes ask on their own account


def frame(line: bytes, address: bytes = b"127.0.0.1:6") -> bytes:
    return b"+1339518083.107412 [0 %b] %b\r\n" % (address, line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((b"SELECT", b"9"), b'"SELECT" "9"'),
        ((b"ECHO", b'a"\\\n\r\t\a\b\x00\xff'), b'"ECHO" "a\\"\\\\\\n\\r\\t\\a\\b\\x00\\xff"'),
        ((b"AUTH", b"alice", b"secret"), b'"AUTH"'),
    ],
)
def test_a_request_is_known_as_the_server_shows_it(words: tuple[bytes, ...], line: bytes) -> None:
    assert line_of(words) == line


def test_what_a_lane_asks_is_left_out_once() -> None:
    ledger, reader = Ledger(), Monitoring()
    ledger.readers.add(reader)
    ledger.note((b"SELECT", b"9"), 1.0)
    ledger.note((b"AUTH", b"alice", b"secret"), 1.0)

    auth, select = frame(b'"AUTH" "(redacted)" "(redacted)"'), frame(b'"SELECT" "9"')
    assert reader.shown(auth, 1.0) == b""
    assert reader.shown(select, 1.0) == b""
    assert reader.shown(select, 1.0) == select
    assert reader.shown(auth, 1.0) == auth


def test_each_reader_is_shown_everything_itself_and_who_has_left_is_forgotten() -> None:
    ledger, readers = Ledger(), [Monitoring(), Monitoring()]
    ledger.readers.update(readers)
    ledger.note((b"PING",), 1.0)

    assert [reader.shown(frame(b'"PING"'), 1.0) for reader in readers] == [b"", b""]
    readers.clear()
    gc.collect()
    assert not ledger.readers


def test_what_was_never_shown_hides_nothing_for_long() -> None:
    reader = Monitoring()
    reader.expect(b'"PING"', 1.0)

    assert reader.shown(frame(b'"PING"'), 1.1 + DUE) == frame(b'"PING"')


def test_what_fills_the_near_cache_is_shown_as_the_read_alone() -> None:
    reader, caching = Monitoring(), frame(b'"CLIENT" "CACHING" "YES"')

    assert reader.shown(caching, 1.0) == b""
    assert reader.shown(frame(b'"GET" "x"', b"[::1]:7"), 1.0) == frame(b'"GET" "x"', b"[::1]:7")
    assert reader.shown(frame(b'"PTTL" "k"'), 1.0) == b""
    assert reader.shown(frame(b'"GET" "k"'), 1.0) == frame(b'"GET" "k"')
    assert reader.shown(frame(b'"PTTL" "k"'), 1.0) == frame(b'"PTTL" "k"')


def test_a_client_s_own_caching_is_shown_with_what_follows_it() -> None:
    reader, caching = Monitoring(), frame(b'"CLIENT" "CACHING" "YES"')
    get = frame(b'"GET" "k"')
    assert reader.shown(caching, 1.0) == b""
    assert reader.shown(get, 1.0) == caching + get

    reader.expect(b'"CLIENT" "CACHING" "YES"', 1.0)
    reader.shown(caching, 1.0)
    assert reader.shown(get, 1.0) == get


def test_messages_pass_as_they_are() -> None:
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"

    assert Monitoring().shown(message, 1.0) == message
    assert Monitoring().shown(b"+OK\r\n", 1.0) == b"+OK\r\n"
