"""The master is another: what clients see of it, and what becomes of what they wrote."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.sentinel.load import UNKNOWN, Load, load
from tests.sentinel.trio import Trio, link
from tests.servers import Process, wait_for

pytestmark = pytest.mark.waits

# Seconds from the first event to the last client's next acknowledgement.
AFTER_EVENT = 0.3
# Without an event: the next poll, and what the bar is for that.
AFTER_POLL = 1.3


def told(proxy: Process) -> dict[str, Any]:
    """Our section of INFO."""
    return dict(link(proxy.port).execute_command("INFO", "nearhit"))


def only_in_flight(done: Load, proxy: Process) -> None:
    """Errors are of what was in flight, at most one for each client."""
    shown = "\n".join([*done.errors, *proxy.log.read_text().splitlines()[-60:]])
    assert all(UNKNOWN in error for error in done.errors), shown
    assert all(len(one.errors) <= 1 for one in done.counts), shown


def ordered_failover(three: Trio, proxy: Process) -> tuple[Load, int, float]:
    """What came of one under load: how many were lost, and how long it took."""
    old = three.master
    with three.switch() as seen, load(proxy.port) as done:
        wait_for(lambda: done.acked > 200, what="a load")
        three.failover()
        wait_for(lambda: seen, 20, "+switch-master")
        event = seen[0]
        wait_for(lambda: told(proxy)["master_moves"], 1, "the news at the proxy")
        before = done.stored(link(old.port))
        wait_for(lambda: time.monotonic() > event + 1, what="a second")
        # It is still a master, for ten seconds more.
        assert link(old.port).execute_command("ROLE")[0] == b"master"
        assert done.stored(link(old.port)) == before
    return done, done.lost(link(proxy.port)), done.longest_stall


def test_nothing_is_written_to_the_old_master_once_sentinel_has_told(
    three: Trio, proxy: Process
) -> None:
    done, lost, stall = ordered_failover(three, proxy)

    only_in_flight(done, proxy)
    print(f"{three.kind}: {lost} of {done.acked} lost, longest stall {stall:.3f} s")
    assert stall < 1
    assert told(proxy)["master_moves"] == 1


def test_with_held_writes_hardly_any_is_lost(three: Trio, holding: Process) -> None:
    done, lost, stall = ordered_failover(three, holding)

    only_in_flight(done, holding)
    print(f"{three.kind}: {lost} of {done.acked} lost, held for {stall:.3f} s")
    assert lost < 10  # 0, mostly: the soak counts
    assert 'event="requests held"' in holding.log.read_text()


def killed(three: Trio, proxy: Process, *, with_sentinel: bool = False) -> tuple[Load, float]:
    """Kill the master under load; seconds from the first event to the last client's success."""
    old = three.master
    with three.switch() as seen, load(proxy.port) as done:
        wait_for(lambda: done.acked > 200, what="a load")
        if with_sentinel:
            three.sentinels[0].signal(signal.SIGSTOP)  # its connections say nothing
        old.kill()
        wait_for(lambda: seen, 30, "+switch-master")
        wait_for(lambda: time.monotonic() > seen[0] + 1.5, what="some load afterwards")
        after = max(0.0, done.first_after(seen[0]))
    return done, after


def test_a_master_that_is_killed_costs_what_was_in_flight(three: Trio, proxy: Process) -> None:
    old = three.master
    done, after = killed(three, proxy)

    only_in_flight(done, proxy)
    print(f"{three.kind}: {after:.3f} s after the event, stall {done.longest_stall:.3f} s")
    assert after < AFTER_EVENT
    assert done.lost(link(proxy.port)) <= len(done.counts)  # acked, and not yet replicated

    # The old one comes back as a master, and nobody writes there.
    old.start()
    assert link(old.port).execute_command("ROLE")[0] == b"master"
    with load(proxy.port, name="m") as more:
        wait_for(lambda: more.acked > 200, what="a load")
    assert not more.errors
    assert more.stored(link(proxy.port)) == more.acked
    if link(old.port).execute_command("ROLE")[0] == b"master":
        assert more.stored(link(old.port)) == 0


