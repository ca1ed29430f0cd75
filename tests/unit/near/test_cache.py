"""The near cache's store, in fake time: as compiled and as plain Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from types import ModuleType

import nearhit.proxy.near.cache
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearhit.proxy.near.sketch import SLOTS_MIN

from tests.plain import plain

REPLY = b"$5\r\nhello\r\n"
MEGABYTE = 1024 * 1024
BUDGET = MEGABYTE


MODULES = {"as installed": nearhit.proxy.near.cache, "plain": plain("near", "cache")}


@pytest.fixture(params=list(MODULES))
def near(request: pytest.FixtureRequest) -> ModuleType:
    return MODULES[request.param]


def put(space, key: bytes, reply: bytes | None = REPLY, ttl_ms: int = -1, now: float = 0.0) -> bool:
    return space.fill(space.reserve(key), reply, -2 if reply is None else ttl_ms, now)


def live(cache) -> list:
    return [*chain.from_iterable(space.entries.values() for space in cache.spaces.values())]


def check(cache) -> None:
    """What must hold at any time."""
    entries = live(cache)
    assert cache.used == sum(entry.size for entry in entries) <= cache.budget
    assert cache.entries == len(entries)
    queued = [*cache.small, *cache.main]
    assert {id(entry) for entry in queued} == {id(entry) for entry in entries}
    assert len(queued) == len(entries)
    assert all(entry.alive for entry in entries)
    for queue in (cache.small, cache.main):
        assert queue.used == sum(entry.size for entry in queue)
    for space in cache.spaces.values():
        assert all(ticket.valid for ticket in space.tickets.values())


# --- Hits and deadlines -----------------------------------------------------------------------


def test_what_was_filled_is_found_under_its_db_and_user_only(near) -> None:
    cache = near.NearCache(BUDGET)

    assert put(cache.space(0, "a"), b"k")

    assert cache.space(0, "a").get(b"k", 1.0).reply == REPLY
    assert cache.space(1, "a").get(b"k", 1.0) is None
    assert cache.space(0, "b").get(b"k", 1.0) is None
    assert (cache.hits, cache.misses) == (1, 2)


def test_nil_is_a_hit_without_a_reply(near) -> None:
    space = near.NearCache(BUDGET).space(0, None)

    assert put(space, b"k", None)

    entry = space.get(b"k", 1.0)
    assert entry is not None
    assert entry.reply is None


@pytest.mark.parametrize(
    ("reply", "ttl_ms", "deadline"),
    [
        (REPLY, -1, 160.0),
        (REPLY, 1, 100.001),
        (REPLY, 1500, 101.5),
        (REPLY, 60_000, 160.0),
        (REPLY, 1 << 62, 160.0),
        (None, -2, 160.0),
        (REPLY, 0, None),
        (REPLY, -3, None),
        (REPLY, -2, None),  # came into being between PTTL and GET
        (None, -1, None),  # went between them
        (None, 0, None),
        (None, 5, None),
    ],
)
def test_the_deadline_is_the_servers_or_ours(near, reply, ttl_ms, deadline) -> None:
    cache = near.NearCache(BUDGET, ttl_max=60.0)
    space = cache.space(0, None)

    stored = space.fill(space.reserve(b"k"), reply, ttl_ms, 100.0)

    assert stored is (deadline is not None)
    assert (cache.fills, cache.fills_refused) == ((1, 0) if stored else (0, 1))
    assert not space.tickets
    if stored:
        assert space.entries[b"k"].deadline == pytest.approx(deadline, abs=1e-9)


def test_an_entry_is_served_before_its_deadline_and_dropped_at_it(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    put(space, b"k", ttl_ms=1000, now=5.0)

    assert space.get(b"k", 5.999) is not None
    assert space.get(b"k", 6.0) is None

    assert (cache.entries, cache.used) == (0, 0)
    assert (space.hits, space.misses) == (1, 1)


def test_a_hit_raises_freq_up_to_its_most(near) -> None:
    space = near.NearCache(BUDGET).space(0, None)
    put(space, b"k")

    found = [space.get(b"k", 0.0).freq for _ in range(near.FREQ_MAX + 2)]

    assert found == [*range(1, near.FREQ_MAX + 1), near.FREQ_MAX, near.FREQ_MAX]


# --- Tickets ----------------------------------------------------------------------------------


def test_a_ticket_is_given_at_the_second_sight(near) -> None:
    space = near.NearCache(BUDGET).space(0, None)

    assert space.admit(b"k") is None
    assert space.admit(b"k").valid


def test_sights_of_one_space_are_not_those_of_another(near) -> None:
    cache = near.NearCache(BUDGET)

    assert cache.space(0, None).admit(b"k") is None
    assert cache.space(1, None).admit(b"k") is None


def test_a_key_seen_long_ago_is_forgotten(near) -> None:
    space = near.NearCache(1).space(0, None)
    space.admit(b"k")

    for number in range(20 * SLOTS_MIN):
        space.admit(b"%d" % number)

    assert space.admit(b"k") is None


def test_one_key_has_one_ticket_at_a_time(near) -> None:
    space = near.NearCache(BUDGET).space(0, None)
    space.admit(b"k")
    ticket = space.admit(b"k")

    assert space.admit(b"k") is None
    assert space.reserve(b"k") is None

    space.give_up(ticket)
    assert not ticket.valid
    assert space.admit(b"k").valid


def test_tickets_are_bounded(near) -> None:
    space = near.NearCache(BUDGET).space(0, None)
    for number in range(near.TICKETS_MAX):
        assert space.reserve(b"%d" % number)

    assert space.reserve(b"one more") is None


VOIDED_BY = {
    "written": lambda cache, space: space.written(b"k"),
    "invalidated": lambda cache, space: cache.invalidate(b"k"),
    "space flushed": lambda cache, space: space.flush(),
    "flushed": lambda cache, space: cache.flush("lost"),
}


@pytest.mark.parametrize("cause", list(VOIDED_BY))
def test_what_changes_a_key_voids_its_ticket_and_drops_its_entry(near, cause) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    put(space, b"k")
    ticket = space.reserve(b"k")

    VOIDED_BY[cause](cache, space)

    assert not ticket.valid
    assert space.get(b"k", 0.0) is None
    assert not space.fill(ticket, REPLY, -1, 0.0)
    assert space.get(b"k", 0.0) is None
    assert cache.fills_refused == 1


def test_a_void_ticket_does_not_end_the_one_that_came_after_it(near) -> None:
    space = near.NearCache(BUDGET).space(0, None)
    old = space.reserve(b"k")
    space.written(b"k")
    new = space.reserve(b"k")

    space.give_up(old)
    assert not space.fill(old, b"$3\r\nold\r\n", -1, 0.0)

    assert new.valid
    assert space.fill(new, REPLY, -1, 0.0)
    assert space.get(b"k", 0.0).reply == REPLY


def test_a_ticket_fills_once(near) -> None:
    space = near.NearCache(BUDGET).space(0, None)
    ticket = space.reserve(b"k")

    assert space.fill(ticket, REPLY, -1, 0.0)
    assert not space.fill(ticket, b"$3\r\nold\r\n", -1, 0.0)

    assert space.get(b"k", 0.0).reply == REPLY


def test_another_key_does_not_matter(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    put(space, b"k")
    ticket = space.reserve(b"l")

    space.written(b"x")
    cache.invalidate(b"y")

    assert ticket.valid
    assert space.get(b"k", 0.0) is not None
    assert cache.invalidations == 0


def test_a_push_drops_the_key_in_every_space(near) -> None:
    cache = near.NearCache(BUDGET)
    spaces = [cache.space(db, user) for db in (0, 1) for user in ("a", "b")]
    for space in spaces:
        put(space, b"k")
        put(space, b"l")

    cache.invalidate(b"k")

    assert [space.get(b"k", 0.0) for space in spaces] == [None] * 4
    assert all(space.get(b"l", 0.0) for space in spaces)
    assert cache.invalidations == 4
    check(cache)


def test_an_invalidated_key_comes_back_at_the_next_miss_with_its_rank(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    put(space, b"k")
    for _ in range(3):
        space.get(b"k", 0.0)

    cache.invalidate(b"k")
    space.fill(space.admit(b"k"), REPLY, -1, 0.0)

    assert space.entries[b"k"].freq == 3
    assert [entry.key for entry in cache.main] == [b"k"]


# --- On and off -------------------------------------------------------------------------------


def test_a_cache_without_a_budget_takes_and_gives_nothing(near) -> None:
    space = near.NearCache(0).space(0, None)

    assert space.admit(b"k") is None
    assert space.admit(b"k") is None
    assert space.reserve(b"k") is None
    assert space.get(b"k", 0.0) is None


def test_a_flush_counts_by_a_reason_of_the_list(near) -> None:
    cache = near.NearCache(BUDGET)

    for reason in near.FLUSHES:
        cache.flush(reason)

    assert cache.flushes == dict.fromkeys(near.FLUSHES, 1)
    with pytest.raises(KeyError):
        cache.flush("because")


# --- Spaces -----------------------------------------------------------------------------------


def test_the_same_db_and_user_have_the_same_space(near) -> None:
    cache = near.NearCache(BUDGET)

    assert cache.space(1, "u") is cache.space(1, "u")
    assert cache.space(1, "u").db == 1


def test_beyond_the_bound_the_space_asked_for_longest_ago_goes(near) -> None:
    cache = near.NearCache(BUDGET)
    spaces = [cache.space(db, None) for db in range(near.SPACES_MAX)]
    put(spaces[1], b"k")
    spaces[1].get(b"k", 0.0)
    ticket = spaces[1].reserve(b"l")
    cache.space(0, None)

    cache.space(near.SPACES_MAX, None)

    assert [space.db for space in spaces if not space.open] == [1]
    assert len(cache.spaces) == near.SPACES_MAX
    assert not spaces[1].fill(ticket, REPLY, -1, 0.0)
    assert spaces[1].reserve(b"k") is None
    assert (cache.entries, cache.used, cache.hits) == (0, 0, 1)
    assert cache.flushes["space"] == 1


# --- Budget and eviction ----------------------------------------------------------------------


def test_values_over_the_limit_are_not_stored(near) -> None:
    cache = near.NearCache(BUDGET, value_max=100)
    space = cache.space(0, None)

    assert put(space, b"k", b"x" * 100)
    assert not put(space, b"k", b"x" * 101)
    assert not put(space, b"k" * 101, b"x")


@pytest.mark.parametrize(("budget", "most"), [(64_000, 1000), (1 << 30, MEGABYTE)])
def test_the_limit_follows_the_budget(near, budget, most) -> None:
    assert near.NearCache(budget).value_max == most


def test_an_entry_larger_than_the_budget_is_not_stored(near) -> None:
    cache = near.NearCache(150, value_max=100)

    assert not put(cache.space(0, None), b"k")
    assert cache.used == 0


def test_a_second_fill_takes_the_place_of_the_first(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    put(space, b"k", b"x" * 1000)

    put(space, b"k", b"y")

    assert space.get(b"k", 0.0).reply == b"y"
    check(cache)


def test_a_scan_leaves_what_is_read_again(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    hot = [b"hot:%d" % number for number in range(100)]
    for key in hot:
        put(space, key)
        space.get(key, 0.0)

    for number in range(20_000):
        put(space, b"scan:%d" % number)

    assert cache.evictions > 10_000
    assert [key for key in hot if space.get(key, 0.0) is None] == []
    check(cache)


def test_what_is_past_its_deadline_gets_no_second_chance(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    put(space, b"old", ttl_ms=1000)
    space.get(b"old", 0.0)

    number = 0
    while not cache.evictions:
        put(space, b"%d" % number, now=2.0)
        number += 1

    assert b"old" not in space.entries


def test_one_fill_does_bounded_work_however_often_all_was_read(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    keys = []
    while cache.used + 1000 < BUDGET:
        keys.append(b"%d" % len(keys))
        put(space, keys[-1])
    for key in keys * near.FREQ_MAX:
        space.get(key, 0.0)
    first = {key: space.entries[key].freq for key in keys}

    put(space, b"new", b"x" * 1000)

    moved = {entry.key for entry in cache.main} | {key for key in keys if key not in space.entries}
    lowered = {key for key in keys if key in space.entries and space.entries[key].freq < first[key]}
    assert 0 < len(moved | lowered) <= near.CHANCES_MAX + 10
    check(cache)


def test_what_is_dropped_holds_on_to_nothing(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    for key in (b"a", b"b", b"c"):
        put(space, key)
    entry = space.entries[b"b"]

    space.written(b"b")

    assert not entry.alive
    assert (entry.older, entry.newer, entry.queue) == (None, None, None)
    assert [entry.key for entry in cache.small] == [b"a", b"c"]


# --- For people -------------------------------------------------------------------------------


def test_everything_says_what_it_is(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(3, None)
    put(space, b"k")
    ticket = space.reserve(b"l")

    assert repr(cache) == f"<NearCache entries=1 used={cache.used}/{BUDGET} spaces=1>"
    assert repr(space) == "<Space db=3 entries=1 fills=1>"
    assert repr(ticket) == "<Ticket b'l' valid>"
    assert repr(space.entries[b"k"]).startswith("<Entry b'k' alive size=")


# --- Against a model --------------------------------------------------------------------------

DBS = (0, 1)
KEYS = (b"a", b"b", b"c", b"d")
STEP = st.tuples(
    st.sampled_from(
        ["reserve", "admit", "fill", "fill", "nil", "give up", "get", "get", "written", "push",
         "flush", "tick"]
    ),
    st.sampled_from(DBS),
    st.sampled_from(KEYS),
    st.integers(0, 400),
)  # fmt: skip


class Model:
    """The value of each key as the server has it: a number that every change raises."""

    def __init__(self, module: ModuleType) -> None:
        self.cache = module.NearCache(1500, value_max=600, ttl_max=10.0)
        self.now = 0.0
        self.versions = {(db, key): 0 for db in DBS for key in KEYS}
        self.tickets: list[tuple] = []  # (ticket, db, key, version and time when asked)
        self.until: dict[tuple[int, bytes], float] = {}

    def changed(self, places: Sequence[tuple[int, bytes]]) -> None:
        for place in places:
            self.versions[place] += 1

    def take(self, db: int, key: bytes, ticket) -> None:
        in_flight = [held for held, *place, _ in self.tickets if place == [db, key] and held.valid]
        if ticket is None:
            return
        assert not in_flight
        self.tickets.append((ticket, db, key, self.versions[db, key]))

    def fill(self, size: int, nil: bool) -> None:
        if not self.tickets:
            return
        ticket, db, key, version = self.tickets.pop(size % len(self.tickets))
        assert ticket.valid is (version == self.versions[db, key])
        reply = None if nil else b"%d:" % version + b"x" * size
        ttl = -2 if nil else size * 10 or -1
        stored = self.cache.space(db, None).fill(ticket, reply, ttl, self.now)
        assert not stored or version == self.versions[db, key]
        assert not ticket.valid
        if stored:
            self.until[db, key] = self.now + (10.0 if ttl < 0 else ttl / 1000)

    def step(self, what: str, db: int, key: bytes, size: int) -> None:
        space = self.cache.space(db, None)
        match what:
            case "reserve" | "admit":
                self.take(db, key, getattr(space, what)(key))
            case "fill" | "nil":
                self.fill(size, what == "nil")
            case "give up" if self.tickets:
                ticket, db, *_ = self.tickets.pop()
                self.cache.space(db, None).give_up(ticket)
                assert not ticket.valid
            case "get":
                entry = space.get(key, self.now)
                if entry is not None:
                    assert self.now < self.until[db, key]
                    version = b"%d" % self.versions[db, key]
                    assert entry.reply is None or entry.reply.split(b":")[0] == version
            case "written":
                space.written(key)
                self.changed([(db, key)])
            case "push":
                self.cache.invalidate(key)
                self.changed([(each, key) for each in DBS])
            case "flush" if size < 50:
                self.cache.flush("null")
                self.changed(list(self.versions))
            case "tick":
                self.now += size / 100


@pytest.mark.parametrize("name", list(MODULES))
@settings(max_examples=150)
@given(steps=st.lists(STEP, max_size=80))
def test_nothing_old_is_ever_served_and_the_sums_are_right(name, steps) -> None:
    model = Model(MODULES[name])

    for step in steps:
        model.step(*step)
        check(model.cache)
        held = {id(ticket): (ticket, db, key, at) for ticket, db, key, at in model.tickets}
        for ticket, db, key, version in held.values():
            assert ticket.valid is (version == model.versions[db, key])


# --- Memory -----------------------------------------------------------------------------------

GROWTH = """
import gc, resource, sys
from nearhit.proxy.near.cache import NearCache
size, turnovers = int(sys.argv[1]), int(sys.argv[2])

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

