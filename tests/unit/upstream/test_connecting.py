"""How a lane gets its connection: attempts, the handshake's replies, the moves between states."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.errors import (
    NODE_OF_CLUSTER,
    ProxyError,
    UpstreamDown,
    UpstreamNotReady,
    UpstreamRefused,
)
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream import connecting
from nearhit.proxy.upstream.ask import AskSlot
from nearhit.proxy.upstream.connecting import MOVES, Connecting
from nearhit.proxy.upstream.lane_key import LaneKey, Use, User

from tests.asking import OK
from tests.fakes import FakeDial, Tasks, Upstream, settle


class Probe(Connecting):
    """A connection without requests, which keeps what becomes of it."""

    def __init__(self, dial: FakeDial, key: LaneKey, *, bare: bool = False) -> None:
        super().__init__(key, dial, timeout_s=4, bare=bare)
        self.opened = 0
        self.failures: list[tuple[int, Exception]] = []
        self.refusals: list[UpstreamRefused] = []
        self.lost: list[ProxyError] = []

    def _lost(self) -> None:
        self.lost.append(self._why)
        self._become(LaneState.CONNECTING)

    def _opened(self) -> None:
        self._become(LaneState.READY)
        self.opened += 1

    def _failed(self, attempt: int, error: Exception) -> None:
        self.failures.append((attempt, error))
        if attempt == 3:
            self._become(LaneState.CLOSED)

    def _refuse(self, refused: UpstreamRefused) -> None:
        self.refusals.append(refused)
        self._become(LaneState.IDLE)

    # As asyncio's protocol; what a Lane makes of it is in test_lane.py.

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None:
        self.wire = None
        assert self._gone is not None
        if not self._gone.done():
            self._gone.set_result(None)
        if self.state is LaneState.READY:
            self._become(LaneState.CONNECTING)
        for slot in list(self.waiting):
            slot.fail(UpstreamDown("lost"), False)

    def end(self) -> None:
        if self.state is not LaneState.CLOSED:
            self._become(LaneState.CLOSED)
        self._abort()


class Bench:
    def __init__(self) -> None:
        self.dial = FakeDial()
        self.tasks = Tasks()
        self.probes: list[Probe] = []

    async def connect(self, key: LaneKey | None = None, *, bare: bool = False) -> Probe:
        """A probe that has begun to connect."""
        probe = Probe(self.dial, key or LaneKey(), bare=bare)
        self.probes.append(probe)
        probe._become(LaneState.CONNECTING)
        self.tasks.start(probe.run())
        await settle()
        return probe

    @property
    def wire(self) -> Upstream:
        return self.dial.wires[-1]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    for probe in bench.probes:
        probe.end()
    await settle()
    await bench.tasks.stop()


async def test_a_connection_is_opened_once_its_handshake_is_done(bench: Bench) -> None:
    probe = await bench.connect(LaneKey(db=2))

    assert probe.opened == 1
    assert bench.wire.handshake == [[b"HELLO", b"2"], [b"SELECT", b"2"], [b"PING"]]
    assert (probe.client_id, probe.locked, probe.tracking) == (101, False, False)


async def test_a_bare_connection_logs_in_as_nobody(bench: Bench) -> None:
    await bench.connect(LaneKey(user=User(b"u", b"p")), bare=True)

    assert bench.wire.handshake == [[b"HELLO", b"2"]]


@pytest.mark.parametrize("tracks", [True, False])
async def test_a_tracked_connection_knows_whether_it_tracks(bench: Bench, tracks: bool) -> None:
    bench.dial.handshake[b"CLIENT"] = b"+OK\r\n" if tracks else b"-ERR unknown subcommand\r\n"

    probe = await bench.connect(LaneKey(use=Use.TRACKED))

    assert probe.opened == 1
    assert probe.tracking is tracks


async def test_a_handshake_that_is_not_answered_in_time_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.upstream.connecting.HANDSHAKE_TIMEOUT", 0.0)
    bench.dial.handshake[b"PING"] = b""

    probe = await bench.connect()
    while not probe.failures:
        await asyncio.sleep(0)

    assert str(probe.failures[0][1]) == "no answer within 0 s"


async def test_each_failure_is_told_with_its_number(bench: Bench) -> None:
    bench.dial.refuse = 2

    probe = await bench.connect()

    assert [(at, type(error)) for at, error in probe.failures] == [
        (1, ConnectionRefusedError),
        (2, ConnectionRefusedError),
    ]
    assert probe.opened == 1


async def test_a_lane_that_its_failure_closed_is_not_tried_again(bench: Bench) -> None:
    bench.dial.refuse = 99

    probe = await bench.connect()

    assert len(probe.failures) == 3
    assert bench.dial.refuse == 96
    assert bench.tasks.running[0].done()


async def test_a_refusal_ends_the_attempts_and_the_connection(bench: Bench) -> None:
    bench.dial.handshake[b"SELECT"] = b"-ERR DB index is out of range\r\n"

    probe = await bench.connect(LaneKey(db=99))

    assert [why.line for why in probe.refusals] == [b"-ERR DB index is out of range\r\n"]
    assert bench.wire.end == "aborted"
    assert bench.tasks.running[0].done()


async def test_a_db_that_nobody_could_select_before_the_login_is_selected_behind_it(
    bench: Bench,
) -> None:
    bench.dial.mute = True
    probe = await bench.connect(LaneKey(db=1, user=User(b"u", b"p")))

    bench.wire.reply(b"-NOAUTH no\r\n+OK\r\n*2\r\n$2\r\nid\r\n:9\r\n")
    await settle()
    bench.wire.expect(b"SELECT", b"1")
    bench.wire.reply(b"+OK\r\n")
    await settle()

    assert (probe.opened, probe.client_id) == (1, 9)


async def test_a_handshake_that_fails_leaves_nothing_of_it_behind(bench: Bench) -> None:
    bench.dial.handshake |= {b"CLIENT": b"+OK\r\n", b"PING": b"-LOADING wait\r\n"}

    probe = await bench.connect(LaneKey(use=Use.TRACKED))

    assert {type(error) for _, error in probe.failures} == {UpstreamNotReady}
    assert not probe.tracking
    assert not probe.waiting


@pytest.mark.parametrize(
    ("last_words", "error", "line"),
    [
        (b"", UpstreamDown, b"-UPSTREAM no connection to the server: connection lost"),
        (
            b"-ERR max number of clients reached\r\n",
            UpstreamNotReady,
            b"-UPSTREAM no connection to the server: max number of clients reached there",
        ),
        (b"+OK\r\n", UpstreamDown, b"-UPSTREAM no connection to the server: connection lost"),
    ],
)
async def test_a_connection_lost_in_the_handshake_fails_with_the_servers_last_words(
    bench: Bench, last_words: bytes, error: type[ProxyError], line: bytes
) -> None:
    bench.dial.mute = True
    probe = await bench.connect()

    if last_words:
        bench.wire.reply(last_words)
    bench.wire.lose()
    await settle()

    failure = probe.failures[0][1]
    assert type(failure) is error
    assert failure.line.startswith(line)  # type: ignore[attr-defined]  # a ProxyError, see above


async def test_a_lane_closed_in_the_handshake_is_not_opened(bench: Bench) -> None:
    bench.dial.mute = True
    probe = await bench.connect()

    probe._become(LaneState.CLOSED)
    bench.wire.reply(b":1\r\n+PONG\r\n")
    await settle()

    assert probe.opened == 0
    assert bench.wire.end == "aborted"
    assert bench.tasks.running[0].done()


class Slowly:
    """A retry rule that keeps what it was asked."""

    attempts = 3

    def __init__(self) -> None:
        self.asked: list[int] = []

    def delay(self, attempt: int) -> float:
        raise AssertionError("no attempt fails here")

    def again(self, count: int) -> float:
        self.asked.append(count)
        return 0


async def test_after_connections_that_do_not_last_the_next_ones_come_ever_more_slowly(
    bench: Bench,
) -> None:
    bench.dial.retry = rule = Slowly()  # type: ignore[assignment]
    await bench.connect()

    for _ in range(4):
        bench.wire.lose()
        await settle()

    assert rule.asked == [1, 2, 3, 4]


async def test_a_connection_that_lasted_starts_the_rule_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dial.retry = rule = Slowly()  # type: ignore[assignment]
    probe = await bench.connect()
    bench.wire.lose()
    await settle()
    assert not probe.good

    monkeypatch.setattr(connecting, "GOOD", 0.0)
    assert probe.good
    bench.wire.lose()
    await settle()

    assert rule.asked == [1]


async def test_a_lost_connection_is_followed_by_the_next(bench: Bench) -> None:
    probe = await bench.connect()

    bench.wire.lose()
    await settle()

    assert probe.opened == 2
    assert len(bench.dial.wires) == 2


@pytest.mark.parametrize("state", LaneState)
async def test_only_the_drawn_moves_are_possible(bench: Bench, state: LaneState) -> None:
    for target in LaneState:
        probe = Probe(bench.dial, LaneKey())
        probe.state = state
        if target in MOVES[state]:
            probe._become(target)
            assert probe.state is target
        else:
            with pytest.raises(AssertionError, match=f"{state.name} -> {target.name}"):
                probe._become(target)


async def test_what_follows_is_for_a_subclass_to_say(bench: Bench) -> None:
    plain = Connecting(LaneKey(), bench.dial, timeout_s=1, bare=False)

    with pytest.raises(NotImplementedError):
        plain._opened()
    with pytest.raises(NotImplementedError):
        plain._failed(1, OSError())
    with pytest.raises(NotImplementedError):
        plain._refuse(UpstreamRefused(b"-ERR", login=False))


async def test_a_lane_that_is_cut_takes_no_answer_and_connects_anew(bench: Bench) -> None:
    probe = await bench.connect()
    old = bench.wire
    why = UpstreamDown("elsewhere")

    probe.cut(why)

    assert probe.lost == [why]
    assert old.end == "aborted"
    await settle()
    assert probe.opened == 2


async def test_a_handshake_that_is_cut_is_begun_again(bench: Bench) -> None:
    bench.dial.mute = True
    probe = await bench.connect()
    bench.dial.mute = False
    bench.dial.moves += 1

    probe.cut(UpstreamDown("elsewhere"))
    await settle()

    assert probe.opened == 1
    assert not probe.failures  # it has moved: that is why
    assert bench.dial.failed_times == 0


async def test_a_failure_and_a_loss_are_told_to_the_dial(bench: Bench) -> None:
    bench.dial.refuse = 1
    await bench.connect()
    assert bench.dial.failed_times == 1

    bench.wire.lose()
    await settle()

    assert bench.dial.failed_times == 2


async def test_attempts_count_anew_where_the_upstream_has_moved(bench: Bench) -> None:
    bench.dial.refuse = 2
    bench.dial.moved_by = 1

    probe = await bench.connect()

    assert [at for at, _ in probe.failures] == []
    assert probe.opened == 1


async def test_no_connection_to_a_node_is_used_where_one_server_is_meant(bench: Bench) -> None:
    found: list[str] = []
    bench.dial.on_cluster = lambda: found.append("a cluster")
    bench.dial.handshake[b"HELLO"] = b"%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n"

    probe = await bench.connect()

    assert found == ["a cluster"]
    assert (probe.opened, str(probe.refusals[0])) == (0, NODE_OF_CLUSTER[1:].decode())


async def test_a_node_may_be_what_is_dialled(bench: Bench) -> None:
    bench.dial.handshake[b"HELLO"] = b"%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n"

    probe = await bench.connect()

    assert probe.opened == 1


# --- What is timed


class Trips:
    """How long the server takes, by a clock that the test moves."""

    def __init__(self) -> None:
        self.clock = 10.0
        self.seen: list[float] = []

    def gap(self) -> int:
        return 2

    def now(self) -> float:
        return self.clock

    def took(self, seconds: float) -> None:
        self.seen.append(seconds)


async def test_every_so_often_a_batch_is_timed_until_its_last_answer(bench: Bench) -> None:
    probe, trips = await bench.connect(), Trips()
    probe.done = probe.sent  # as Lane does
    probe.time_by(trips)

    for seconds in (1.0, 2.0, 3.0):
        for _ in range(2):
            probe.send(encode([b"PING"]), AskSlot(lambda reply: None))
        await settle()
        trips.clock += seconds
        bench.wire.reply(OK)
        bench.wire.reply(OK)

    assert trips.seen == [2.0]


async def test_a_connection_that_was_lost_is_not_timed(bench: Bench) -> None:
    probe, trips = await bench.connect(), Trips()
    probe.done = probe.sent  # as Lane does
    probe.time_by(trips)
    for _ in range(2):
        probe.send(encode([b"PING"]), AskSlot(lambda reply: None))
        await settle()
    assert probe.timed_to

    probe.waiting.clear()
    await probe._connect()

    assert not probe.timed_to
