"""Which frames of a connection that monitors are no replies."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.monitoring import Monitoring


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