def test_a_master_that_is_a_replica_for_a_moment_is_waited_for(three: Trio, proxy: Process) -> None:
    master, other = three.master, next(port for port in three.nodes if port != three.master.port)
    with load(proxy.port) as done:
        wait_for(lambda: done.acked > 200, what="a load")
        link(master.port).execute_command("REPLICAOF", "127.0.0.1", other)
        stood = done.acked
        time.sleep(0.1)  # of refusals
        link(master.port).execute_command("REPLICAOF", "NO", "ONE")
        wait_for(lambda: done.acked > stood + 200, what="a load afterwards")

    assert not done.errors
    assert done.stored(link(proxy.port)) == done.acked
    assert "the server has become a replica" in proxy.log.read_text()


def test_a_sentinel_that_dies_with_the_master_is_not_missed(three: Trio, proxy: Process) -> None:
    done, after = killed(three, proxy, with_sentinel=True)

    only_in_flight(done, proxy)
    print(f"{three.kind}: {after:.3f} s after the event")
    assert after < AFTER_POLL


def test_sentinels_that_are_restarted_are_heard_again(three: Trio, proxy: Process) -> None:
    with load(proxy.port) as done:
        for one in three.sentinels:
            one.kill()
        wait_for(lambda: 'event="sentinels silent"' in proxy.log.read_text(), what="silence")
        quiet = done.acked
        wait_for(lambda: done.acked > quiet + 200, what="a load without Sentinels")
        for one in three.sentinels:
            one.start()
        wait_for(lambda: told(proxy)["sentinels"] == 3, 20, "Sentinels that are heard")

    assert not done.errors
    assert done.stored(link(proxy.port)) == done.acked


def test_the_near_cache_has_nothing_of_the_old_master(three: Trio, proxy: Process) -> None:
    client, old = link(proxy.port), three.master
    client.set("k", "old")
    wait_for(lambda: client.get("k") == b"old" and told(proxy)["near_hits"] > 3, what="near hits")

    three.failover()
    wait_for(lambda: f":{old.port}," not in told(proxy)["master"], 20, "the new master")
    link(old.port).set("k", "lost")
    link(three.master.port).set("k", "new")

    assert client.get("k") == b"new"
    wait_for(lambda: told(proxy)["near_entries"] > 0 and client.get("k") == b"new", what="a fill")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ten_ordered_failovers_lose_nothing_that_is_written_later(
    three: Trio, proxy: Process
) -> None:
    found = []
    for _ in range(10):
        three.set_right()
        link(three.master.port).flushall()
        done, lost, stall = ordered_failover(three, proxy)
        only_in_flight(done, proxy)
        found.append((lost, round(stall, 3)))
    print(f"{three.kind}: lost, stall: {found}")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_of_ten_held_failovers_eight_lose_nothing(three: Trio, holding: Process) -> None:
    found = []
    for _ in range(10):
        three.set_right()
        link(three.master.port).flushall()
        done, lost, stall = ordered_failover(three, holding)
        only_in_flight(done, holding)
        found.append((lost, round(stall, 3)))
    print(f"{three.kind}: lost, held: {found}")
    assert sum(lost == 0 for lost, _ in found) >= 8


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ten_killed_masters_cost_what_was_in_flight(three: Trio, proxy: Process) -> None:
    found = []
    for number in range(10):
        three.set_right()
        done, after = killed(three, proxy, with_sentinel=number % 2 == 1)
        only_in_flight(done, proxy)
        found.append((round(after, 3), round(done.longest_stall, 3)))
        assert after < (AFTER_POLL if number % 2 else AFTER_EVENT)
    print(f"{three.kind}: after the event, stall: {found}")
