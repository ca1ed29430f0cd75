"""A server that takes no writes for a while: loaders answer, and what they bring is not stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.refusals import WORDS, refusing
from tests.servers import HOST

from .people import Cache
from .test_getorset import NIL, bulk

READONLY = "READONLY You can't write against a read only replica."


@pytest.fixture(params=[*WORDS, "READONLY"])
def refused(cache: Cache, request: pytest.FixtureRequest) -> Iterator[bytes]:
    """What the server says to each write."""
    with ExitStack() as stack:
        if request.param == "READONLY":
            cache.server.replicaof(HOST, 1)
            stack.callback(cache.server.replicaof, "NO", "ONE")
        else:
            stack.enter_context(refusing(request.param, cache.server.execute_command))
        yield WORDS.get(request.param, READONLY).encode()


def test_loaders_answer_but_for_those_that_fail_closed(
    cache: Cache, resp: int, refused: bytes
) -> None:
    def unstored() -> int:
        return int(told.ask("STATS").split(b"unstored\r\n:", 1)[1].split(b"\r\n", 1)[0])

    with closing(cache.link(resp)) as link, closing(cache.link(3)) as told:
        before = unstored()

        assert link.ask("GETORSET", "user:1") == bulk("user 1")
        assert link.ask("GET", "read:2") == bulk("user 2")
        assert link.ask("GETORSET", "soft:3") == bulk("user 3")
        assert link.ask("GETORSET", "tagged:4") == bulk("user 4")
        many = link.ask("MGETORSET", 4, "user:5", "many:6", "tagged:7", "none")
        assert many == b"*4\r\n" + bulk("user 5") + bulk("user 6") + bulk("user 7") + NIL[resp]
        assert link.ask("MGET", "read:8", "none") == b"*2\r\n" + bulk("user 8") + NIL[resp]
        assert link.ask("GETORSET", "user:nobody") == NIL[resp]
        assert link.ask("GETORSET", "user:broken").startswith(b"-LOADERR loader 'users': ")
        assert unstored() - before == 9

        for words in (("GETORSET", "strict:1"), ("SET", "k", "v"), ("GETORSET", "k", "v")):
            assert link.ask(*words).startswith(b"-" + refused), words
        assert link.ask("MGETORSET", 2, "user:1", "strict:1").startswith(b"-" + refused)

    assert cache.loads("5") == 1
    assert cache.server.keys() == []


def test_what_is_stale_is_told_while_it_cannot_be_refreshed(
    cache: Cache, resp: int, stale: None, refused: bytes
) -> None:
    with closing(cache.link(resp)) as link:
        for _ in range(2):
            assert link.ask("GETORSET", "soft:1") == bulk("old")

    assert cache.server.get("soft:1") == b"old"


@pytest.fixture
def stale(cache: Cache) -> None:
    cache.server.set("soft:1", "old", px=30_000)
