from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import pytest
from nearhit.proxy.errors import OddReply, ProxyError, UpstreamDown, UpstreamLost
from nearhit.proxy.stats import fleet as module
from nearhit.proxy.stats.counters import Stats
from nearhit.proxy.stats.fleet import REST_TICKS, Fleet, Statistics
from nearhit.proxy.upstream.ask import Done, Reply

NOT_SENT = UpstreamDown("refused")
UNKNOWN = UpstreamLost("reset")
REFUSED = b"-NOPERM this user has no permissions\r\n"


class Lane:
    """The primary lane: keeps what is asked until the test answers, first come first served."""

    def __init__(self) -> None:
        self.asked: list[tuple[Done, bytes]] = []

    def ask(self, done: Done, *words: bytes) -> None:
        self.asked.append((done, b" ".join(words)))

    def answer(self, **replies: Reply) -> list[bytes]:
        """Answer everything that waits, by its first word; what it was."""
        asked, self.asked = self.asked, []
        for done, request in asked:
            done(replies.get(request.split()[0].decode(), b":1\r\n"))
        return [request for _, request in asked]


class Proxy:
    def __init__(self, key: bytes = b"stats", *, kept: bool = True) -> None:
        self.lane = Lane()
        self.stats = Stats()
        self.fleet = Fleet(
            key,
            self.lane.ask,
            hits=lambda: self.stats.running("hits"),
            misses=lambda: self.stats.running("misses"),
            kept=kept,
        )

    def read(self, hits: int = 0, misses: int = 0) -> None:
        self.stats.add("hits", hits)
        self.stats.add("misses", misses)


