"""Requests out in one write a turn, replies to the slot at the head: the core of a lane alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from nearhit.proxy.hot.answers import RunSlot, Slot
from nearhit.proxy.hot.lane import KEPT_BYTES, LaneCore, LaneState

from tests.answering import Queue, Socket
from tests.fakes import Tray

PUSH = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"


class Core(LaneCore):
    """A lane's core that stands, with what it hands to the rest of the lane kept."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []
        super().__init__(self.later.append)
        self.state = LaneState.READY
        self.socket = Socket()
        wire: Any = self.socket
        self.wire = wire
        self.put_off: list[tuple[bytes, Slot]] = []
        self.strange = b""
        self.pushed = b""
        self.lost = ""
        self.resumed = 0

    def send_later(self, data: bytes, slot: Slot) -> None:
        self.put_off.append((data, slot))

    def odd_received(self, data: bytes, pos: int) -> None:
        self.strange += data[pos:]

    def unasked(self, data: bytes, pos: int) -> int:
        """All pushes of these tests come whole or in two pieces."""
        frame = b"".join(self.frame) + data[pos:]
        self.frame.clear()
        end = frame.find(PUSH[-7:])
        if end < 0:
            self.frame.append(data[pos:])
            return len(data)
        rest = len(frame) - end - 7
        self.pushed += frame[: end + 7]
        return len(data) - rest

    def lose(self, why: str) -> None:
        self.lost = why

    def resume_reading(self) -> None:
        self.resumed += 1
        self.paused = False

    def turn(self) -> bytes:
        """What has left by the end of one turn."""
        later, self.later[:] = list(self.later), []
        for call in later:
            call()
        return self.socket.take()


def run(core: Core, queue: Queue, want: int = 1, reads: int = 0) -> RunSlot:
    slot = RunSlot(queue, want)
    slot.reads = reads
    queue.push_slot(slot)
    core.send(b"*", slot)
    return slot


# --- Out


def test_what_is_sent_in_one_turn_leaves_in_one_write() -> None:
    core = Core()

    core.send(b"1", Tray())
    core.send(b"2", Tray())
    assert core.socket.pieces == []

    assert core.turn() == b"12"
    assert (len(core.waiting), core.sent, core.out) == (2, 2, [])


def test_with_others_on_their_way_a_write_waits_for_one_more_turn() -> None:
    core = Core()
    core.send(b"1", Tray())
    core.turn()

    core.send(b"2", Tray())
    assert core.turn() == b""
    core.send(b"3", Tray())

    assert core.turn() == b"23"
    assert not core.flush_deferred


def test_a_lane_that_does_not_stand_puts_off_what_is_sent() -> None:
    core, slot = Core(), Tray()
    core.state = LaneState.CONNECTING

    core.send(b"1", slot)
    core.flush()

    assert core.put_off == [(b"1", slot)]
    assert core.turn() == b""


def test_whoever_sends_has_it_read_again() -> None:
    core = Core()
    core.paused = True

    core.send(b"1", Tray())

    assert core.resumed == 1


def test_nothing_is_written_without_a_connection() -> None:
    core = Core()
    core.send(b"1", Tray())
    core.wire = None

    core.flush()

    assert core.out == [b"1"]


# --- In

REPLIES = b"+1\r\n$2\r\nab\r\n*2\r\n:1\r\n:2\r\n-ERR no\r\n"


@pytest.mark.parametrize("cut", range(1, len(REPLIES)))
def test_each_slot_gets_its_replies_in_any_pieces(cut: int) -> None:
    core, queue = Core(), Queue()
    one, tray = run(core, queue, 2), Tray()
    core.send(b"*", tray)
    last = run(core, queue)

    core.data_received(REPLIES[:cut])
    core.data_received(REPLIES[cut:])

    assert queue.took() + tray.got == b"+1\r\n$2\r\nab\r\n-ERR no\r\n" + b"*2\r\n:1\r\n:2\r\n"
    assert (one.want, tray.want, last.want, tray.filled) == (0, 0, 0, 1)
    assert (core.done, len(core.waiting), core.heard) == (3, 0, 2)


def test_reads_are_counted_as_they_are_complete() -> None:
    core, queue = Core(), Queue()
    run(core, queue, 3, reads=3)
    run(core, queue)  # no read: a value is no hit

    core.data_received(b"$1\r\nv\r\n$-1\r\n_\r\n$1\r\nv\r\n")

    assert (queue.turn.hits, queue.turn.misses) == (1, 2)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_of_a_mixed_run_only_the_marked_are_counted(size: int) -> None:
    core, queue = Core(), Queue()
    slot = run(core, queue, 4)
    slot.marks = b"\x01\x00\x01\x00"
    data = b"$1\r\na\r\n$1\r\nb\r\n$-1\r\n$-1\r\n"

    for at in range(0, len(data), size):
        core.data_received(data[at : at + size])

    assert queue.took() == data
    assert (queue.turn.hits, queue.turn.misses) == (1, 1)


