"""What the near cache keeps of the replies that pass, and forgets with the writes."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.hot.answers import RunSlot
from nearhit.proxy.hot.fills import (
    NOT_TRACKED,
    Fill,
    FillSlot,
    WriteSlot,
    forget,
    new_fill_slot,
    new_write_slot,
)
from nearhit.proxy.near.cache import NearCache, Space

from tests.answering import Queue

WHY = UpstreamLost("a test")
OK = b"+OK\r\n"
VALUE = b"$1\r\nv\r\n"


@pytest.fixture
def cache() -> NearCache:
    return NearCache(1 << 20)


@pytest.fixture
def space(cache: NearCache) -> Space:
    return cache.space(0, None)


def begun(space: Space, key: bytes = b"k") -> Fill:
    ticket = space.reserve(key)
    assert ticket is not None
    return Fill(space, ticket, 100.0)


def told(fill: Fill, *replies: bytes) -> None:
    """The replies to CACHING and PTTL."""
    for at, reply in enumerate(replies):
        fill.want = len(replies) - at - 1
        fill.feed(reply)


def placed(queue: Queue, fill: Fill, flat: bool = False) -> FillSlot:
    slot = new_fill_slot(queue, fill, flat)
    queue.push_slot(slot)
    return slot


def feed(slot: FillSlot | WriteSlot, *chunks: bytes) -> None:
    for at, chunk in enumerate(chunks):
        slot.want = int(at < len(chunks) - 1)
        slot.feed(chunk)


# --- Fills


@pytest.mark.parametrize(
    ("replies", "ttl_ms"),
    [
        ((OK, b":1500\r\n"), 1500),
        ((OK + b":-", b"1\r\n"), -1),
        ((b"-ERR no\r\n", b":5\r\n"), NOT_TRACKED),
        ((OK, b"-ERR no\r\n"), NOT_TRACKED),
    ],
)
def test_how_long_a_value_may_be_kept_is_told_before_it(
    space: Space, replies: tuple[bytes, ...], ttl_ms: int
) -> None:
    fill = begun(space)

    told(fill, *replies)

    assert fill.ttl_ms == ttl_ms


@pytest.mark.parametrize(("ttl", "until"), [(b"5000", 104.0), (b"1000", None), (b"-1", 160.0)])
def test_near_a_value_is_kept_for_as_long_as_it_is_fresh(
    cache: NearCache, space: Space, ttl: bytes, until: float | None
) -> None:
    cache.fresh_ms = lambda key, ms: max(0, ms - 1000) if key == b"k" else ms
    queue, fill = Queue(), begun(space)
    slot = placed(queue, fill)
    told(fill, OK, b":" + ttl + b"\r\n")

    feed(slot, VALUE)

    entry = space.get(b"k", 100.0)
    assert queue.took() == VALUE
    assert (None if entry is None else entry.deadline) == until


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_a_value_is_kept_and_handed_on(space: Space, cut: int) -> None:
    queue, fill = Queue(), begun(space)
    slot = placed(queue, fill)
    told(fill, OK, b":-1\r\n")

    feed(slot, VALUE[:cut], VALUE[cut:])

    assert queue.took() == VALUE
    entry = space.entries.get(b"k")
    assert entry is not None
    assert entry.reply == VALUE
    assert (queue.turn.hits, queue.turn.misses, fill.open) == (1, 0, False)


@pytest.mark.parametrize(("flat", "nil"), [(True, b"$-1\r\n"), (False, b"_\r\n")])
def test_a_nil_is_kept_too_and_told_in_the_clients_words(
    space: Space, flat: bool, nil: bytes
) -> None:
    queue, fill = Queue(), begun(space)
    slot = placed(queue, fill, flat)
    told(fill, OK, b":-2\r\n")

    feed(slot, b"_\r\n")

    assert queue.took() == nil
    entry = space.entries.get(b"k")
    assert entry is not None
    assert entry.reply is None
    assert (queue.turn.hits, queue.turn.misses) == (0, 1)


def test_an_error_is_handed_on_and_nothing_is_kept(space: Space) -> None:
    queue, fill = Queue(), begun(space)
    told(fill, OK, b":-2\r\n")

    feed(placed(queue, fill), b"-WRONGTYPE no\r\n")

    assert queue.took() == b"-WRONGTYPE no\r\n"
    assert not space.entries
    assert not space.tickets
    assert (queue.turn.hits, queue.turn.misses) == (0, 0)


def test_a_value_too_large_to_keep_is_handed_on_as_it_comes(space: Space) -> None:
    queue, fill = Queue(), begun(space)
    told(fill, OK, b":-1\r\n")
    slot = placed(queue, fill)
    space.cache.value_max = 10
    large = b"$20\r\n%b\r\n" % bytes(20)
    slot.feed(large[:5])
    assert queue.took() == b""

    slot.feed(large[5:15])
    assert queue.took() == large[:15]
    feed(slot, large[15:])

    assert queue.took() == large[15:]
    assert queue.turn.hits == 1
    assert not space.entries
    assert not space.tickets


def test_what_a_write_made_void_is_handed_on_and_not_kept(space: Space) -> None:
    queue, fill = Queue(), begun(space)
    slot = placed(queue, fill)
    told(fill, OK, b":-1\r\n")

    space.written(b"k")
    feed(slot, VALUE)

    assert queue.took() == VALUE
    assert not space.entries


def test_a_fill_that_is_lost_in_a_value_passed_on_cuts_the_client(space: Space) -> None:
    queue, fill = Queue(), begun(space)
    told(fill, OK, b":-1\r\n")
    slot = placed(queue, fill)
    space.cache.value_max = 10
    slot.feed(b"$20\r\n12345678")

    fill.fail(WHY, False)
    slot.fail(WHY, True)

    assert fill.want == 0
    assert queue.aborted == "the server went away in the middle of a reply"
    assert not space.tickets


def test_a_value_that_never_came_leaves_its_key_to_the_next_fill(space: Space) -> None:
    queue, fill = Queue(), begun(space)
    slot = placed(queue, fill)
    slot.feed(OK + b":-1\r\n")

    slot.fail(WHY, False)

    assert not space.tickets
    assert not fill.ticket.valid


def test_a_fill_that_is_lost_before_its_value_fails_with_an_error_alone(space: Space) -> None:
    queue, fill = Queue(), begun(space)
    slot = placed(queue, fill)
    slot.feed(OK + b":-")

    slot.fail(WHY, True)

    assert not queue.aborted
    assert queue.took() == WHY.line
    assert not space.tickets


def test_a_fill_that_gave_out_nothing_fails_with_an_error_alone(space: Space) -> None:
    queue, fill = Queue(), begun(space)

    placed(queue, fill).fail(WHY, True)

    assert not queue.aborted
    assert queue.took() == WHY.line


@pytest.mark.parametrize(
    ("replies", "kept"),
    [
        (OK + b":1500\r\n", True),
        (OK + b":-1\r\n", True),
        (OK + b":-2\r\n", False),
        (b"-ERR no\r\n:5\r\n", False),
        (OK + b"-ERR no\r\n", False),
        (OK + b":5x\r\n", False),
        (OK + b"$3\r\n\r\n5\r\n", False),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_all_three_replies_may_come_in_any_pieces(
    space: Space, replies: bytes, kept: bool, large: bool
) -> None:
    if large:
        space.cache.value_max = 3
    stream = replies + VALUE
    for cut in range(1, len(stream)):
        queue, fill = Queue(), begun(space)
        slot = placed(queue, fill)
        assert (slot.want, slot.count) == (3, 1)

        slot.want = 1
        slot.feed(stream[:cut])
        slot.want = 0
        slot.feed(stream[cut:])

        assert queue.took() == VALUE, cut
        assert (b"k" in space.entries) is (kept and not large), cut
        assert queue.turn.hits == 1
        assert not space.tickets
        space.written(b"k")


# --- Writes

RUN_FIELDS = ("session", "want", "count", "reads", "flat", "marks", "parts", "following")


def kept(space: Space, key: bytes = b"k") -> None:
    assert space.fill(begun(space, key).ticket, VALUE, -1, 100.0)


def test_a_write_forgets_its_keys_again_before_its_client_hears_of_it(
    cache: NearCache, space: Space
) -> None:
    queue = Queue()
    slot = new_write_slot(queue, 1, cache, [b"k"], False)
    queue.push_slot(slot)
    kept(space)
    kept(space, b"other")

    feed(slot, OK)

    assert set(space.entries) == {b"other"}
    assert queue.took() == OK


def test_a_new_write_slot_is_as_any_slot_of_so_many(cache: NearCache) -> None:
    queue = Queue()

    any_slot, slot = RunSlot(queue, 3), new_write_slot(queue, 3, cache, [b"k"], True)

    assert [getattr(slot, name) for name in RUN_FIELDS] == [
        getattr(any_slot, name) for name in RUN_FIELDS
    ]
    assert (slot.cache, slot.keys, slot.muted) == (cache, [b"k"], True)


def test_a_muted_write_forgets_all_the_same(cache: NearCache, space: Space) -> None:
    queue = Queue()
    slot = new_write_slot(queue, 1, cache, [b"k"], True)
    queue.push_slot(slot)
    kept(space)

    feed(slot, b"+O", b"K\r\n")

    assert not space.entries
    assert queue.took() == b""
    assert queue.head is None


@pytest.mark.parametrize(
    ("reply", "counted"), [(VALUE, (1, 0)), (b"$-1\r\n", (0, 1)), (b"_\r\n", (0, 1)), (OK, (0, 0))]
)
def test_a_write_that_reads_is_counted_once(
    cache: NearCache, reply: bytes, counted: tuple[int, int]
) -> None:
    queue = Queue()
    slot = new_write_slot(queue, 1, cache, [b"k"], False)
    slot.reads = 1
    queue.push_slot(slot)

    feed(slot, reply[:2], reply[2:])

    assert (queue.turn.hits, queue.turn.misses) == counted


def test_a_write_of_any_key_forgets_all(cache: NearCache, space: Space) -> None:
    kept(space)

    forget(cache, None)

    assert not space.entries
    assert cache.flushes["flushed"] == 1


def test_a_write_forgets_its_keys_in_all_dbs_and_voids_their_fills(cache: NearCache) -> None:
    spaces = [cache.space(db, None) for db in range(3)]
    kept(spaces[0])
    fill = begun(spaces[1])

    forget(cache, [b"k"])

    assert not spaces[0].entries
    assert not fill.ticket.valid
