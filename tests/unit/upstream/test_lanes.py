"""The pool of lanes: who shares one, who borrows one, which are closed; is the server up?"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.errors import ProxyError, UpstreamDown, UpstreamRefused
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, User
from nearhit.proxy.upstream.lanes import IDLE_TICKS, SHARED_MAX, Lanes
from nearhit.proxy.upstream.subscriptions import Channels

from tests.fakes import FakeDial, Tasks, Tray, settle

OTHER = LaneKey(db=1)


class Owner:
    """Whoever a lane was lent to; it keeps whether it was lost."""

    def __init__(self) -> None:
        self.lost: list[ProxyError] = []

    def lane_pushed(self, lane: Lane, frame: bytes) -> None: ...

    def lane_raw(self, lane: Lane, data: bytes) -> None: ...

    def lane_ends(self, lane: Lane) -> None: ...

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        self.lost.append(why)

    def lane_writable(self, lane: Lane) -> None: ...


class Bench:
    """A pool whose lanes connect to a script."""

    def __init__(self) -> None:
        self.dial = FakeDial()
        self.tasks = Tasks()
        self.ready: list[Lane] = []
        self.refused: list[UpstreamRefused] = []
        self.lanes = Lanes(
            self.dial,
            self.tasks.start,
            timeout_s=3,
            offline_max=1000,
            on_ready=self.ready.append,
            on_refused=lambda lane, why: self.refused.append(why),
        )

    async def shared(self, key: LaneKey | None = None) -> Lane:
        """A shared lane whose connection stands."""
        lane = self.lanes.shared(key or LaneKey())
        lane.open()
        await settle()
        assert lane.state is LaneState.READY
        return lane

    async def borrowed(self, owner: Owner) -> Lane:
        lane = self.lanes.borrow(LaneKey(), owner)
        await settle()
        assert lane.state is LaneState.READY
        return lane


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.lanes.close()
    await settle()
    await bench.tasks.stop()


# --- Sharing


async def test_sessions_of_equal_keys_share_a_lane(bench: Bench) -> None:
    first = bench.lanes.shared(LaneKey(db=1))

    assert bench.lanes.shared(LaneKey(db=1)) is first
    assert bench.lanes.shared(LaneKey(db=2)) is not first


async def test_a_full_pool_closes_the_shared_lanes_that_nobody_uses(bench: Bench) -> None:
    used, waited = bench.lanes.shared(LaneKey(db=0)), bench.lanes.shared(LaneKey(db=1))
    used.users = 1
    waited.offline.append(b"x", Tray())
    idle = [bench.lanes.shared(LaneKey(db=db)) for db in range(2, SHARED_MAX)]

    bench.lanes.shared(LaneKey(db=SHARED_MAX))

    assert all(lane.state is LaneState.CLOSED for lane in idle)
    assert repr(bench.lanes) == "<Lanes shared=3 lent=0 warm=0>"
    assert bench.lanes.shared(LaneKey(db=0)) is used
    assert bench.lanes.shared(LaneKey(db=1)) is waited


async def test_the_pool_is_locked_where_its_first_lane_is(bench: Bench) -> None:
    assert not bench.lanes.locked
    noauth = b"-NOAUTH Authentication required.\r\n"
    bench.dial.handshake = {b"CLIENT": noauth, b"PING": noauth}

    await bench.shared()

    assert bench.lanes.locked


@pytest.mark.parametrize("user", [True, False])
async def test_a_refused_lane_is_forgotten_when_nobody_else_uses_it(
    bench: Bench, user: bool
) -> None:
    lane = bench.lanes.shared(OTHER)
    lane.users = int(user)

    bench.lanes.forget(OTHER)
    bench.lanes.forget(LaneKey(db=9))  # never seen

    assert (bench.lanes.shared(OTHER) is lane) is user


async def test_the_first_db_is_never_forgotten(bench: Bench) -> None:
    lane = bench.lanes.shared(LaneKey())

    bench.lanes.forget(LaneKey())

    assert bench.lanes.shared(LaneKey()) is lane


# --- Lending


async def test_a_lane_given_back_is_lent_to_the_next(bench: Bench) -> None:
    owner, next_owner = Owner(), Owner()
    lane = await bench.borrowed(owner)

    bench.lanes.give_back(lane)
    assert lane.owner is None
    assert repr(bench.lanes) == "<Lanes shared=0 lent=0 warm=1>"
    again = bench.lanes.borrow(LaneKey(), next_owner)

    assert again is lane
    assert lane.owner is next_owner
    assert repr(bench.lanes) == "<Lanes shared=0 lent=1 warm=0>"


async def test_a_lane_is_not_lent_to_another_key(bench: Bench) -> None:
    lane = await bench.borrowed(Owner())
    bench.lanes.give_back(lane)

    assert bench.lanes.borrow(OTHER, Owner()) is not lane


async def test_a_warm_lane_that_died_is_not_lent(bench: Bench) -> None:
    lane = await bench.borrowed(Owner())
    bench.lanes.give_back(lane)

    bench.dial.wires[0].lose()

    assert bench.lanes.borrow(LaneKey(), Owner()) is not lane


@pytest.mark.parametrize("state", ["tainted", "tunnel", "owes", "subscribed", "connecting"])
async def test_a_lane_that_holds_state_is_closed_when_given_back(bench: Bench, state: str) -> None:
    owner = Owner()
    lane = bench.lanes.borrow(LaneKey(), owner)
    if state != "connecting":
        await settle()
    if state == "tainted":
        lane.tainted = True
    elif state == "tunnel":
        lane.enter_tunnel()
    elif state == "owes":
        lane.send(b"x", Tray())
    elif state == "subscribed":
        lane.subscribe(Channels())

    bench.lanes.give_back(lane)

    assert lane.state is LaneState.CLOSED
    assert not owner.lost
    assert bench.lanes.borrow(LaneKey(), owner) is not lane


async def test_a_lane_given_back_listens_again(bench: Bench) -> None:
    lane = await bench.borrowed(Owner())
    lane.patient = True
    lane.pause_reading(None)

    bench.lanes.give_back(lane)

    assert not lane.patient
    assert bench.dial.wires[0].reading


async def test_the_lane_that_asks_for_logins_has_none_itself(bench: Bench) -> None:
    asking = bench.lanes.asking()
    asking.open()
    await settle()

    assert bench.dial.wires[0].handshake == [[b"CLIENT", b"ID"], [b"PING"]]
    assert bench.lanes.asking() is asking
    assert bench.lanes.shared(LaneKey()) is not asking

    asking.close()
    assert bench.lanes.asking() is not asking


# --- The health of the upstream


async def test_the_upstream_is_down_until_a_connection_stands(bench: Bench) -> None:
    bench.dial.refuse = 10**9
    lane = bench.lanes.shared(LaneKey())
    lane.open()
    await settle()
    assert isinstance(bench.lanes.down, UpstreamDown)

    bench.dial.refuse = 0
    await settle()

    assert bench.lanes.down is None
    assert bench.ready == [lane]
    assert len(bench.lanes) == 1


async def test_one_lane_that_cannot_connect_is_no_down_while_others_stand(bench: Bench) -> None:
    await bench.shared()
    bench.dial.refuse = 10**9
    bench.lanes.shared(OTHER).open()

    await settle()

    assert bench.lanes.down is None


async def test_a_refusal_is_handed_on(bench: Bench) -> None:
    bench.dial.handshake = {b"AUTH": b"-WRONGPASS no\r\n"}

    bench.lanes.shared(LaneKey(user=User(b"u", b"p"))).open()
    await settle()

    assert [why.login for why in bench.refused] == [True]


# --- Time and end


async def test_lanes_that_nobody_uses_are_closed_after_a_while(bench: Bench) -> None:
    shared = await bench.shared()
    warm = await bench.borrowed(Owner())
    bench.lanes.give_back(warm)

    for _ in range(IDLE_TICKS):
        bench.lanes.tick()
    assert len(bench.lanes) == 2
    bench.lanes.tick()

    assert shared.state is warm.state is LaneState.CLOSED
    assert repr(bench.lanes) == "<Lanes shared=0 lent=0 warm=0>"


async def test_lanes_in_use_stay(bench: Bench) -> None:
    shared = await bench.shared()
    shared.users = 1
    lent = await bench.borrowed(Owner())

    for _ in range(IDLE_TICKS + 5):
        bench.lanes.tick()

    assert shared.state is lent.state is LaneState.READY


async def test_a_lent_lane_that_died_is_forgotten(bench: Bench) -> None:
    owner = Owner()
    await bench.borrowed(owner)

    bench.dial.wires[0].lose()
    bench.lanes.tick()

    assert len(owner.lost) == 1
    assert repr(bench.lanes) == "<Lanes shared=0 lent=0 warm=0>"


async def test_each_lane_is_asked_whether_it_is_silent(bench: Bench) -> None:
    lane = await bench.shared()
    lane.users = 1
    lane.send(b"x", Tray())
    await settle()

    for _ in range(5):
        bench.lanes.tick()

    assert bench.dial.wires[0].end == "aborted"


async def test_closing_ends_every_lane(bench: Bench) -> None:
    shared, lent, warm = (
        await bench.shared(),
        await bench.borrowed(Owner()),
        await bench.borrowed(Owner()),
    )
    bench.lanes.give_back(warm)
    asking = bench.lanes.asking()

    bench.lanes.close()

    assert {lane.state for lane in (shared, lent, warm, asking)} == {LaneState.CLOSED}
    assert len(bench.lanes) == 0
