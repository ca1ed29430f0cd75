"""The queue of answers: filled in any order, handed out from the front, one write a turn."""

from __future__ import annotations

import itertools

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.hot.answers import (
    STALL_WINDOW,
    WINDOW_BYTES,
    WINDOW_MAX,
    WINDOW_START,
    Answers,
    MutedSlot,
    RunSlot,
    Turn,
)

from tests.answering import Queue

WHY = UpstreamLost("a test")


def fill(slot: RunSlot, *chunks: bytes) -> None:
    """Its only reply, in pieces."""
    for at, chunk in enumerate(chunks):
        slot.want = int(at < len(chunks) - 1)
        slot.feed(chunk)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_answers_come_in_the_order_of_requests(order: tuple[int, ...]) -> None:
    queue = Queue()
    slots = [RunSlot(queue, 1) for _ in range(3)]
    for slot in slots:
        queue.push_slot(slot)
    assert queue.owed == 3

    for at in order:
        fill(slots[at], b"<%d" % at, b"%d>" % at)

    assert queue.took() == b"<00><11><22>"
    assert (queue.owed, queue.head, queue.tail) == (0, None, None)


def test_what_the_head_has_is_handed_out_as_it_comes() -> None:
    queue = Queue()
    slot = RunSlot(queue, 2)
    queue.push_slot(slot)

    slot.feed(b"+1\r")
    assert queue.took() == b"+1\r"
    slot.want = 0
    slot.feed(b"\n+2\r\n")

    assert queue.took() == b"\n+2\r\n"
    assert queue.owed == 0


def test_an_answer_of_ours_stands_behind_what_is_outstanding() -> None:
    queue = Queue()
    queue.answer(b"+0\r\n")
    first, last = RunSlot(queue, 1), RunSlot(queue, 1)
    queue.push_slot(first)
    queue.answer(b"+2\r\n")
    queue.answer(b"+3\r\n")  # joins the one before it
    queue.push_slot(last)
    assert queue.owed == 4

    fill(first, b"+1\r\n")
    fill(last, b"+4\r\n")

    assert queue.took() == b"+0\r\n+1\r\n+2\r\n+3\r\n+4\r\n"
    assert queue.owed == 0


def test_a_turn_is_one_write_for_each_client() -> None:
    queue = Queue()

    for at in range(3):
        queue.write(b"%d" % at)
    queue.write(b"")

    assert len(queue.later) == 1
    later = queue.later.pop()
    later()
    assert queue.socket.pieces == [b"012"]
    queue.flush()
    assert queue.socket.pieces == [b"012"]


def test_nothing_is_written_to_a_client_that_has_left() -> None:
    queue = Queue()
    queue.write(b"0")
    queue.wire = None

    queue.write(b"1")

    assert queue.took() == b""
    assert queue.out is None


def test_muted_replies_are_taken_and_not_handed_on() -> None:
    queue = Queue()
    muted, behind = MutedSlot(queue, 2), RunSlot(queue, 1)
    queue.push_slot(muted)
    queue.push_slot(behind)
    fill(behind, b"+3\r\n")

    muted.feed(b"+1\r\n")
    assert queue.took() == b""
    muted.want = 0
    muted.feed(b"+2\r\n")

    assert queue.took() == b"+3\r\n"


def test_each_reply_that_will_not_come_is_an_error() -> None:
    queue = Queue()
    slot, muted = RunSlot(queue, 3), MutedSlot(queue, 2)
    queue.push_slot(slot)
    queue.push_slot(muted)
    slot.want = 2
    slot.feed(b"+1\r\n")

    slot.fail(WHY, False)
    muted.fail(WHY, True)

    assert queue.took() == b"+1\r\n" + WHY.line * 2
    assert queue.owed == 0
    assert not queue.aborted


def test_nothing_can_follow_half_a_reply() -> None:
    queue = Queue()
    slot = RunSlot(queue, 1)
    queue.push_slot(slot)
    slot.feed(b"$5\r\nhe")

    slot.fail(WHY, True)

    assert queue.aborted == "the server went away in the middle of a reply"


def test_a_push_goes_to_whoever_waits_behind_it() -> None:
    queue = Queue()

    RunSlot(queue, 1).push(b">0\r\n")

    assert queue.pushes == [b">0\r\n"]


def test_half_of_the_window_free_lets_a_stalled_client_go_on() -> None:
    queue = Queue()
    slots = [RunSlot(queue, 1) for _ in range(WINDOW_START)]
    for slot in slots:
        queue.push_slot(slot)
    queue.stalls |= STALL_WINDOW

    fill(slots[0], b"+0\r\n")
    assert queue.resumed == []
    fill(slots[1], b"+1\r\n")

    assert queue.resumed == [STALL_WINDOW]


@pytest.mark.parametrize(
    ("size", "windows"),
    [
        (5, [WINDOW_START * 2, WINDOW_START * 4]),
        (WINDOW_BYTES + 1, [1, 1]),
        (WINDOW_BYTES // 3, [1, 2]),  # large: at first one at a time
    ],
)
def test_the_window_follows_the_sizes_of_replies(size: int, windows: list[int]) -> None:
    queue = Queue()
    seen = []
    for _ in windows:
        for _ in range(queue.window):
            slot = RunSlot(queue, 1)
            queue.push_slot(slot)
            fill(slot, bytes(size))
        queue.took()
        seen.append(queue.window)

    assert seen == windows


def test_the_window_has_an_upper_bound() -> None:
    queue = Queue()
    for _ in range(10 * WINDOW_MAX):
        slot = RunSlot(queue, 1)
        queue.push_slot(slot)
        fill(slot, b"+\r\n")

    assert queue.window == WINDOW_MAX


def test_what_is_filled_elsewhere_is_told_by_advancing() -> None:
    queue = Queue()
    slot = RunSlot(queue, 1)
    queue.push_slot(slot)
    slot.want = 0

    queue.advance()

    assert queue.head is None


def test_a_session_has_to_say_how_it_goes_on_and_ends() -> None:
    answers = Answers(Turn(lambda call: None, 0.0, lambda: 0.0))

    with pytest.raises(NotImplementedError):
        answers.resume(STALL_WINDOW)
    with pytest.raises(NotImplementedError):
        answers.pushed(b">0\r\n")
    with pytest.raises(NotImplementedError):
        answers.abort("a test")


def test_after_large_replies_others_begin_with_one() -> None:
    queue = Queue()
    turn = queue.turn

    queue.grow_large()

    assert (queue.window, turn.start()) == (1, 1)
    turn.now = turn.wary_until
    assert turn.start() == WINDOW_START
