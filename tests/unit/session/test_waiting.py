"""What a request that blocks is told of."""

from __future__ import annotations

import pytest
from nearhit.proxy.session.waiting import Waiting, waiting


@pytest.mark.parametrize(
    ("words", "keys", "timed"),
    [
        ("BLPOP a b 0", "a b", False),
        ("BLPOP a 0.0", "a", False),
        ("BLPOP a 0.5", "a", True),
        ("bzpopmin a 10", "a", True),
        ("BLMOVE a b LEFT RIGHT 1", "a", True),
        ("BRPOPLPUSH a b 0", "a", False),
        ("BLMPOP 5 2 a b LEFT", "a b", True),
        ("BZMPOP 0 1 a MIN", "a", False),
        ("XREAD COUNT 1 BLOCK 0 STREAMS a b $ $", "a b", False),
        ("XREAD BLOCK 10 STREAMS a $", "a", True),
        ("WAIT 1 0", "", False),
        ("WAITAOF 0 1 5", "", True),
        ("SCRIPT KILL", "", True),
    ],
)
def test_keys_and_timeout_are_read_off_the_words(words: str, keys: str, timed: bool) -> None:
    found = waiting(b"*", words.encode().split())

    assert found == Waiting(b"*", tuple(keys.encode().split()), timed)


def test_a_group_of_consumers_sees_the_end_of_its_stream() -> None:
    words = b"XREADGROUP GROUP g c BLOCK 0 STREAMS a >".split()

    assert waiting(b"", words) == Waiting(b"", (b"a",), timed=False, sees_end=True)


@pytest.mark.parametrize(
    "words",
    [
        b"BLPOP",
        b"BLMPOP",
        b"BLMPOP 1",
        b"BLMPOP 1 x",
        b"BLMPOP 1 -5 a",
        b"BLMPOP 1 " + b"9" * 5000 + b" a",
        b"XREAD BLOCK",
        b"XREAD STREAMS",
        b"XREAD STREAMS a BLOCK",
        b"WAIT",
    ],
)
def test_what_the_server_will_refuse_does_no_harm(words: bytes) -> None:
    assert isinstance(waiting(b"", words.split()), Waiting)
