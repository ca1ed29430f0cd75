"""No two hold a lock at once, whichever proxy they came through, or none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from redis import Redis
from redis.exceptions import LockNotOwnedError

from tests.servers import HOST, wait_for

from .conftest import Fleet, acquire, extend, info, release, scripts_run

# The resource refuses a fence that is not greater than the last one, as a resource should.
RESOURCE = """
if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1]) return 1
"""


def test_there_are_never_two_holders(fleet: Fleet) -> None:
    def work(client: Redis, resource: Redis) -> list[str]:
        wrong = []
        for _ in range(20):
            token, fence, valid_ms = acquire(client, "r", "PX", 10_000, "WAIT", 30_000, "FENCE")
            if not resource.set("inside", token, nx=True):
                wrong.append("somebody is inside")
            if not resource.eval(RESOURCE, 1, "last", fence):
                wrong.append("the fence went back")
            if not 9_000 < valid_ms < 10_000:
                wrong.append(f"valid for {valid_ms} ms")
            resource.delete("inside")
            if release(client, "r", token) != 1:
                wrong.append("it was lost")
        return wrong

    workers = [
        fleet.threads.submit(work, fleet.client(number % 2), fleet.direct()) for number in range(8)
    ]

    assert [worker.result(60) for worker in workers] == [[]] * 8
    assert not info(fleet.client(), "r")["held"]


def test_a_wrong_token_changes_nothing(fleet: Fleet) -> None:
    token = acquire(fleet.client(), "r")

    assert release(fleet.client(1), "r", b"wrong") == 0
    assert extend(fleet.client(1), "r", b"wrong", 1) == 0

    assert fleet.direct().get("lock:{r}") == token
    assert fleet.direct().pttl("lock:{r}") > 25_000


def test_the_token_of_an_expired_lock_can_do_nothing_to_the_next(fleet: Fleet) -> None:
    old, old_fence, _ = acquire(fleet.client(), "r", "PX", 50, "FENCE")
    new, new_fence, _ = acquire(fleet.client(1), "r", "WAIT", 5_000, "FENCE")

    assert release(fleet.client(), "r", old) == 0
    assert extend(fleet.client(), "r", old, 60_000) == 0
    assert new_fence > old_fence
    assert fleet.direct().get("lock:{r}") == new


def test_a_retry_through_another_proxy_keeps_what_the_first_would_have_given_back(
    fleet: Fleet,
) -> None:
    other, direct = fleet.client(1), fleet.direct()
    release(fleet.client(), "r", acquire(fleet.client(), "r"))  # the server knows the scripts
    release(other, "r", acquire(other, "r"))
    words = "PX", 10_000, "WAIT", 5_000, "TOKEN", "mine"
    direct.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
    scripts = scripts_run(direct)
    link = socket.create_connection((HOST, fleet.proxies[0].port), timeout=10)
    link.sendall(f"LOCK ACQUIRE r {' '.join(map(str, words))}\r\n".encode())
    wait_for(lambda: paused(direct) == 1, 5, "the first attempt")
    link.close()
    retry = fleet.threads.submit(acquire, other, "r", *words)
    wait_for(lambda: paused(direct) == 2, 5, "the second attempt")

    direct.execute_command("CLIENT", "UNPAUSE")
    assert retry.result(5) == b"mine"
    wait_for(lambda: scripts_run(direct) - scripts >= 3, 5, "the giving back")

    assert acquire(fleet.client(), "r") is None
    assert direct.get("lock:{r}") == b"mine"


def paused(direct: Redis) -> int:
    """How many connections wait with a script."""
    return sum("b" in one["flags"] for one in direct.client_list())


def test_an_expired_lock_is_not_revived(fleet: Fleet) -> None:
    token = acquire(fleet.client(), "r", "PX", 30)
    wait_for(lambda: not fleet.direct().exists("lock:{r}"), 5, "the end of the lock")

    assert extend(fleet.client(), "r", token, 60_000) == 0


def test_the_fence_grows_also_when_the_server_has_forgotten_it(fleet: Fleet) -> None:
    token, fence, _ = acquire(fleet.client(), "r", "FENCE")
    release(fleet.client(), "r", token)
    fleet.direct().flushall()

    assert acquire(fleet.client(1), "r", "FENCE")[1] > fence


def test_a_retry_with_the_token_gets_the_same_fence_through_another_proxy(fleet: Fleet) -> None:
    first = acquire(fleet.client(), "r", "TOKEN", "mine", "FENCE")
    waiter = fleet.waiting("r", proxy=1)

    again = acquire(fleet.client(1), "r", "TOKEN", "mine", "WAIT", 5_000, "FENCE")

    assert again[:2] == first[:2] == [b"mine", first[1]]
    assert release(fleet.client(), "r", b"mine") == 1
    assert waiter.result(5)


def test_redis_pys_own_lock_on_the_key_excludes_us_and_is_excluded(fleet: Fleet) -> None:
    theirs = fleet.direct().lock("lock:{r}", timeout=20, blocking=False)

    assert theirs.acquire()
    assert acquire(fleet.client(), "r") is None
    waiter = fleet.waiting("r")
    theirs.release()
    ours = waiter.result(5)

    assert ours
    assert not theirs.acquire()
    assert release(fleet.client(), "r", ours) == 1
    assert theirs.acquire()
    assert release(fleet.client(), "r", b"x") == 0
    fleet.direct().delete("lock:{r}")
    with pytest.raises(LockNotOwnedError):
        theirs.release()


@pytest.mark.waits
def test_a_holder_that_was_killed_blocks_for_no_longer_than_its_time(fleet: Fleet) -> None:
    code = (
        f"import redis,time; r = redis.Redis(port={fleet.proxies[0].port}, host='{HOST}');"
        "print(r.execute_command('LOCK', 'ACQUIRE', 'r', 'PX', 800), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert len(holder.stdout.readline()) > 32
        taken = time.monotonic()
        os.kill(holder.pid, signal.SIGKILL)

    assert acquire(fleet.client(1), "r", "WAIT", 10_000)

    assert time.monotonic() - taken < 0.8 + 0.3


def test_flushing_the_scripts_mid_run_is_not_noticed(fleet: Fleet) -> None:
    client, direct = fleet.client(), fleet.direct()
    for _ in range(20):
        direct.script_flush()
        token = acquire(client, "r")
        direct.script_flush()
        assert extend(client, "r", token, 60_000) == 1
        direct.script_flush()
        assert info(client, "r")["held"]
        direct.script_flush()
        assert release(client, "r", token) == 1


def test_a_proxy_that_was_stopped_for_longer_than_the_lock_grants_nothing(doomed: Fleet) -> None:
    proxy = doomed.proxies[0]
    client, other = doomed.client(0), doomed.client(1)
    token = acquire(client, "held", "PX", 300)
    taken = acquire(other, "r", "PX", 60_000)
    waiter = doomed.waiting("r", "PX", 300, "FENCE")
    proxy.signal(signal.SIGSTOP)
    try:
        # The push of this release waits for it, and so does the wish to extend.
        release(other, "r", taken)
        late = doomed.threads.submit(extend, client, "held", token, 60_000)
        wait_for(lambda: not doomed.direct().exists("lock:{held}"), 5, "the end of the lock")
        fence = acquire(other, "held", "FENCE")[1]
    finally:
        proxy.signal(signal.SIGCONT)

    assert late.result(5) == 0
    assert acquire(other, "held") is None
    assert fence > 0
    token, _, valid_ms = waiter.result(5)
    assert 0 < valid_ms < 300
    release(client, "r", token)


def test_a_grant_that_reached_a_stopped_proxy_is_not_handed_on(doomed: Fleet) -> None:
    proxy, direct = doomed.proxies[0], doomed.direct()
    client = doomed.client(0)
    release(client, "r", acquire(client, "r"))  # the script is known, the lane is there
    direct.config_resetstat()
    # The server takes the attempt, and answers when the proxy cannot hear it.
    direct.execute_command("CLIENT", "PAUSE", 5_000, "WRITE")
    asking = doomed.threads.submit(acquire, client, "r", "PX", 400, "WAIT", 10_000, "FENCE")
    wait_for(lambda: direct.info("clients")["blocked_clients"], 5, "the attempt at the server")
    proxy.signal(signal.SIGSTOP)
    direct.execute_command("CLIENT", "UNPAUSE")
    try:
        wait_for(lambda: direct.exists("lock:{r}"), 5, "the grant")
        granted = int(direct.get("fence:{r}") or 0)
        wait_for(lambda: not direct.exists("lock:{r}"), 5, "its end")
    finally:
        proxy.signal(signal.SIGCONT)

    _, fence, valid_ms = asking.result(10)

    assert fence > granted
    assert 300 < valid_ms < 400