def test_nulls_are_those_of_the_client() -> None:
    core, queue = Core(), Queue()
    slot = run(core, queue, 2, reads=2)
    slot.flat = True
    core.cutter.places = []  # as on a tracked lane

    core.data_received(b"_\r\n$1\r\nv\r\n")

    assert queue.took() == b"$-1\r\n$1\r\nv\r\n"


def test_pushes_come_between_replies() -> None:
    replies = b"+1\r\n" + PUSH + b"+2\r\n"
    for cut in (2, 10, len(replies) - 2):
        core, queue = Core(), Queue()
        run(core, queue, 2)

        core.data_received(replies[:cut])
        core.data_received(replies[cut:])

        assert core.pushed == PUSH, cut
        assert queue.took() == b"+1\r\n+2\r\n", cut


def test_what_nobody_waits_for_is_looked_at() -> None:
    core = Core()

    core.data_received(PUSH)

    assert core.pushed == PUSH


def test_bytes_that_are_no_replies_lose_the_lane() -> None:
    core, queue = Core(), Queue()
    run(core, queue, 2)

    core.data_received(b"+1\r\nHTTP/1.1 400\r\n")

    assert core.lost == "bytes that are not RESP"
    assert queue.took() == b"+1\r\n"


def test_a_lane_of_other_framing_takes_nothing_for_replies() -> None:
    core = Core()
    core.plain_framing = False

    core.data_received(b"+1\r\n")

    assert core.strange == b"+1\r\n"


class Changing(Tray):
    """A slot whose reply changes its lane."""

    def __init__(self, change: Callable[[], None]) -> None:
        super().__init__()
        self.change = change

    def feed(self, chunk: bytes) -> None:
        super().feed(chunk)
        self.change()


def test_a_reply_may_change_how_the_connection_speaks() -> None:
    core = Core()

    def change() -> None:
        core.plain_framing = False

    core.send(b"MONITOR", Changing(change))
    core.send(b"*", Tray())

    core.data_received(b"+OK\r\n+1.0 GET\r\n")

    assert core.strange == b"+1.0 GET\r\n"


def test_a_reply_may_close_the_lane() -> None:
    core = Core()

    def change() -> None:
        core.waiting = type(core.waiting)()

    behind = Tray()
    core.send(b"*", Changing(change))
    core.send(b"*", behind)

    core.data_received(b"+1\r\n+2\r\n")

    assert behind.got == b""


def test_what_is_not_every_request_is_for_lane_to_say() -> None:
    core, slot = LaneCore(lambda call: None), Tray()
    calls: list[Callable[[], object]] = [
        lambda: core.send_later(b"", slot),
        lambda: core.odd_received(b"", 0),
        lambda: core.unasked(b"", 0),
        lambda: core.lose(""),
        core.resume_reading,
    ]

    for call in itertools.chain(calls, [lambda: core.send(b"", slot)]):
        with pytest.raises(NotImplementedError):
            call()


# --- What was sent, to be asked again


def asked(core: Core, *pieces: bytes) -> None:
    for piece in pieces:
        core.send(piece, Tray())
    core.turn()
    core.turn()  # where others are on their way a flush is put off by a turn


def kept(core: Core) -> list[bytes]:
    return core.kept_before + core.kept


def test_what_was_sent_is_kept_where_it_is_wanted() -> None:
    core = Core()
    asked(core, b"1")
    assert not kept(core)
    core.keeps = True

    asked(core, b"2", b"3")
    asked(core, b"4")

    assert kept(core) == [b"2", b"3", b"4"]


def test_what_was_answered_is_forgotten_in_time() -> None:
    core = Core()
    core.keeps = True
    for at in range(100):
        asked(core, b"%d" % at, b"%d more" % at)
        if at:
            core.data_received(b"+1\r\n+2\r\n")
        waiting = len(core.waiting)
        assert kept(core)[-waiting:] == [b"%d" % at, b"%d more" % at]
        assert len(kept(core)) <= 3 * waiting


def test_so_many_bytes_are_kept_and_no_more() -> None:
    core = Core()
    core.keeps = True
    for _ in range(5):
        asked(core, b"x" * (KEPT_BYTES // 2))
        assert sum(map(len, kept(core))) <= 2 * KEPT_BYTES

    core.forget_kept()
    asked(core, b"y")

    assert kept(core) == [b"y"]
