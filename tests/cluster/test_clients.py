"""Unmodified clients, and the job queues that people run, on a cluster whose primary dies and whose
slots move: nothing is lost, and all errors are of the failover.

Each is a script (tests/cluster/clients, tests/clients/js) that does so many jobs and prints what
became of them. Slots of their keys move meanwhile; in the long form (soak) the primary that has
them is killed, when all workers are up. Job queues promise at least once: what was run again is
printed, and no fault."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.conftest import javascript as javascript
from tests.clients.worker import ROOT, outcome, worker
from tests.clusters import Cluster, slot_of
from tests.servers import HOST, Process, nearhit, wait_for

pytestmark = pytest.mark.waits
QUICK, SOAK = 50, 1000
PAUSE_MS: Final = 10_000  # longer than a primary lives that is to be killed
RQ_PREFIX: Final = "{rq}"
TAGS: Final = {
    "redis-py": [b"0", b"1", b"2", b"3"],
    "ioredis": [b"0", b"1", b"2", b"3"],
    "node-redis": [b"0", b"1", b"2", b"3"],
    "rq": [b"rq"],
    "celery": [b"celery"],
    "bullmq": [b"bull"],
}
IN_CI: Final = ("redis-py", "bullmq")  # some 3 s each; what the others ask is in tests/clients
CASES: Final = [
    *(pytest.param(name, QUICK, id=f"{name}-quick") for name in IN_CI),
    *(pytest.param(name, SOAK, id=f"{name}-soak", marks=pytest.mark.soak) for name in TAGS),
]
# How many clients wait for jobs once the workers of a queue are up.
WAITING: Final = {"rq": 2, "celery": 1, "bullmq": 2}
# What a client is told, or makes of it, whose one server fails: the write that was on its way, and
# connections that were lost as it waited, or refused meanwhile.
FAILOVER: Final = re.compile("UPSTREAM |Connection|Socket closed")


class Trouble(threading.Thread):
    """Slots go from primary to primary until it is told to stop, a fifth of the time; ``kill``:
    once, the primary that has the first of them dies, and comes back as a replica of its
    replica."""

    def __init__(self, cluster: Cluster, tags: list[bytes], *, kill: bool) -> None:
        super().__init__(daemon=True)
        self.moves = 0
        self.kills = 0
        self.error: BaseException | None = None
        self._cluster = cluster
        self._slots = [slot_of(tag) for tag in tags]
        self._kill = kill
        self._enough = threading.Event()

    def run(self) -> None:
        try:
            took = 0.0
            # A slot of many keys takes a second, in which their commands of several keys wait.
            while not self._enough.wait(max(0.05, 4 * took)):
                if self._kill and self.moves >= 2 * len(self._slots) and not self.kills:
                    self._kill_primary()
                began = time.monotonic()
                for slot in self._slots:
                    self._move(slot)
                took = time.monotonic() - began
        except BaseException as error:  # told by ``end``
            self.error = error

    def _move(self, slot: int) -> None:
        owner = self._cluster.owner(slot)
        others = [
            self._cluster.member(shard.primary.id)
            for shard in self._cluster.topology().shards
            if shard.primary.id != owner.id
        ]
        self._cluster.move_whole(slot, others[self.moves % len(others)])
        self.moves += 1

    def _kill_primary(self) -> None:
        primary = self._cluster.owner(self._slots[0])
        replica = self._cluster.replica_of(primary)
        # What is acknowledged, and was not replicated when its primary died, no failover keeps:
        # whether that happens says nothing of the proxy. What comes now is lost on its way.
        primary.ask("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        wait_for(lambda: replica.offset >= primary.offset, 5, "the replica has heard of all writes")
        primary.kill()
        wait_for(lambda: replica.is_primary, 15, f"{replica.port} is primary")
        self._cluster.wait_for_owner(replica, self._slots[0])
        primary.start()
        primary.wait_until_linked()
        self.kills += 1

    def end(self) -> None:
        self._enough.set()
        self.join(40)
        assert self.error is None, self.error
        assert not self.is_alive()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(cluster.url) as process:
        yield process


@contextmanager
def workers(name: str, proxy: Process, folder: Path, js: Path) -> Iterator[None]:
    """Who runs the jobs of a queue."""
    url = f"redis://{HOST}:{proxy.port}/0"
    with ExitStack() as stack:
        if name == "rq":
            argv = [sys.executable, "-m", "rq.cli", "worker", "--quiet", "--path", str(ROOT)]
            argv += ["--worker-class", "rq.worker.SimpleWorker", "--url", url, "jobs"]
            for who in ("ann", "bob"):
                own = [*argv, "--name", who]
                stack.enter_context(worker(own, folder / who, RQ_KEY_PREFIX=RQ_PREFIX))
        elif name == "celery":
            argv = [sys.executable, "-m", "celery", "-A", "tests.cluster.clients.celery_queue:app"]
            argv += ["worker", "--pool=threads", "--concurrency=2", "--loglevel=WARNING"]
            stack.enter_context(worker(argv, folder / "celery", NEARHIT_TEST_URL=url))
        elif name == "bullmq":
            argv = ["node", "cluster_bullmq.mjs", "worker", str(proxy.port)]
            for who in ("ann", "bob"):
                stack.enter_context(worker(argv, folder / who, cwd=js))
        yield


def jobs(name: str, proxy: Process, count: int, js: Path, seconds: float) -> dict[str, Any]:
    port = str(proxy.port)
    env = {"NEARHIT_TEST_URL": f"redis://{HOST}:{port}/0", "RQ_KEY_PREFIX": RQ_PREFIX}
    module = {"redis-py": "redis_py", "rq": "rq_queue", "celery": "celery_queue"}.get(name)
    if module is not None:
        argv = [sys.executable, "-m", f"tests.cluster.clients.{module}", port, str(count)]
        return outcome([*argv, str(seconds)], ROOT, 180, **env)
    if name == "bullmq":
        return outcome(["node", "cluster_bullmq.mjs", "jobs", port, str(count)], js, 180)
    argv = ["node", "cluster_jobs.mjs", name, port, str(count), str(seconds)]
    return outcome(argv, js, 180)


@pytest.mark.parametrize(("name", "count"), CASES)
@pytest.mark.timeout(300)
def test_no_job_is_lost(
    name: str, count: int, cluster: Cluster, proxy: Process, javascript: Path, tmp_path: Path
) -> None:
    trouble = Trouble(cluster, TAGS[name], kill=count == SOAK)
    with workers(name, proxy, tmp_path, javascript):
        if count == SOAK:
            wait_for(lambda: cluster.blocked >= WAITING.get(name, 0), 40, "the workers are up")
        trouble.start()
        if count == SOAK and name == "rq":
            # Its workers end themselves where the server is lost in the middle of a job, with or
            # without a proxy. So theirs dies while they wait for one.
            wait_for(lambda: trouble.kills or trouble.error, 40, "the kill")
        try:
            told = jobs(name, proxy, count, javascript, 8.0 if count == SOAK else 0.5)
        finally:
            trouble.end()

    print(name, cluster.kind, told, f"moves={trouble.moves} kills={trouble.kills}")
    assert (told["done"], told["lost"]) == (count, 0)
    assert trouble.moves
    if count == SOAK:
        assert trouble.kills == 1
        assert not [text for text in told["errors"] if not FAILOVER.search(text)]
    else:
        assert not told["errors"]
