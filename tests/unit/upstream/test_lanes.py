"""The pool of lanes: who shares one, who borrows one, which are closed; is the server up?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from nearhit.proxy.errors import ProxyError, UpstreamDown, UpstreamLost, UpstreamRefused
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.resp.replies import bulk
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.ask import drop
from nearhit.proxy.upstream.dial import Retry
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, Use, User
from nearhit.proxy.upstream.lanes import (
    DIALS_MAX,
    EVICT_TICKS,
    IDLE_TICKS,
    SHARED_MAX,
    Lanes,
)
from nearhit.proxy.upstream.spare import FORGET_TICKS, SPARES
from nearhit.proxy.upstream.subscriptions import Channels
from nearhit.proxy.upstream.tracked import TrackedLane

from tests.fakes import FakeDial, Tasks, Tray, settle

OTHER = LaneKey(db=1)
PING = encode([b"PING"])


class Owner:
    """Whoever a lane was lent to; it keeps whether it was lost."""

    def __init__(self) -> None:
        self.lost: list[ProxyError] = []
        self.called = 0
        self.lanes: Lanes | None = None  # to borrow from when it is called
        self.lane: Lane | None = None
        self.refused: list[ProxyError] = []

    def lane_pushed(self, lane: Lane, frame: bytes) -> None: ...

    def lane_raw(self, lane: Lane, data: bytes) -> None: ...

    def lane_ends(self, lane: Lane) -> None: ...

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        self.lost.append(why)

    def lane_writable(self, lane: Lane) -> None: ...

    def lane_free(self) -> None:
        self.called += 1
        if self.lanes is not None:
            self.lane = self.lanes.borrow(LaneKey(), self)

    def lane_refused(self, why: ProxyError) -> None:
        self.refused.append(why)


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
        lane = self.lend(owner)
        await settle()
        assert lane.state is LaneState.READY
        return lane

    def lend(self, owner: Owner | None = None, key: LaneKey | None = None) -> Lane:
        lane = self.lanes.borrow(key or LaneKey(), owner or Owner())
        assert lane is not None
        return lane

    def waiting(self, count: int) -> list[Owner]:
        """Owners for whom there is no place now, and who borrow when they are called."""
        owners = [Owner() for _ in range(count)]
        for owner in owners:
            assert self.lanes.borrow(LaneKey(), owner) is None
            owner.lanes = self.lanes
        return owners


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


async def test_lanes_that_carry_requests_stay_however_many_there_are(bench: Bench) -> None:
    lanes = [await bench.shared(LaneKey(db=db)) for db in range(SHARED_MAX + 5)]

    for _ in range(2 * EVICT_TICKS):
        for lane in lanes:
            lane.ask(drop, b"PING")
        await settle()
        for wire in bench.dial.wires:
            wire.reply(b"+PONG\r\n")
        bench.lanes.tick()
        bench.lanes.shared(LaneKey(db=1000)).close()

    assert all(lane.state is LaneState.READY for lane in lanes)
    assert len(bench.dial.wires) == len(lanes)


async def test_in_a_full_pool_lanes_that_are_idle_for_a_while_make_room(bench: Bench) -> None:
    lanes = [await bench.shared(LaneKey(db=db)) for db in range(SHARED_MAX)]
    lanes[0].users = 1
    for _ in range(EVICT_TICKS - 1):
        bench.lanes.tick()
    bench.lanes.shared(OTHER)
    assert len(bench.lanes) == SHARED_MAX
    lanes[1].ask(drop, b"PING")
    bench.dial.wires[1].reply(b"+PONG\r\n")
    bench.lanes.tick()
    bench.lanes.tick()

    bench.lanes.shared(LaneKey(db=1000))

    assert [lane.key.db for lane in lanes if lane.state is LaneState.READY] == [0, 1]


async def test_past_the_last_bound_whatever_nobody_uses_makes_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.upstream.lanes.SHARED_MOST", SHARED_MAX)
    lanes = [await bench.shared(LaneKey(db=db)) for db in range(SHARED_MAX)]
    lanes[3].users = 1

    bench.lanes.shared(LaneKey(db=1000))

    assert [lane.key.db for lane in lanes if lane.state is LaneState.READY] == [3]


async def test_a_full_pool_is_not_looked_through_for_each_lane_that_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, evict = 0, bench.lanes._evict

    def counted() -> None:
        nonlocal looks
        looks += 1
        evict()

    monkeypatch.setattr(bench.lanes, "_evict", counted)

    for db in range(4 * SHARED_MAX):  # a client that goes round
        bench.lanes.shared(LaneKey(db=db)).users = 1

    assert looks == 3
    bench.lanes.tick()
    bench.lanes.shared(LaneKey(db=1000))
    assert looks == 4


async def test_a_lane_that_is_listened_to_is_not_made_again_each_time(bench: Bench) -> None:
    lanes = [TrackedLane(bench.lanes, LaneKey(db=db)).lane() for db in range(SHARED_MAX)]

    bench.lanes.shared(LaneKey(db=1000))
    assert {lane.state for lane in lanes} == {LaneState.IDLE}
    for _ in range(EVICT_TICKS):
        bench.lanes.tick()

    bench.lanes.shared(LaneKey(db=1001))
    assert {lane.state for lane in lanes} == {LaneState.CLOSED}


async def test_the_pool_is_locked_where_its_first_lane_is(bench: Bench) -> None:
    assert not bench.lanes.locked(LaneKey())
    noauth = b"-NOAUTH Authentication required.\r\n"
    bench.dial.handshake = {b"HELLO": noauth, b"PING": noauth}

    await bench.shared()

    assert bench.lanes.locked(LaneKey())
    assert not bench.lanes.locked(LaneKey(user=User(b"alice", b"pw")))
    assert bench.lanes.newcomer_key == LaneKey(era=1)


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
    lane = bench.lend(owner)
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

    assert bench.dial.wires[0].handshake == [[b"HELLO", b"2"]]
    assert bench.lanes.asking() is asking
    assert bench.lanes.shared(LaneKey()) is not asking

    asking.close()
    assert bench.lanes.asking() is not asking


# --- Places for lanes that are lent


async def test_who_finds_no_place_is_called_when_one_comes_in_order(bench: Bench) -> None:
    bench.lanes.pinned_max = 2
    lanes = [await bench.borrowed(Owner()) for _ in range(2)]
    first, second, third = bench.waiting(3)

    bench.lanes.give_back(lanes[0])
    await settle()
    assert first.lane is lanes[0]
    assert (second.called, third.called) == (0, 0)

    lanes[1].tainted = True
    bench.lanes.give_back(lanes[1])
    await settle()
    assert second.lane is not None
    assert third.lane is None
    bench.lanes.leave_line(third)
    assert len(bench.lanes) == 2


async def test_who_comes_later_does_not_overtake_those_who_wait(bench: Bench) -> None:
    bench.lanes.pinned_max = 1
    lane = await bench.borrowed(Owner())
    (first,) = bench.waiting(1)

    bench.lanes.give_back(lane)
    late = bench.lanes.borrow(LaneKey(), Owner())
    await settle()

    assert late is None
    assert first.lane is lane


async def test_who_would_borrow_now_neither_joins_the_line_nor_leaves_it(bench: Bench) -> None:
    bench.lanes.pinned_max = 1
    lane = await bench.borrowed(Owner())
    (waiting,) = bench.waiting(1)

    assert bench.lanes.borrow_now(LaneKey(), waiting) is None  # for another's sake
    assert bench.lanes.borrow_now(LaneKey(), Owner()) is None
    bench.lanes.give_back(lane)
    await settle()

    assert waiting.lane is lane
    assert not bench.lanes.line


async def test_many_pauses_leave_one_timer(bench: Bench) -> None:
    loop = asyncio.get_running_loop()
    ended: list[int] = []
    for number in range(3):
        bench.lanes.pause.begin(loop.time() + 0.01, writes=True)
        bench.lanes.at_pause_end(lambda number=number: ended.append(number))  # type: ignore[misc]
    while not ended:
        await asyncio.sleep(0.01)

    bench.lanes.pause.end()
    bench.lanes.at_pause_end(lambda: ended.append(9))
    assert ended == [2]


async def test_who_is_called_and_does_not_borrow_is_passed_over(bench: Bench) -> None:
    bench.lanes.pinned_max = 1
    lane = await bench.borrowed(Owner())
    idle, next_ = bench.waiting(2)
    idle.lanes = None

    bench.lanes.give_back(lane)
    await settle()

    assert idle.called == 1
    assert next_.lane is lane


async def test_who_waited_too_long_is_refused_with_the_settings_name(bench: Bench) -> None:
    bench.lanes.pinned_max = 1
    await bench.borrowed(Owner())
    (owner,) = bench.waiting(1)
    bench.lanes.tick()
    assert not owner.refused

    bench.lanes.line[owner] = LaneKey(), 0.0  # its time is over
    bench.lanes.tick()

    (why,) = owner.refused
    assert why.line.startswith(b"-ERR no connection to the server got free in 5 s: 1 are in use")
    assert b"max_pinned" in why.line


async def test_a_warm_lane_of_another_key_makes_room(bench: Bench) -> None:
    bench.lanes.pinned_max = 1
    warm = await bench.borrowed(Owner())
    bench.lanes.give_back(warm)

    lane = bench.lend(key=OTHER)

    assert warm.state is LaneState.CLOSED
    assert lane.key == OTHER


async def test_shared_lanes_that_somebody_waits_for_connect_first(bench: Bench) -> None:
    bench.dial.mute = True
    lane = bench.lanes.shared(LaneKey())
    lane.users = 1
    lane.open()
    await settle()
    (owner,) = bench.waiting(1)

    bench.dial.wires[0]._shake()
    await settle()

    assert lane.state is LaneState.READY
    assert owner.lane is not None


async def test_a_loan_looks_at_no_shared_lane_whose_connection_stands(bench: Bench) -> None:
    class Watched(set[Lane]):
        looked = 0

        def __iter__(self) -> Iterator[Lane]:
            for lane in super().__iter__():
                self.looked += 1
                yield lane

    bench.lanes._coming = coming = Watched()  # type: ignore[attr-defined]  # pyright: ignore
    for db in range(3):
        (await bench.shared(LaneKey(db=db))).users += 1
    bench.lend()
    assert coming.looked == 0

    bench.dial.wires[0].lose()
    assert bench.lanes.borrow(LaneKey(), Owner()) is None

    assert coming.looked == 1


async def test_a_few_connect_at_a_time(bench: Bench) -> None:
    bench.dial.mute = True
    for _ in range(DIALS_MAX):
        bench.lend()
    await settle()
    assert len(bench.dial.wires) == DIALS_MAX
    owners = bench.waiting(3)

    bench.dial.wires[0]._shake()
    await settle()

    assert [owner.called for owner in owners] == [1, 0, 0]


async def test_lanes_that_do_not_last_are_replaced_ever_more_slowly(bench: Bench) -> None:
    bench.dial.retry = Retry(20)
    for _ in range(3):
        bench.lanes._dial_at = 0.0
        lane = await bench.borrowed(Owner())
        bench.dial.wires[-1].lose()
        bench.lanes.give_back(lane)
        await settle()

    pause = bench.lanes._dial_at - asyncio.get_running_loop().time()
    assert pause == pytest.approx(bench.dial.retry.again(3), abs=0.05)
    assert bench.lanes.borrow(LaneKey(), Owner()) is None


async def test_while_the_server_is_away_nobody_waits_and_nobody_dials(bench: Bench) -> None:
    bench.dial.refuse = 10**9
    lane = bench.lanes.shared(LaneKey())
    lane.users = 1
    lane.open()
    await settle()
    refused = bench.dial.refuse

    with pytest.raises(UpstreamDown):
        bench.lanes.borrow(LaneKey(), Owner())

    assert bench.lanes.down is not None
    assert bench.dial.refuse == refused


@pytest.mark.parametrize(("given", "pinned"), [(None, 68), (500, 500)])
async def test_a_number_that_was_set_is_not_narrowed(
    bench: Bench, given: int | None, pinned: int
) -> None:
    lanes = Lanes(
        bench.dial,
        bench.tasks.start,
        timeout_s=3,
        offline_max=1000,
        pinned_max=given,
        on_ready=bench.ready.append,
        on_refused=lambda lane, why: None,
    )

    lanes.take_maxclients(100)

    assert lanes.pinned_max == pinned


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
    borrowed = [await bench.borrowed(Owner()) for _ in range(SPARES + 2)]
    for lane in borrowed:
        bench.lanes.give_back(lane)

    for _ in range(IDLE_TICKS):
        bench.lanes.tick()
    assert len(bench.lanes) == SPARES + 3
    bench.lanes.tick()

    assert shared.state is LaneState.CLOSED
    assert repr(bench.lanes) == f"<Lanes shared=0 lent=0 warm={SPARES}>"


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
    assert repr(bench.lanes) == "<Lanes shared=0 lent=1 warm=0>"
    bench.lanes.pinned_max = 0  # none is opened ahead
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
    await settle()
    for _ in range(2):
        bench.dial.wires[1].reply(b"+PONG\r\n")
        await settle()

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


async def test_a_lane_whose_client_leaves_before_it_stands_warns_of_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.dial.mute = True
    lane = bench.lend()
    await settle()

    with caplog.at_level(logging.INFO):
        bench.lanes.give_back(lane)
        await settle()

    assert lane.state is LaneState.CLOSED
    assert bench.dial.wires[0].end == "aborted"
    assert not caplog.records


@pytest.mark.parametrize("may", [True, False])
async def test_a_user_who_may_not_track_is_not_asked_to(bench: Bench, may: bool) -> None:
    """Nor is it asked as that user whether it may: the server's log of refusals would tell."""
    bench.dial.permits = may
    no = bulk(b"User alice has no permissions to run the 'client|tracking' command")
    bench.dial.answer = lambda words: no if words[0] == b"ACL" else b""
    alice = LaneKey(user=User(b"alice", b"pw"), use=Use.TRACKED)

    lane = await bench.shared(alice)

    (asked,) = [
        [b" ".join(words) for words in wire.handshake or ()]
        for wire in bench.dial.wires
        if wire.handshake and wire.handshake[0][0] == b"AUTH"
    ]
    assert asked[:2] == [b"AUTH alice pw", b"HELLO 3" if may else b"HELLO 2"]
    assert asked[2:] == ([b"CLIENT TRACKING ON OPTIN"] if may else [])
    assert lane.tracking is may
    assert all(words[0] == b"ACL" for words in bench.dial.seen)


