"""Giving back what nobody holds: until it is answered, but not from under somebody else."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.errors import UpstreamDown
from nearhit.proxy.locking import returns as module
from nearhit.proxy.locking.returns import Caller, Returns

from tests.fakes import Tasks, settle


class Desk:
    """Returns with the server, the clock and the sleep in the test's hands."""

    def __init__(self) -> None:
        self.now = 0.0
        self.released: list[tuple[bytes, bytes]] = []
        self.errors = 0  # so many releases fail
        self.answering = asyncio.Event()
        self.answering.set()
        self.tasks = Tasks()
        self.returns = Returns(
            self.release, self.tasks.start, clock=lambda: self.now, sleep=self.sleep
        )

    async def release(self, resource: bytes, token: bytes) -> bool:
        await self.answering.wait()
        if self.errors:
            self.errors -= 1
            raise UpstreamDown("refused")
        self.released.append((resource, token))
        return True

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def caller(token: bytes = b"t", *, named: bool = False, ttl_ms: int = 30_000) -> Caller:
    return Caller(b"r", token, ttl_ms, named)


async def test_a_grant_is_given_back_in_the_background() -> None:
    desk = Desk()

    returned = desk.returns.give_back(caller())
    assert not returned.done()
    assert repr(desk.returns) == "<Returns 1 named=0>"
    await returned

    assert desk.released == [(b"r", b"t")]
    assert len(desk.returns) == 0


async def test_it_is_tried_until_the_server_answers() -> None:
    desk = Desk()
    desk.errors = 3

    await desk.returns.give_back(caller())

    assert desk.released == [(b"r", b"t")]
    assert desk.now > 0


async def test_it_ends_with_the_lock_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.errors = 1_000_000

    await desk.returns.give_back(caller(ttl_ms=5_000))

    assert desk.released == []
    assert desk.now <= 5
    assert [record.getMessage() for record in caplog.records] == ["lock not given back"]


async def test_a_new_caller_with_the_token_ends_it() -> None:
    desk = Desk()
    desk.errors = 1
    desk.answering.clear()
    returned = desk.returns.give_back(caller(named=True))
    await settle()

    with desk.returns.known(caller(named=True)):
        assert len(desk.returns) == 0
        desk.answering.set()
        await returned

    assert desk.released == []


async def test_a_grant_is_left_to_another_caller_with_the_token() -> None:
    desk = Desk()
    gone, here = caller(named=True), caller(named=True)

    with desk.returns.known(gone), desk.returns.known(here):
        assert desk.returns.give_back(gone).done()
        assert repr(desk.returns) == "<Returns 0 named=1>"

    await settle()
    assert desk.released == []


async def test_the_only_caller_of_a_token_is_no_reason_to_keep_it() -> None:
    desk = Desk()
    mine = caller(named=True)

    with desk.returns.known(mine):
        await desk.returns.give_back(mine)

    assert desk.released == [(b"r", b"t")]
    assert repr(desk.returns) == "<Returns 0 named=0>"


async def test_tokens_of_our_own_are_nobody_elses() -> None:
    desk = Desk()

    with desk.returns.known(caller()):
        assert repr(desk.returns) == "<Returns 0 named=0>"


async def test_how_many_are_given_back_at_once_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETURNING_MAX", 1)
    desk = Desk()

    first = desk.returns.give_back(caller(b"t1"))
    second = desk.returns.give_back(caller(b"t2"))
    assert (first.done(), second.done()) == (False, True)
    await first

    assert desk.released == [(b"r", b"t1")]
    assert [record.getMessage() for record in caplog.records] == ["lock not given back"]


async def test_the_end_of_the_process_leaves_nobody_waiting() -> None:
    desk = Desk()
    desk.answering.clear()
    returned = desk.returns.give_back(caller())
    await settle()

    await desk.tasks.stop()

    assert returned.done()
    assert len(desk.returns) == 0