async def wait(lane: Lane, work: Awaitable[object], **replies: Reply) -> tuple[object, list[bytes]]:
    """What the work gives, and what it had asked."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    asked = lane.answer(**replies)
    return await task, asked


# --- Adding ---------------------------------------------------------------------------------------


def test_a_tick_sends_what_was_counted_since_the_last_one() -> None:
    proxy = Proxy()
    proxy.read(hits=3, misses=1)
    proxy.fleet.tick()
    assert proxy.lane.answer() == [b"HINCRBY stats hits 3", b"HINCRBY stats misses 1"]

    proxy.read(hits=2)
    proxy.fleet.tick()

    assert proxy.lane.answer() == [b"HINCRBY stats hits 2"]


def test_a_tick_without_reads_sends_nothing() -> None:
    proxy = Proxy()

    proxy.fleet.tick()

    assert proxy.lane.asked == []


def test_without_a_key_nothing_is_sent() -> None:
    proxy = Proxy(b"")
    proxy.read(hits=3)

    proxy.fleet.tick()

    assert proxy.lane.asked == []


async def test_a_proxy_that_only_passes_on_leaves_no_trace() -> None:
    proxy = Proxy(kept=False)
    proxy.read(hits=3)

    proxy.fleet.tick()
    await proxy.fleet.finish()

    assert proxy.lane.asked == []


def test_from_its_first_use_on_all_that_was_counted_is_kept() -> None:
    proxy = Proxy(kept=False)
    proxy.read(hits=3)

    proxy.fleet.keep()
    proxy.fleet.tick()

    assert proxy.lane.answer() == [b"HINCRBY stats hits 3"]


def test_one_batch_is_on_its_way_at_a_time() -> None:
    proxy = Proxy()
    proxy.read(hits=1)
    proxy.fleet.tick()
    proxy.read(hits=1)

    proxy.fleet.tick()
    proxy.fleet.tick()

    assert proxy.lane.answer() == [b"HINCRBY stats hits 1"]
    proxy.fleet.tick()
    assert proxy.lane.answer() == [b"HINCRBY stats hits 1"]


@pytest.mark.parametrize(
    ("reply", "then"),
    [
        (b":1\r\n", [b"HINCRBY stats hits 1"]),
        (NOT_SENT, [b"HINCRBY stats hits 6"]),
        (UNKNOWN, [b"HINCRBY stats hits 1"]),
    ],
)
def test_only_what_was_surely_not_sent_is_sent_again(reply: bytes, then: list[bytes]) -> None:
    proxy = Proxy()
    proxy.read(hits=5)
    proxy.fleet.tick()
    proxy.lane.answer(HINCRBY=reply)

    proxy.read(hits=1)
    proxy.fleet.tick()

    assert proxy.lane.answer() == then


def test_counts_go_on_adding_up_while_the_upstream_is_away() -> None:
    proxy = Proxy()
    for _ in range(10):
        proxy.read(misses=2)
        proxy.fleet.tick()
        proxy.lane.answer(HINCRBY=NOT_SENT)

    proxy.fleet.tick()

    assert proxy.lane.answer() == [b"HINCRBY stats misses 20"]


def test_after_a_refusal_it_is_tried_again_seldom_and_nothing_is_lost() -> None:
    proxy = Proxy()
    proxy.read(hits=5)
    proxy.fleet.tick()
    proxy.lane.answer(HINCRBY=REFUSED)

    for _ in range(REST_TICKS):
        proxy.fleet.tick()
    assert proxy.lane.asked == []
    proxy.fleet.tick()

    assert proxy.lane.answer() == [b"HINCRBY stats hits 5"]


def test_refusals_are_logged_once_until_one_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    proxy = Proxy()

    def refused() -> int:
        caplog.clear()
        proxy.read(hits=1, misses=1)
        for _ in range(REST_TICKS + 1):
            proxy.fleet.tick()
        proxy.lane.answer(HINCRBY=REFUSED)
        return len(caplog.records)

    with caplog.at_level(logging.DEBUG):
        assert refused() == 1
        assert caplog.records[0].levelno == logging.WARNING
        assert caplog.records[0].message == "hits and misses not kept"
        assert refused() == 0
        for _ in range(REST_TICKS + 1):
            proxy.fleet.tick()
        proxy.lane.answer()
        assert refused() == 1


# --- Asking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "totals"),
    [
        (b"*2\r\n$2\r\n10\r\n$1\r\n5\r\n", (10, 5)),
        (b"*2\r\n$-1\r\n$-1\r\n", (0, 0)),
        (b"*2\r\n_\r\n$1\r\n5\r\n", (0, 5)),
    ],
)
async def test_totals_are_what_the_upstream_has(reply: bytes, totals: tuple[int, int]) -> None:
    proxy = Proxy()

    got, asked = await wait(proxy.lane, proxy.fleet.totals(), HMGET=reply)

    assert got == totals
    assert asked == [b"HMGET stats hits misses"]


async def test_totals_have_every_read_of_this_proxy_in_them() -> None:
    proxy = Proxy()
    proxy.read(hits=2, misses=1)

    _, asked = await wait(proxy.lane, proxy.fleet.totals(), HMGET=b"*2\r\n$1\r\n2\r\n$1\r\n1\r\n")

    assert asked[:2] == [b"HINCRBY stats hits 2", b"HINCRBY stats misses 1"]
    proxy.fleet.tick()
    assert proxy.lane.asked == []


async def test_without_a_key_totals_are_this_process_own() -> None:
    proxy = Proxy(b"")
    proxy.read(hits=2, misses=1)

    assert await proxy.fleet.totals() == (2, 1)

    await proxy.fleet.reset()
    proxy.read(hits=1)
    assert await proxy.fleet.totals() == (1, 0)
    assert proxy.lane.asked == []


@pytest.mark.parametrize(
    ("reply", "line"), [(NOT_SENT, NOT_SENT.line), (UNKNOWN, UNKNOWN.line), (REFUSED, REFUSED)]
)
async def test_totals_fail_with_the_words_of_the_failure(reply: Reply, line: bytes) -> None:
    proxy = Proxy()

    with pytest.raises(ProxyError) as caught:
        await wait(proxy.lane, proxy.fleet.totals(), HMGET=reply)

    assert caught.value.line == line


async def test_a_hash_without_numbers_is_an_error_that_names_the_key() -> None:
    proxy = Proxy()

    with pytest.raises(ProxyError, match="'stats' holds no numbers"):
        await wait(proxy.lane, proxy.fleet.totals(), HMGET=b"*2\r\n$1\r\nx\r\n$-1\r\n")


@pytest.mark.parametrize(
    "reply", [b":5\r\n", b"*1\r\n$1\r\n1\r\n", b"*2\r\n:1\r\n:5\r\n", b":x\r\n"]
)
async def test_an_odd_reply_is_told(reply: bytes) -> None:
    proxy = Proxy()

    with pytest.raises(OddReply):
        await wait(proxy.lane, proxy.fleet.totals(), HMGET=reply)


async def test_totals_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.0)
    proxy = Proxy()

    with pytest.raises(ProxyError, match=r"^UPSTREAM .*no answer in 0 s"):
        await proxy.fleet.totals()

    proxy.lane.answer()  # too late, and no harm


async def test_a_reset_drops_what_was_due_and_the_key() -> None:
    proxy = Proxy()
    proxy.read(hits=5)

    _, asked = await wait(proxy.lane, proxy.fleet.reset())

    assert asked == [b"DEL stats"]
    proxy.fleet.tick()
    assert proxy.lane.asked == []


async def test_reads_during_a_reset_are_counted_behind_it() -> None:
    proxy = Proxy()
    proxy.read(hits=5)
    reset = asyncio.ensure_future(proxy.fleet.reset())
    await asyncio.sleep(0)

    proxy.read(hits=1)
    proxy.fleet.tick()

    assert proxy.lane.answer() == [b"DEL stats", b"HINCRBY stats hits 1"]
    await reset


@pytest.mark.parametrize(
    ("line", "then"),
    [(NOT_SENT, [b"HINCRBY stats hits 5"]), (REFUSED, [b"HINCRBY stats hits 5"]), (UNKNOWN, [])],
)
async def test_a_reset_that_was_not_done_loses_nothing(line: bytes, then: list[bytes]) -> None:
    proxy = Proxy()
    proxy.read(hits=5)
    with pytest.raises(ProxyError):
        await wait(proxy.lane, proxy.fleet.reset(), DEL=line)

    proxy.fleet.tick()

    assert proxy.lane.answer() == then


@pytest.mark.parametrize("line", [b"*2\r\n$-1\r\n$-1\r\n", NOT_SENT])
async def test_at_the_end_what_is_due_is_sent_and_failures_are_none_of_its_business(
    line: bytes,
) -> None:
    proxy = Proxy()
    proxy.read(hits=1)

    _, asked = await wait(proxy.lane, proxy.fleet.finish(), HMGET=line)

    assert asked[0] == b"HINCRBY stats hits 1"


def test_a_person_can_read_what_is_due() -> None:
    proxy = Proxy()
    proxy.read(hits=1)

    assert repr(proxy.fleet) == "<Fleet b'stats' due hits=1 misses=0 unanswered=0>"


# --- For the commands -----------------------------------------------------------------------------


async def test_the_map_has_the_reads_of_the_fleet_and_the_rest_of_this_process() -> None:
    proxy = Proxy()
    counts = Statistics(proxy.stats, proxy.fleet)
    counts.add("loads", 2)

    shown, _ = await wait(proxy.lane, counts.show(), HMGET=b"*2\r\n$1\r\n3\r\n$1\r\n1\r\n")

    assert isinstance(shown, dict)
    assert (shown["hits"], shown["misses"], shown["hit_ratio"], shown["loads"]) == (3, 1, 0.75, 2)


async def test_a_reset_is_of_both_and_of_neither_where_it_fails() -> None:
    proxy = Proxy()
    counts = Statistics(proxy.stats, proxy.fleet)
    counts.add("loads", 2)

    with pytest.raises(ProxyError):
        await wait(proxy.lane, counts.reset(), DEL=NOT_SENT)
    assert proxy.stats.own()["loads"] == 2
    await wait(proxy.lane, counts.reset())

    assert proxy.stats.own()["loads"] == 0
