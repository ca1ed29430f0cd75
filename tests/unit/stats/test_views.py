"""What STATS tells beside its rows is of all workers, whichever is asked."""

from __future__ import annotations

from nearhit.proxy.stats.keys import HOT, LARGE, PREFIX, Keys
from nearhit.proxy.stats.sampler import Class, Sampler, Tier
from nearhit.proxy.stats.shared import Board
from nearhit.proxy.stats.slowlog import Slow, SlowLog
from nearhit.proxy.stats.views import Views

ONE = Slow(1000.0, 0.25, 0.0, 0.25, 0.0, "GET k", "10.0.0.1:5", "app", 0, 7)


class Worker:
    def __init__(self, board: Board | None = None, index: int = 0) -> None:
        self.keys, self.slow, self.sampler = Keys(), SlowLog(), Sampler()
        self.views = Views(self.keys, self.slow, self.sampler)
        if board is not None:
            self.views.join(board.place(index))


def test_alone_a_worker_tells_of_itself() -> None:
    one = Worker()
    one.keys.read(0, b"k:1", 64)
    one.keys.got(0, b"k:1", 2000, hit=True)
    one.keys.read(1, b"elsewhere", 64)
    one.views.tick(0.0)

    assert one.views.seen(HOT, 0) == [
        (b"k:1", {"key": b"k:1", "reads": 64, "hits": 64, "misses": 0, "bytes": 2000})
    ]
    assert one.views.seen(PREFIX, 0) == [
        (b"k:1", {"prefix": b"k:", "reads": 64, "hits": 64, "misses": 0, "bytes": 2000})
    ]
    assert one.views.seen(LARGE, 0)[0][1]["bytes"] == 2000
    assert one.views.seen(HOT, 2) == []
    assert repr(one.views.of(1)).startswith("<OwnViews db=1 <Views <Keys hotkeys=2")


def test_commands_are_told_of_their_own_db() -> None:
    one = Worker()
    one.keys.read(1, b"k", 64)
    one.slow.note(ONE)
    one.sampler.observe(Class.READ, Tier.NEAR, 0.001)

    assert one.views.of(0).seen(HOT) == []
    assert len(one.views.of(1).seen(HOT)) == 1
    assert one.views.of(0).slowest() == [ONE.reply()]
    assert len(one.views.of(0).latency()) == 2


def test_any_worker_tells_of_all() -> None:
    board = Board(2)
    one, other = Worker(board, 0), Worker(board, 1)
    for worker, ms in ((one, 1), (other, 3)):
        worker.keys.read(0, b"k", 64)
        worker.slow.note(ONE)
        worker.sampler.observe(Class.READ, Tier.NEAR, ms / 1000)
        worker.views.tick(0.0)
    other.keys.read(0, b"b", 640)
    other.views.tick(1.0)

    for worker in (one, other):
        assert [(row["key"], row["reads"]) for _, row in worker.views.seen(HOT, 0)] == [
            (b"b", 640),
            (b"k", 128),
        ]
        assert len(worker.views.slowest()) == 2
        total, near = worker.views.latency()
        assert (total["class"], total["tier"], near["tier"]) == ("read", "all", "near")
        assert total["samples"] == near["samples"] == 2
        assert total["max_us"] == 3000


def test_a_reset_is_all_workers() -> None:
    board = Board(2)
    one, other = Worker(board, 0), Worker(board, 1)
    for worker in (one, other):
        worker.keys.read(0, b"k", 64)
        worker.slow.note(ONE)
        worker.sampler.observe(Class.OWN, Tier.LOAD, 0.1)
        worker.views.tick(0.0)

    one.views.reset()

    assert (one.views.seen(HOT, 0), one.views.slowest(), one.views.latency()) == ([], [], [])
    other.views.tick(1.0)
    assert (other.views.seen(HOT, 0), other.views.slowest()) == ([], [])
    other.keys.read(0, b"new", 64)
    other.views.tick(2.0)
    assert [key for key, _ in one.views.seen(HOT, 0)] == [b"new"]


def test_percentiles_are_by_class_and_by_who_answered() -> None:
    one = Worker()
    for n in range(100):
        one.sampler.observe(Class.READ, Tier.NEAR, 0.001)
        one.sampler.observe(Class.READ, Tier.SERVER, 0.001 if n < 98 else 0.1)

    total, near, server = one.views.latency()

    assert [row["samples"] for row in (total, near, server)] == [200, 100, 100]
    assert near["p99_us"] == near["max_us"] == 1000
    assert 900 < int(str(server["p50_us"])) < 1300
    assert 80_000 < int(str(server["p99_us"])) <= 100_000
    assert [row["max_us"] for row in (total, near, server)] == [100_000, 1000, 100_000]


def test_what_is_too_long_to_be_shown_is_shown_in_part() -> None:
    board = Board(2)
    one, other = Worker(board, 0), Worker(board, 1)
    for n in range(200):
        one.keys.read(0, b"\xff" * 500 + b"%d" % n, 64)
    one.views.tick(0.0)

    shown = len(other.views.seen(HOT, 0))

    assert 0 < shown < 128
