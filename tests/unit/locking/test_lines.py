"""The order of those who wait for one lock."""

from __future__ import annotations

import asyncio

from nearhit.proxy.locking.lines import Caller, Line
from nearhit.proxy.upstream.tracked import Watched


def new_line() -> Line:
    return Line(Watched({}, (b"lock:{r}",)))


def turn() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def called(*turns: asyncio.Future[None]) -> list[bool]:
    return [one.done() for one in turns]


async def test_the_first_is_called_at_once_and_each_other_when_it_is_the_first() -> None:
    line, turns = new_line(), [turn() for _ in range(3)]

    for one in turns:
        line.enter(one)
    assert called(*turns) == [True, False, False]

    line.leave(turns[0])
    assert called(*turns) == [True, True, False]
    line.leave(turns[1])
    assert called(*turns) == [True, True, True]


async def test_who_leaves_from_the_middle_calls_nobody() -> None:
    line, turns = new_line(), [turn() for _ in range(3)]
    for one in turns:
        line.enter(one)

    line.leave(turns[1])

    assert called(*turns) == [True, False, False]
    assert repr(line) == "<Line waiting=2 fired=False>"


async def test_a_turn_that_was_cancelled_is_no_error_and_keeps_its_place_until_it_leaves() -> None:
    line, gone, behind = new_line(), turn(), turn()
    first = turn()
    for one in (first, gone, behind):
        line.enter(one)
    gone.cancel()

    line.leave(first)
    assert not behind.done()
    line.leave(gone)

    assert behind.done()


def test_callers_with_one_token_are_each_itself_and_known_by_their_nonces() -> None:
    callers = [Caller(b"r", b"t", 1, nonce=b"1"), Caller(b"r", b"t", 1, nonce=b"1")]

    assert callers[0] != callers[1]
    assert callers[0].named
    assert not Caller(b"r", b"t", 1).named
