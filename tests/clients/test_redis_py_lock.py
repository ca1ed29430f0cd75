"""redis-py, sync: redis.lock.Lock keeps its promises through the proxy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from redis.exceptions import LockError, LockNotOwnedError

Connect = Callable[..., Redis]


def test_one_holder_at_a_time_under_contention(connect: Connect) -> None:
    inside = threading.Semaphore(1)
    client = connect()

    def work(_: int) -> None:
        mine = connect()
        for _turn in range(15):
            with mine.lock("guard", timeout=20, sleep=0.002, blocking_timeout=20):
                assert inside.acquire(blocking=False)
                mine.set("count", int(mine.get("count") or 0) + 1)
                inside.release()

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(work, range(5)))

    assert client.get("count") == b"75"
    assert client.exists("guard") == 0


def test_a_release_lets_the_waiting_one_in(connect: Connect, client: Redis) -> None:
    holder = client.lock("guard", timeout=20)
    assert holder.acquire()
    waiter = connect().lock("guard", timeout=20, sleep=0.005, blocking_timeout=10)
    assert not waiter.acquire(blocking=False)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(waiter.acquire)
        holder.release()
        assert waiting.result(5) is True

    assert not holder.owned()


def test_only_the_owner_releases(connect: Connect, client: Redis) -> None:
    owner = client.lock("guard", timeout=20)
    owner.acquire()
    client.set("guard", "stolen")

    with pytest.raises(LockNotOwnedError):
        owner.release()
    with pytest.raises(LockError):
        connect().lock("guard").release()

    assert client.get("guard") == b"stolen"


def test_a_lease_is_extended_and_reacquired(client: Redis) -> None:
    lock = client.lock("guard", timeout=5)
    lock.acquire()

    assert lock.extend(60)
    assert 60_000 < client.pttl("guard") <= 65_000
    assert lock.reacquire()
    assert 0 < client.pttl("guard") <= 5_000
    assert lock.locked()
    assert lock.owned()


def test_an_expired_lock_is_free_and_not_the_old_owners(connect: Connect, client: Redis) -> None:
    slow = client.lock("guard", timeout=0.05)
    slow.acquire()

    next_one = connect().lock("guard", timeout=20, sleep=0.005, blocking_timeout=10)
    assert next_one.acquire()

    with pytest.raises(LockNotOwnedError):
        slow.release()
    assert next_one.owned()
