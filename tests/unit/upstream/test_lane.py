"""One upstream connection, without a socket: who gets which reply, and who gets none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.errors import ProxyError, UpstreamLost
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.ask import Reply
from nearhit.proxy.upstream.dial import Mute
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, User
from nearhit.proxy.upstream.subscriptions import Channels

from tests.fakes import FakeDial, FakeHome, Tray, Upstream, settle

GET = encode([b"GET", b"k"])
PUSH = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
LOST = b"-UPSTREAM connection to the server lost ("


class Owner:
    """Whoever a lane was lent to; it keeps what it is told."""

    def __init__(self) -> None:
        self.pushed: list[bytes] = []
        self.raw = b""
        self.ends = 0
        self.lost: list[ProxyError] = []
        self.writable = 0

    def lane_pushed(self, lane: Lane, frame: bytes) -> None:
        self.pushed.append(frame)

    def lane_raw(self, lane: Lane, data: bytes) -> None:
        self.raw += data

    def lane_ends(self, lane: Lane) -> None:
        assert not self.lost
        self.ends += 1

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        self.lost.append(why)

    def lane_writable(self, lane: Lane) -> None:
        self.writable += 1


class Bench:
    """A lane between a home and a scripted server."""

    def __init__(self) -> None:
        self.home = FakeHome()
        self.dial = FakeDial()
        self.owner = Owner()
        self.lanes: list[Lane] = []

    def lane(
        self,
        key: LaneKey | None = None,
        *,
        lent: bool = False,
        bare: bool = False,
        most_s: float | None = None,
    ) -> Lane:
        owner = self.owner if lent else None
        lane = Lane(
            1,
            key or LaneKey(),
            self.dial,
            self.home,
            offline_max=100,
            timeout_s=4,
            most_s=most_s,
            owner=owner,
            bare=bare,
        )
        self.lanes.append(lane)
        return lane

    async def ready(
        self, key: LaneKey | None = None, *, lent: bool = False
    ) -> tuple[Lane, Upstream]:
        lane = self.lane(key, lent=lent)
        lane.open()
        await settle()
        assert lane.state is LaneState.READY
        return lane, self.dial.wires[-1]

    async def close(self) -> None:
        for lane in self.lanes:
            lane.close()
        await self.home.tasks.stop()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.close()


def send(lane: Lane, count: int = 1, want: int = 1) -> list[Tray]:
    trays = [Tray(want) for _ in range(count)]
    for tray in trays:
        lane.send(GET * want, tray)
    return trays


# --- Replies


async def test_replies_go_to_those_who_wait_in_the_order_of_asking(bench: Bench) -> None:
    lane, wire = await bench.ready()
    first, second, third = Tray(), Tray(2), Tray()
    for tray in (first, second, third):
        lane.send(GET * tray.want, tray)
    await settle()

    wire.reply(b"+1\r\n+2\r\n$1\r\n", b"3\r\n:4\r\n")

    assert [tray.got for tray in (first, second, third)] == [
        b"+1\r\n",
        b"+2\r\n$1\r\n3\r\n",
        b":4\r\n",
    ]
    assert [tray.filled for tray in (first, second, third)] == [1, 1, 1]
    assert not lane.waiting


async def test_replies_in_single_bytes_are_the_same(bench: Bench) -> None:
    lane, wire = await bench.ready()
    trays = send(lane, 3)
    stream = b"*2\r\n$1\r\na\r\n_\r\n" + b"$-1\r\n" + b"|1\r\n+a\r\n+b\r\n+OK\r\n"

    wire.reply(*(stream[at : at + 1] for at in range(len(stream))))

    assert [tray.got for tray in trays] == [
        b"*2\r\n$1\r\na\r\n_\r\n",
        b"$-1\r\n",
        b"|1\r\n+a\r\n+b\r\n+OK\r\n",
    ]


async def test_one_write_carries_all_that_was_sent_in_a_turn(bench: Bench) -> None:
    lane, wire = await bench.ready()

    send(lane, 5)

    assert wire.quiet
    await settle()
    assert wire.take() == GET * 5


async def test_a_push_between_replies_goes_to_the_owner(bench: Bench) -> None:
    lane, wire = await bench.ready(lent=True)
    trays = send(lane, 2)

    wire.reply(PUSH + b"+1\r\n" + PUSH + b"+2\r\n", PUSH[:9], PUSH[9:])

    assert [tray.got for tray in trays] == [b"+1\r\n", b"+2\r\n"]
    assert bench.owner.pushed == [PUSH] * 3


async def test_a_push_in_pieces_between_replies_is_whole(bench: Bench) -> None:
    lane, wire = await bench.ready(lent=True)
    trays = send(lane, 2)
    stream = b"+1\r\n" + PUSH + b"+2\r\n"

    wire.reply(*(stream[at : at + 1] for at in range(len(stream))))

    assert [tray.got for tray in trays] == [b"+1\r\n", b"+2\r\n"]
    assert bench.owner.pushed == [PUSH]


async def test_a_reply_that_nobody_asked_for_ends_the_connection(bench: Bench) -> None:
    lane, wire = await bench.ready()
    (tray,) = send(lane)

    wire.reply(b"+1\r\n+2\r\n")

    assert tray.got == b"+1\r\n"
    assert wire.end == "aborted"


@pytest.mark.parametrize("junk", [b"x", b"$a\r\n", b"\r\n"])
async def test_bytes_that_are_no_reply_end_the_connection_and_fail_who_waits(
    bench: Bench, junk: bytes
) -> None:
    lane, wire = await bench.ready()
    first, second = send(lane, 2)
    await settle()

    wire.reply(b"+1\r\n" + junk)
    await settle()

    assert first.got == b"+1\r\n"
    assert second.error.startswith(LOST + b"bytes that are not RESP)")
    assert second.filled == 1


async def test_the_error_before_anything_of_a_reply_came_is_no_cut_reply(bench: Bench) -> None:
    # Otherwise the client would be cut where an error line can be given.
    lane, wire = await bench.ready()
    _, second = send(lane, 2)
    await settle()

    wire.reply(b"+1\r\n", b"x")
    await settle()

    assert second.filled == 1
    assert not second.inside


async def test_dying_in_the_middle_of_a_push_leaves_no_cut_reply(bench: Bench) -> None:
    lane, wire = await bench.ready()
    (tray,) = send(lane)
    await settle()

    wire.reply(PUSH[:9])
    wire.lose()

    assert tray.filled == 1
    assert not tray.inside


# --- Dying


async def test_sent_requests_fail_and_unsent_ones_wait_for_the_next_connection(
    bench: Bench,
) -> None:
    lane, wire = await bench.ready()
    sent = send(lane, 2)
    await settle()
    unsent = Tray(), Tray()
    for at, tray in enumerate(unsent):
        lane.send(encode([b"SET", b"%d" % at, b"v"]), tray)

    wire.lose(ConnectionResetError("reset by peer"))

    assert [tray.error[: len(LOST) + 13] for tray in sent] == [LOST + b"reset by peer"] * 2
    assert [tray.filled for tray in unsent] == [0, 0]
    await settle()
    again = bench.dial.wires[1]
    again.expect(b"SET", b"0", b"v")
    again.expect(b"SET", b"1", b"v")
    again.reply(b"+A\r\n+B\r\n")
    assert [tray.got for tray in unsent] == [b"+A\r\n", b"+B\r\n"]


async def test_what_comes_after_the_loss_queues_behind_what_was_not_sent(bench: Bench) -> None:
    lane, wire = await bench.ready()
    send(lane)
    await settle()
    unsent, late = Tray(), Tray()
    lane.send(encode([b"SET", b"1", b"v"]), unsent)
    wire.lose()
    lane.send(encode([b"SET", b"2", b"v"]), late)
    await settle()

    again = bench.dial.wires[1]

    again.expect(b"SET", b"1", b"v")
    again.expect(b"SET", b"2", b"v")


async def test_a_reply_that_came_in_part_is_failed_as_such_and_only_it(bench: Bench) -> None:
    lane, wire = await bench.ready()
    first, second = send(lane, 2)
    await settle()

    wire.reply(b"$5\r\nhe")
    wire.lose()

    assert (first.got, first.inside, first.filled) == (b"$5\r\nhe", True, 1)
    assert (second.inside, second.filled) == (False, 1)


async def test_a_run_of_which_some_replies_came_wants_only_the_others(bench: Bench) -> None:
    lane, wire = await bench.ready()
    tray = Tray(3)
    lane.send(GET * 3, tray)
    await settle()
    wants: list[int] = []
    fail = tray.fail
    tray.fail = lambda line, inside: (wants.append(tray.want), fail(line, inside))[1]  # type: ignore[method-assign]  # to see want

    wire.reply(b"+1\r\n")
    wire.lose()

    assert wants == [2]
    assert tray.got == b"+1\r\n"


async def test_a_lane_without_users_or_requests_does_not_connect_again(bench: Bench) -> None:
    lane, wire = await bench.ready()

    wire.lose()
    await settle()

    assert lane.state is LaneState.IDLE
    assert len(bench.dial.wires) == 1


async def test_a_lane_with_users_connects_again_by_itself(bench: Bench) -> None:
    lane, wire = await bench.ready()
    lane.users = 1

    wire.lose()
    await settle()

    assert lane.state is LaneState.READY
    assert len(bench.dial.wires) == 2


async def test_an_idle_lane_wakes_with_the_next_request(bench: Bench) -> None:
    lane, wire = await bench.ready()
    wire.lose()
    await settle()

    (tray,) = send(lane)
    await settle()
    bench.dial.wires[1].reply(b"+1\r\n")

    assert tray.got == b"+1\r\n"


async def test_a_lent_lane_has_one_life(bench: Bench) -> None:
    lane, wire = await bench.ready(lent=True)
    (sent,) = send(lane)
    await settle()
    (unsent,) = send(lane)

    wire.lose()
    await settle()

    assert lane.state is LaneState.CLOSED
    assert sent.filled == unsent.filled == 1
    assert bench.owner.ends == len(bench.owner.lost) == 1
    assert len(bench.dial.wires) == 1
    (late,) = send(lane)
    assert late.error.startswith(LOST)


async def test_closing_fails_whoever_waits_and_tells_nobody(bench: Bench) -> None:
    lane, wire = await bench.ready(lent=True)
    (sent,) = send(lane)

    lane.close()
    lane.close()
    await settle()

    assert sent.filled == 1
    assert wire.end == "aborted"
    assert not bench.owner.lost


async def test_closing_during_the_handshake_fails_what_waits(bench: Bench) -> None:
    bench.dial.mute = True
    lane = bench.lane()
    (tray,) = send(lane)
    await settle()

    lane.close()
    await settle()

    assert tray.filled == 1
    assert bench.dial.wires[0].end == "aborted"
    assert not bench.home.ready


# --- Connecting


async def test_requests_wait_for_the_handshake(bench: Bench) -> None:
    lane = bench.lane()
    first, second = send(lane, 2)
    await settle()

    (wire,) = bench.dial.wires

    assert wire.take() == GET * 2
    wire.reply(b"+1\r\n+2\r\n")
    assert (first.got, second.got) == (b"+1\r\n", b"+2\r\n")
    assert lane.client_id == 101


@pytest.mark.parametrize(
    ("key", "bare", "asked"),
    [
        (LaneKey(), False, ["HELLO 2", "PING"]),
        (LaneKey(db=3), False, ["HELLO 2", "SELECT 3", "PING"]),
        (LaneKey(resp=3), False, ["HELLO 3", "PING"]),
        (LaneKey(user=User(b"u", b"p")), False, ["AUTH u p", "HELLO 2"]),
        (
            LaneKey(db=1, resp=3, user=User(b"u", b"p")),
            False,
            ["SELECT 1", "AUTH u p", "HELLO 3"],
        ),
        (LaneKey(), True, ["HELLO 2"]),
    ],
)
async def test_the_handshake_makes_the_lane_what_its_key_says(
    bench: Bench, key: LaneKey, bare: bool, asked: list[str]
) -> None:
    lane = bench.lane(key, bare=bare)
    lane.open()
    await settle()

    handshake = bench.dial.wires[0].handshake
    assert handshake == [line.encode().split() for line in asked]
    assert lane.state is LaneState.READY
    assert not lane.locked


async def test_a_server_that_wants_a_login_is_noticed(bench: Bench) -> None:
    noauth = b"-NOAUTH Authentication required.\r\n"
    bench.dial.handshake = {b"HELLO": noauth, b"PING": noauth}

    lane, _ = await bench.ready()

    assert lane.locked
    assert lane.client_id == 0


async def test_a_refused_handshake_gives_its_words_to_what_waits(bench: Bench) -> None:
    bench.dial.handshake = {b"SELECT": b"-ERR DB index is out of range\r\n"}
    lane = bench.lane(LaneKey(db=99))

    (tray,) = send(lane)
    await settle()

    assert tray.error == b"-ERR DB index is out of range\r\n"
    assert lane.state is LaneState.IDLE
    assert [why.login for why in bench.home.refused] == [False]
    assert bench.dial.wires[0].end == "aborted"


async def test_a_refused_login_is_known_as_one(bench: Bench) -> None:
    bench.dial.handshake = {b"AUTH": b"-WRONGPASS no\r\n"}
    lane = bench.lane(LaneKey(user=User(b"u", b"old")))

    (tray,) = send(lane)
    await settle()

    assert tray.error == b"-WRONGPASS no\r\n"
    assert [why.login for why in bench.home.refused] == [True]


async def test_after_a_refusal_the_next_request_asks_again(bench: Bench) -> None:
    bench.dial.handshake = {b"AUTH": b"-WRONGPASS no\r\n"}
    lane = bench.lane(LaneKey(user=User(b"u", b"p")))
    send(lane)
    await settle()
    bench.dial.handshake = {}

    (tray,) = send(lane)
    await settle()
    bench.dial.wires[1].reply(b"+1\r\n")

    assert tray.got == b"+1\r\n"


def warned(caplog: pytest.LogCaptureFixture, what: str, level: int) -> int:
    """How often this was logged at a level that operators see."""
    found = [one for one in caplog.records if one.getMessage() == what]
    return sum(one.levelno >= level for one in found)


async def test_of_connections_that_do_not_last_only_the_first_one_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lane, _ = await bench.ready()
    lane.users = 1  # so that it connects again

    for _ in range(5):
        bench.dial.wires[-1].lose()
        await settle()

    assert len(bench.dial.wires) == 6
    assert warned(caplog, "lane lost", logging.INFO) == 1


async def test_of_attempts_that_fail_only_the_first_and_the_last_one_are_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.dial.refuse = 20
    lane = bench.lane()
    lane.users = 1
    lane.open()

    for _ in range(10):
        await settle()

    assert lane.state is LaneState.READY
    assert warned(caplog, "connect failed", logging.DEBUG) == 20
    assert warned(caplog, "connect failed", logging.WARNING) == 2


@pytest.mark.parametrize(("spoken", "lines"), [(True, 0), (False, 1)])
async def test_a_server_that_is_known_to_say_nothing_is_not_logged_at_each_attempt(
    bench: Bench, caplog: pytest.LogCaptureFixture, spoken: bool, lines: int
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.home.spoken = spoken
    lane = bench.lane()
    lane.open()

    lane._failed(1, Mute("no answer within 3 s"))

    assert warned(caplog, "connect failed", logging.WARNING) == lines


async def test_an_attempt_that_fails_is_made_again_and_nobody_notices(bench: Bench) -> None:
    bench.dial.refuse = 2
    lane = bench.lane()

    (tray,) = send(lane)
    await settle()
    bench.dial.wires[0].reply(b"+1\r\n")

    assert tray.got == b"+1\r\n"
    assert bench.home.down is None


async def test_when_the_attempts_are_used_up_the_upstream_is_down_and_all_fail_at_once(
    bench: Bench,
) -> None:
    bench.dial.refuse = 10**9
    lane = bench.lane()
    (early,) = send(lane)
    await settle()

    (late,) = send(lane)

    assert early.error.startswith(b"-UPSTREAM no connection to the server: ")
    assert late.error == early.error
    assert lane.state is LaneState.DOWN
    bench.dial.refuse = 0
    await settle()
    assert lane.state is LaneState.READY
    assert bench.home.down is None


async def test_an_error_without_words_is_told_by_its_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> asyncio.Transport:
        raise TimeoutError

    monkeypatch.setattr(bench.dial, "open", fail)

    (tray,) = send(bench.lane())
    await settle()

    assert tray.error.endswith(b": TimeoutError\r\n")


async def test_a_loading_server_is_tried_again(bench: Bench) -> None:
    bench.dial.handshake = {b"PING": b"-LOADING wait\r\n"}
    lane = bench.lane()
    (tray,) = send(lane)
    await settle()
    assert tray.error == b"-LOADING wait\r\n"

    bench.dial.handshake = {}
    await settle()

    assert lane.state is LaneState.READY


async def test_a_connection_lost_in_the_handshake_is_an_attempt(bench: Bench) -> None:
    bench.dial.mute = True
    lane = bench.lane()
    (tray,) = send(lane)
    await settle()

    bench.dial.mute = False
    bench.dial.wires[0].lose()
    await settle()

    assert lane.state is LaneState.READY
    bench.dial.wires[-1].reply(b"+1\r\n")
    assert tray.got == b"+1\r\n"


@pytest.mark.parametrize("junk", [b"x", b"+1\r\n+2\r\n+3\r\n", PUSH + b"x"])
async def test_a_handshake_of_garbage_is_an_attempt(bench: Bench, junk: bytes) -> None:
    bench.dial.mute = True
    lane = bench.lane()
    (tray,) = send(lane)
    await settle()

    bench.dial.mute = False
    bench.dial.wires[0].reply(junk)
    await settle()

    assert tray.filled <= 1
    assert lane.state in (LaneState.READY, LaneState.CONNECTING)


# --- Flow control


async def test_past_its_bound_the_offline_queue_stops_its_sender(bench: Bench) -> None:
    bench.dial.mute = True
    lane = bench.lane()

    send(lane, 100 // len(GET))
    assert not lane.choked
    send(lane)
    assert lane.choked

    lane.waiting_for_room.append(bench.owner)
    await settle()
    bench.dial.mute = False
    bench.dial.wires[0].lose()
    await settle()
    assert not lane.choked
    assert bench.owner.writable == 1


async def test_a_full_transport_stops_senders_until_it_has_room(bench: Bench) -> None:
    lane, _ = await bench.ready()

    lane.pause_writing()
    assert lane.choked
    lane.waiting_for_room.append(bench.owner)
    lane.resume_writing()

    assert not lane.choked
    assert bench.owner.writable == 1
    assert not lane.waiting_for_room


async def test_nobody_stays_blocked_on_a_lane_that_died(bench: Bench) -> None:
    lane, wire = await bench.ready()
    lane.pause_writing()
    lane.waiting_for_room.append(bench.owner)

    wire.lose()
    await settle()

    assert not lane.choked
    assert bench.owner.writable == 1


class OfClient(Tray):
    """The slot of a session."""

    def __init__(self, session: object) -> None:
        super().__init__()
        self.session = session


async def test_a_paused_lane_reads_again_when_another_asks(bench: Bench) -> None:
    lane, wire = await bench.ready()
    slow = OfClient("slow")
    lane.send(GET, slow)
    lane.pause_reading("slow")
    assert not wire.reading

    send(lane)

    assert wire.reading


@pytest.mark.parametrize("others", [["other"], ["slow", "other"], ["other", "slow"], []])
async def test_a_lane_on_which_others_wait_goes_on_reading(bench: Bench, others: list[str]) -> None:
    lane, wire = await bench.ready()
    for other in others:
        lane.send(GET, OfClient(other))

    lane.pause_reading("slow")

    assert wire.reading


# --- Time


async def test_a_lane_that_owes_replies_and_is_silent_is_suspected(bench: Bench) -> None:
    lane, wire = await bench.ready()
    (tray,) = send(lane)
    await settle()

    for _ in range(5):
        lane.tick()
    assert not bench.home.suspects
    lane.tick()
    await settle()

    assert bench.home.suspects == ["no answer in 4 s"]
    assert not wire.end
    assert not tray.filled


async def test_a_lane_is_given_up_when_nobody_shall_wait_any_longer(bench: Bench) -> None:
    lane = bench.lane(most_s=6)
    (tray,) = send(lane)
    await settle()

    for _ in range(7):
        lane.tick()
    wire = bench.dial.wires[0]
    assert not wire.end
    lane.tick()
    await settle()

    assert wire.end == "aborted"
    assert tray.error.startswith(LOST + b"no answer in 6 s)")


@pytest.mark.parametrize(("most_s", "waits"), [(None, 30), (7, 7)])
async def test_what_waits_for_a_connection_waits_for_a_silent_server(
    bench: Bench, most_s: float | None, waits: int
) -> None:
    bench.dial.mute = True
    lane = bench.lane(most_s=most_s)
    (tray,) = send(lane)
    await settle()

    for _ in range(waits):
        lane.tick()
    assert not tray.filled
    lane.tick()

    assert tray.filled == (most_s is not None)


async def test_what_waits_for_a_connection_waits_no_longer_than_for_an_answer(
    bench: Bench,
) -> None:
    bench.home.spoken = False
    bench.dial.mute = True
    lane = bench.lane()
    (tray,) = send(lane)
    await settle()

    for _ in range(4):
        lane.tick()
    assert not tray.filled
    lane.tick()

    assert tray.error.startswith(b"-UPSTREAM no connection to the server: ")
    assert not lane.offline


async def test_a_lent_lane_that_failed_what_waited_is_over(bench: Bench) -> None:
    # Its client may have begun a transaction with what failed: nothing more may go out on it.
    bench.home.spoken = False
    bench.dial.mute = True
    lane = bench.lane(lent=True)
    send(lane)
    await settle()

    for _ in range(6):
        lane.tick()
    await settle()

    assert lane.state is LaneState.CLOSED
    assert len(bench.owner.lost) == 1


async def test_a_lane_that_speaks_is_not_given_up(bench: Bench) -> None:
    lane, wire = await bench.ready()
    send(lane)

    for _ in range(10):
        lane.tick()
        wire.reply(PUSH)

    assert not wire.end


@pytest.mark.parametrize("reason", ["idle", "patient", "paused"])
async def test_silence_is_no_sign_of_death_where_nothing_is_due(bench: Bench, reason: str) -> None:
    lane, wire = await bench.ready(lent=True)
    if reason != "idle":
        send(lane)
    lane.patient = reason == "patient"
    if reason == "paused":
        lane.pause_reading(bench.owner)

    for _ in range(10):
        lane.tick()

    assert not wire.end


# --- Subscriptions and tunnels


async def test_messages_are_told_from_replies_while_subscribed(bench: Bench) -> None:
    lane, wire = await bench.ready(lent=True)
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
    confirmed = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    lane.subscribe(Channels())
    tray = Tray()
    tray.word, tray.bare = b"subscribe", False  # type: ignore[attr-defined]  # channels.Confirmed
    lane.send(encode([b"SUBSCRIBE", b"a"]), tray)
    ping = Tray()
    lane.send(encode([b"PING"]), ping)
    stream = confirmed + message + b"*2\r\n$4\r\npong\r\n$0\r\n\r\n" + message

    wire.reply(*(stream[at : at + 7] for at in range(0, len(stream), 7)))

    assert tray.got == confirmed
    assert ping.got == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    assert bench.owner.pushed == [message] * 2


async def test_in_a_tunnel_bytes_pass_as_they_are(bench: Bench) -> None:
    lane, wire = await bench.ready(lent=True)

    lane.enter_tunnel()
    wire.reply(b"+OK\r\n1700", b"\x00junk")
    lane.send_part(b"anything")
    await settle()

    assert bench.owner.raw == b"+OK\r\n1700\x00junk"
    assert wire.take() == b"anything"


async def test_parts_of_a_request_wait_with_it_for_the_connection(bench: Bench) -> None:
    lane = bench.lane(lent=True)
    tray = Tray()
    lane.send(GET[:5], tray)
    lane.send_part(GET[5:9])
    lane.send_part(GET[9:])
    await settle()

    bench.dial.wires[0].expect(b"GET", b"k")


# --- The proxy's own questions


async def test_an_answer_to_the_proxy_itself_comes_whole_or_as_an_error(bench: Bench) -> None:
    lane, wire = await bench.ready()
    got: list[Reply] = []
    lane.ask(got.append, b"INFO")
    lane.ask(got.append, b"INFO")
    await settle()

    wire.reply(b"$4\r\nab", b"cd\r\n", b"$4\r\nab")
    wire.lose()

    assert got[0] == b"$4\r\nabcd\r\n"
    assert isinstance(got[1], UpstreamLost)
    assert len(got) == 2


async def test_a_lane_says_what_it_is(bench: Bench) -> None:
    lane, _ = await bench.ready()
    send(lane)

    assert repr(lane) == "<Lane 1 shared READY db=0 waiting=1>"
    assert repr(User(b"alice", b"sesame")) == "<User b'alice'>"


async def test_an_impossible_move_is_a_defect(bench: Bench) -> None:
    lane, _ = await bench.ready()

    with pytest.raises(AssertionError, match="READY -> DOWN"):
        lane._become(LaneState.DOWN)


async def test_a_slot_that_closes_the_lane_ends_the_reading_of_what_is_behind(
    bench: Bench,
) -> None:
    # The lane is given back, tainted, out of the slot of its last reply but one.
    lane, wire = await bench.ready(lent=True)

    class Closing(Tray):
        def feed(self, chunk: bytes) -> None:
            super().feed(chunk)
            lane.close()

    first, second = Closing(), Tray()
    lane.send(GET, first)
    lane.send(GET, second)
    await settle()

    wire.reply(b"+1\r\n+2\r\n")
    await asyncio.sleep(0)

    assert (first.got, first.filled) == (b"+1\r\n", 1)
    assert (second.filled, second.got) == (1, b"")