async def test_a_few_lanes_stand_ready_for_a_key_that_was_asked_for(bench: Bench) -> None:
    lane = await bench.borrowed(Owner())
    for _ in range(2 * IDLE_TICKS):
        bench.lanes.tick()
        await settle()

    assert repr(bench.lanes) == f"<Lanes shared=0 lent=1 warm={SPARES}>"
    ready = bench.lanes.borrow(LaneKey(), Owner())
    assert ready is not None
    assert ready.state is LaneState.READY
    bench.lanes.tick()
    await settle()
    assert repr(bench.lanes) == f"<Lanes shared=0 lent=2 warm={SPARES}>"
    bench.lanes.give_back(lane)
    bench.lanes.give_back(ready)
    for _ in range(FORGET_TICKS + IDLE_TICKS + 2):
        bench.lanes.tick()
    await settle()
    assert repr(bench.lanes) == "<Lanes shared=0 lent=0 warm=0>"


async def test_lanes_kept_ready_leave_half_of_the_places(bench: Bench) -> None:
    bench.lanes.pinned_max = 6
    await bench.borrowed(Owner())

    for _ in range(3):
        bench.lanes.tick()
        await settle()

    assert repr(bench.lanes) == "<Lanes shared=0 lent=1 warm=2>"


async def test_a_move_cuts_every_lane_and_fails_what_was_sent(bench: Bench) -> None:
    shared = bench.lanes.shared(LaneKey())
    shared.users = 1
    sent, later = Tray(1), Tray(1)
    shared.send(PING, sent)
    await settle()
    lent = await bench.borrowed(Owner())
    await settle()
    old = list(bench.dial.wires)

    bench.lanes.move(UpstreamLost("it is another"))
    shared.send(PING, later)

    assert b"it is another" in sent.error
    assert lent.state is LaneState.CLOSED
    assert all(wire.end == "aborted" for wire in old)
    await settle()
    assert not later.filled
    assert bench.dial.wires[-1].take() == PING
    assert bench.lanes.down is None


async def test_after_a_move_nothing_fails_because_the_old_server_was_down(bench: Bench) -> None:
    bench.dial.refuse = 3
    shared = bench.lanes.shared(LaneKey())
    shared.users = 1
    early, later = Tray(1), Tray(1)
    shared.send(PING, early)
    while bench.lanes.down is None:
        await asyncio.sleep(0)
    assert early.error

    bench.lanes.move(UpstreamLost("it is another"))
    shared.send(PING, later)

    assert not later.filled
