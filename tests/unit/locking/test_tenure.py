"""Which locks are kept for a client, until when, and what it hears of those that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from nearhit.proxy.errors import LockBusy, LockLost, ServerError, UpstreamLost
from nearhit.proxy.locking import tenure as tenure_module
from nearhit.proxy.locking.grants import Grant
from nearhit.proxy.locking.tenure import Tenure

from tests.unit.locking.world import World, pass_time, virtual


class Client:
    """Somebody for whom locks are kept. ``pushes``: whether it can be told at once."""

    def __init__(self, world: World, pushes: bool = True) -> None:
        self.world = world
        self.pushes = pushes
        self.left = False
        self.told: list[tuple[bytes, int]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.tenure = Tenure(self._run, lambda: self.left, self._tell)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _tell(self, resource: bytes, fence: int) -> bool:
        self.told.append((resource, fence))
        return self.pushes

    def leave(self) -> None:
        self.left = True
        for task in self.tasks:
            task.cancel()

    async def acquire(
        self, ms: int = 3_000, most: int | None = None, token: bytes | None = None
    ) -> Grant:
        args = b"r", ms, 0, token, self.tenure, most
        grant = await self.world.locks.acquire_kept(*args)
        assert grant is not None
        return grant


@virtual
async def test_a_lock_is_extended_at_a_third_of_its_time_for_as_long_as_its_client_stays(
    world: World,
) -> None:
    client = Client(world)
    grant = await client.acquire(3_000)
    began = world.now

    await pass_time(60.5)

    assert world.server.holder() == grant.token
    assert len(world.server.renewals) == 60
    assert world.server.renewals[0][0] - began == pytest.approx(1, abs=0.01)
    assert world.counts["locks_renewed"] == 60
    client.leave()
    await pass_time(0.01)
    assert world.server.holder() is None
    assert not client.told
    assert repr(client.tenure) == "<Tenure kept=0 lost=0>"
    assert world.locks.keeping == 0


@virtual
async def test_a_release_ends_it_and_is_not_told(world: World) -> None:
    client = Client(world)
    grant = await client.acquire()

    assert await world.locks.release(b"r", grant.token, client.tenure)

    await pass_time(10)
    assert (client.told, world.server.renewals, client.tasks) == ([], [], set())


@virtual
async def test_maxhold_ends_it_on_time_and_tells(world: World) -> None:
    client = Client(world)
    began = world.now
    grant = await client.acquire(3_000, most=4_500)

    await pass_time(4.4)
    assert world.server.holder() == grant.token
    await pass_time(began + 4.51 - world.now)

    assert world.server.holder() is None
    assert client.told == [(b"r", grant.fence)]
    assert world.counts["locks_lost"] == 1


@virtual
async def test_a_lock_that_is_gone_is_told_and_its_next_holder_is_left_alone(world: World) -> None:
    client = Client(world)
    grant = await client.acquire()
    world.server.free()
    other = await world.granted(60_000)

    await pass_time(1.1)

    assert client.told == [(b"r", grant.fence)]
    await pass_time(5)
    assert world.server.holder() == other.token


@virtual
async def test_a_client_that_cannot_be_pushed_to_hears_of_it_once_as_an_error(
    world: World,
) -> None:
    client = Client(world, pushes=False)
    client.tenure.check()
    await client.acquire()
    world.server.free()
    await pass_time(1.1)

    with pytest.raises(LockLost, match="LOCKLOST the lock 'r' is not yours any more"):
        client.tenure.check()
    client.tenure.check()


@pytest.mark.parametrize(
    "failure", [UpstreamLost("cut"), ServerError(b"-NOPERM no")], ids=["lost", "refused"]
)
def test_a_renewal_that_fails_is_tried_again_until_the_lock_s_time_is_over(
    failure: Any,
) -> None:
    @virtual
    async def run(world: World) -> None:
        client = Client(world)
        grant = await client.acquire(3_000)
        world.server.refuse = failure
        await pass_time(2.8)
        world.server.refuse = None
        await pass_time(3)
        assert world.server.holder() == grant.token
        assert not client.told

        world.server.refuse = failure
        await pass_time(3.1)
        world.server.refuse = None
        assert client.told == [(b"r", grant.fence)]
        assert not client.tasks
        await pass_time(10)

    run()


@virtual
async def test_a_process_that_was_stopped_for_longer_than_the_lock_never_extends_it(
    world: World,
) -> None:
    client = Client(world)
    grant = await client.acquire(3_000)
    await pass_time(0.5)

    # To the server the lock is still there: its clock is the slower one.
    world.server.locks[b"lock:{r}"] = grant.token, world.now + 100
    world.stall(3)
    await pass_time(0.01)

    assert client.told == [(b"r", grant.fence)]
    assert not world.server.renewals
    assert world.server.holder() is None, "given back: its client knows that it is lost"


@virtual
async def test_a_defect_in_a_renewal_is_told_and_logged(world: World) -> None:
    client = Client(world)
    grant = await client.acquire(3_000)

    async def broken(*_: object) -> float:
        raise KeyError("a defect")

    world.locks.renew = broken  # type: ignore[method-assign]
    await pass_time(1.1)

    assert client.told == [(b"r", grant.fence)]
    assert world.server.holder() is None
    assert not client.tasks


@virtual
async def test_an_extension_by_its_client_is_for_the_renewals_too(world: World) -> None:
    client = Client(world)
    grant = await client.acquire(30_000)

    assert await world.locks.extend(b"r", grant.token, 300, client.tenure)
    await pass_time(10.05)

    assert world.server.holder() == grant.token
    assert 95 <= len(world.server.renewals) <= 102
    assert await world.locks.extend(b"r", b"another's", 300, client.tenure) is False
    client.leave()


@virtual
async def test_a_token_that_comes_again_by_another_connection_is_kept_for_that_one(
    world: World,
) -> None:
    first, second = Client(world), Client(world)
    grant = await first.acquire(token=b"t")
    again = await second.acquire(token=b"t")
    assert again.fence == grant.fence

    first.leave()
    await pass_time(10)

    assert world.server.holder() == b"t"
    second.leave()
    await pass_time(0.01)
    assert world.server.holder() is None


@virtual
async def test_a_client_that_left_as_it_was_granted_keeps_nothing(world: World) -> None:
    client = Client(world)
    client.left = True

    await client.acquire()

    await pass_time(0.01)
    assert world.server.holder() is None


@virtual
async def test_what_another_holds_is_not_kept(world: World) -> None:
    await world.granted()
    client = Client(world)

    assert await world.locks.acquire_kept(b"r", 3_000, 0, None, client.tenure, None) is None
    assert not client.tasks


@virtual
async def test_how_many_are_kept_is_bounded(world: World) -> None:
    client = Client(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenure_module, "CLIENT_MAX", 1)
        await client.acquire()
        with pytest.raises(LockBusy, match="1 locks are renewed for this client already"):
            await client.acquire()
        patch.setattr(tenure_module, "KEPT_MAX", 1)
        with pytest.raises(
            LockBusy, match="1 locks are renewed for this database and user already"
        ):
            await Client(world).acquire()
    client.leave()


@virtual
async def test_a_release_that_is_cancelled_as_the_proxy_stops_is_sent_once_more(
    world: World,
) -> None:
    client = Client(world)
    await client.acquire()
    world.server.refuse = UpstreamLost("cut")
    client.leave()
    await pass_time(0.01)
    world.server.refuse = None
    for task in list(world.background):
        task.cancel()
    await pass_time(0.01)

    assert world.server.holder() is None


@virtual
async def test_a_client_that_leaves_before_its_first_step_keeps_nothing(world: World) -> None:
    client = Client(world)
    run = client.tenure._run

    def run_and_leave(work: Coroutine[Any, Any, None]) -> None:
        run(work)
        client.leave()

    client.tenure._run = run_and_leave
    await client.acquire()
    await pass_time(0.01)

    assert world.server.holder() is None
    assert world.locks.keeping == 0
