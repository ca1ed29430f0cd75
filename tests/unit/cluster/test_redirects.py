"""What a node's error says of where to ask."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster.redirects import AGAIN, LATER, Kind, Redirect, in_its_words, redirect


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"-MOVED 3999 127.0.0.1:6381\r\n", Redirect(Kind.MOVED, 3999, "127.0.0.1", 6381)),
        (b"-MOVED 3999 :6380\r\n", Redirect(Kind.MOVED, 3999, "", 6380)),
        (b"-ASK 1 [::1]:6381\r\n", Redirect(Kind.ASK, 1, "::1", 6381)),
        (b"-ASK 1 ::1:6381\r\n", Redirect(Kind.ASK, 1, "::1", 6381)),
        (b"-TRYAGAIN Multiple keys\r\n", AGAIN),
        (b"-CLUSTERDOWN The cluster is down\r\n", LATER),
        (b"-LOADING x\r\n", LATER),
        (b"-READONLY x\r\n", LATER),
    ],
)
def test_redirections_are_told_from_answers(reply: bytes, said: Redirect) -> None:
    assert redirect(reply) == said


@pytest.mark.parametrize(
    "reply",
    [
        b"+OK\r\n",
        b"-ERR x\r\n",
        b"-MOVED\r\n",
        b"-MOVED x y:z\r\n",
        b"-MOVED 1 a b:2\r\n",
        b"$8\r\n-MOVED 1\r\n",
        b"-\r\n",
    ],
)
def test_all_else_is_an_answer(reply: bytes) -> None:
    assert redirect(reply) is None


def test_what_a_server_says_of_a_slot_is_told_from_a_scripts_own_words() -> None:
    assert in_its_words(b"-MOVED 7 h:1\r\n", 7)
    assert in_its_words(b"-ASK 7 h:1\r\n", 7)
    assert in_its_words(b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", 7)
    assert not in_its_words(b"-MOVED 8 h:1\r\n", 7)
    assert not in_its_words(b"-TRYAGAIN later\r\n", 7)
    assert not in_its_words(b"-LOADING x\r\n", -1)