cache = NearCache(64 << 20)
space = cache.space(0, None)
wire = b"x" * (size + 100)
gc.collect()
before, number = resident(), 0
while cache.used < cache.budget * 0.99 or cache.evictions < turnovers * cache.entries:
    at = number % 50
    space.fill(space.reserve(b"user:%012d:name" % number), wire[at : at + size + 9], -1, 0.0)
    number += 1
print(cache.used / (resident() - before))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.skipif(
    str(nearhit.proxy.near.cache.__file__).endswith(".py"), reason="measured for the compiled form"
)
@pytest.mark.parametrize("turnovers", [0, 3])
@pytest.mark.parametrize("size", [64, 1024, 16384])
@pytest.mark.alone
def test_the_accounted_bytes_are_those_that_the_process_grew_by(size, turnovers) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", GROWTH, str(size), str(turnovers)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert float(ran.stdout) == pytest.approx(1.0, abs=0.15)


# --- Spaces that are read from


def test_a_space_that_is_read_from_gives_its_room_to_nobody(near) -> None:
    cache = near.NearCache(BUDGET)
    spaces = [cache.space(db, None) for db in range(near.SPACES_MAX)]
    for _ in range(near.IDLE_TICKS):
        for space in spaces[1:]:
            space.get(b"k", 0.0)
        assert not cache.has_room(1000, None)
        for space in cache.spaces.values():
            space.tick()

    assert cache.has_room(0, None)
    assert cache.has_room(1000, None)
    assert cache.space(1000, None).open
    assert [space.db for space in spaces if not space.open] == [0]
    assert not cache.has_room(0, None)


def test_a_released_space_makes_room(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    put(space, b"k")
    space.get(b"k", 0.0)

    cache.release(space)
    cache.release(space)

    assert not space.open
    assert (cache.entries, len(cache.spaces), cache.hits) == (0, 0, 1)
    other = cache.space(0, None)
    cache.release(space)
    assert other.open


# --- Somebody writes unseen


def test_while_somebody_writes_unseen_nothing_is_kept(near) -> None:
    cache = near.NearCache(BUDGET)
    space = cache.space(0, None)
    put(space, b"k")
    ticket = space.reserve(b"l")
    assert cache.filling

    cache.bypass(+1)
    cache.bypass(+1)
    cache.bypass(-1)

    assert not cache.filling
    assert space.get(b"k", 0.0) is None
    assert space.reserve(b"k") is None
    assert not space.fill(ticket, REPLY, -1, 0.0)
    cache.bypass(-1)
    assert put(space, b"k")
    assert cache.flushes["flushed"] == 2
