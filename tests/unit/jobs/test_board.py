"""What workers show each other of their jobs, in memory that they share."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest
from nearhit.proxy.jobs import board as module
from nearhit.proxy.jobs.board import SLOT, Board, Owner, Record, packed, unpacked
from nearhit.proxy.resp.replies import Value

RESULT: Mapping[str, Value] = {"failed": 1, "elapsed_ms": 5, "errors": [[b"k\xff", b"ERR no"]]}


def record(id: str = "a" * 32, **other: object) -> Record:
    fields = {"owner": Owner(3, b"u\xff"), "command": "WARM", "state": "running", "total": 7}
    return Record(id, **{**fields, "result": RESULT, **other})  # type: ignore[arg-type]


def too_large() -> Record:
    errors = [[b"%03d" % number, b"x" * 1000] for number in range(100)]
    return record(result={"failed": 100, "errors": errors})


@pytest.mark.parametrize(
    "one",
    [
        record(),
        record(owner=Owner(), total=None, error=b"LOADERR loader 'a': \xff"),
        record(result={"removed": 5}),
    ],
)
def test_a_record_is_the_same_on_the_other_side(one: Record) -> None:
    assert unpacked(packed(one)) == one


def test_a_reply_has_the_state_before_the_commands_own_map_and_the_error_behind_it() -> None:
    reply = record(state="failed", error=b"ERR no").reply()

    assert list(reply.items()) == [
        ("state", b"failed"),
        ("total", 7),
        *RESULT.items(),
        ("error", b"ERR no"),
    ]


def test_as_many_failures_are_kept_as_find_place() -> None:
    within = too_large().within()

    errors = within.result["errors"]
    assert isinstance(errors, list)
    assert errors == [[b"%03d" % number, b"x" * 1000] for number in range(25)]
    assert within.result["failed"] == 100
    assert record(error=b"e" * 5000).within().error == b"e" * 1024


def test_others_see_what_is_put_until_it_is_cleared() -> None:
    board = Board(2)
    first, second = board.place(0), board.place(1)

    first.put(5, record())
    first.put(6, record("b" * 32))

    assert [one.id[0] for one in second.others()] == ["a", "b"]
    assert next(second.others()) == record()
    assert list(first.others()) == []
    first.clear(5)
    assert [one.id[0] for one in second.others()] == ["b"]
    assert repr(second) == "<Place 1 of <Board workers=2>>"


def test_a_record_beyond_all_bounds_is_not_shown() -> None:
    board = Board(2)
    board.place(0).put(0, record(owner=Owner(0, b"u" * SLOT)))

    assert list(board.place(1).others()) == []


def test_one_worker_alone_writes_nothing() -> None:
    board = Board(1)
    board.place(0).put(0, record())

    assert list(board.records(0)) == []


def test_a_writer_that_is_held_up_keeps_nobody_from_reading() -> None:
    board = Board(2)
    place = board.place(0)
    place.put(0, record())
    slot = board.slot(0, 0)
    before = bytes(slot)

    place.put(0, record(total=8))
    slot[0] = before[0]  # all is written but the last step

    assert list(board.place(1).others()) == [record()]
    place.put(0, record(total=9))
    place.put(0, record(total=10))
    assert list(board.place(1).others()) == [record(total=10)]


def test_a_reader_that_was_overtaken_looks_again_and_gives_up_at_last() -> None:
    board = Board(2)
    board.place(0).put(0, record())
    slot = board.slot(0, 0)
    slot[100] ^= 1

    assert list(board.place(1).others()) == []

    slot[100] ^= 1
    assert list(board.place(1).others()) == [record()]


def test_an_end_is_asked_for_by_id_for_the_next_job_in_a_slot_is_another() -> None:
    board = Board(2)
    first, second = board.place(0), board.place(1)
    first.put(0, record())

    second.ask_end(record())

    assert first.asked_end(0, "a" * 32)
    assert not first.asked_end(0, "b" * 32)
    assert not first.asked_end(1, "a" * 32)


def test_a_worker_that_is_started_again_finds_what_was_left_and_is_not_the_first() -> None:
    board = Board(2)
    before = board.place(0)
    before.put(4, record())

    after = board.place(0)

    assert (before.first, after.first) == (True, False)
    assert list(after.left()) == [(4, record())]
    assert (after.leads, board.place(1).leads) == (True, False)


def test_a_forked_process_writes_what_the_others_read() -> None:
    board = Board(2)
    child = os.fork()
    if child == 0:
        board.place(1).put(0, record())
        os._exit(0)
    os.waitpid(child, 0)

    assert list(board.place(0).others()) == [record()]
    assert module.SLOTS * SLOT < 8 << 20
