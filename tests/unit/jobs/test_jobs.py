"""Jobs: their states, their bounds, who sees them; on one worker, and on several."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from nearhit.proxy.errors import CacheBusy, ServerError
from nearhit.proxy.jobs import jobs as module
from nearhit.proxy.jobs.board import Board, Owner
from nearhit.proxy.jobs.jobs import KEPT_MOST, KEPT_S, RUNNING_MOST, Jobs, OwnJobs
from nearhit.proxy.resp.replies import Value

from tests.fakes import Tasks, settle
from tests.seen import Seen
from tests.shelf import FakeCounts

OWNER = Owner(0, b"ann")


@dataclass
class Work:
    """What a job does: it waits for the test."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    removed: int = 0
    ended: bool = False

    async def run(self) -> None:
        try:
            await self.done.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.ended = True

    def show(self) -> Mapping[str, Value]:
        return {"removed": self.removed}


class Worker:
    """The jobs of a process, with time in the test's hands."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.counts = FakeCounts()
        self.now = 100.0
        self.jobs = Jobs(self.tasks.start, lambda: self.now, self.counts)

    def begin(self, owner: Owner = OWNER, command: str = "WARM", **given: Any) -> tuple[str, Work]:
        work = Work()
        given = {"total": 3, **given}
        return self.jobs.start(owner, command, work.run, work.show, **given), work

    def state(self, id: str) -> str | None:
        record = self.jobs.find(OWNER, "WARM", id)
        return None if record is None else record.state


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    yield worker
    await worker.tasks.stop()


# --- States -----------------------------------------------------------------------------------


async def test_a_job_shows_how_far_it_is_and_then_what_it_came_to(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    own = OwnJobs(worker.jobs, OWNER)
    work = Work()
    id = own.start("WARM", work.run, work.show, total=3, size=10)

    work.removed = 2
    assert own.status("WARM", id) == {
        "state": b"running",
        "total": 3,
        "removed": 2,
        "error": None,
    }
    work.removed = 3
    work.done.set()
    await settle()
    work.removed = 4  # nobody looks any more

    assert own.status("WARM", id) == {"state": b"done", "total": 3, "removed": 3, "error": None}
    assert worker.counts.counts == {"jobs_done": 1}
    assert own.ids("WARM") == [id]
    assert [line.message for line in caplog.records] == ["job began", "job ended"]
    assert len(id) == 32


async def test_an_error_ends_it_and_is_told(worker: Worker) -> None:
    id, work = worker.begin()
    work.error = ServerError(b"-NOPERM no such key for you\r\n")
    work.done.set()
    await settle()

    record = worker.jobs.find(OWNER, "WARM", id)
    assert record is not None
    assert (record.state, record.error) == ("failed", b"NOPERM no such key for you")
    assert worker.counts.counts == {"jobs_failed": 1}


async def test_a_defect_is_logged_and_told_as_one(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    id, work = worker.begin()
    work.error = ZeroDivisionError()
    work.done.set()
    await settle()

    assert worker.state(id) == "failed"
    assert "a job failed" in caplog.text
    assert OwnJobs(worker.jobs, OWNER).status("WARM", id.encode())["error"] == (  # type: ignore[index]
        b"ERR a defect in the proxy: see its log"
    )


async def test_what_is_worse_than_an_error_is_no_good_end(worker: Worker) -> None:
    class Panic(BaseException):
        pass

    async def panics() -> None:
        raise Panic

    id = worker.jobs.start(OWNER, "WARM", panics, dict, total=None)
    await settle()

    assert worker.state(id) == "failed"
    worker.tasks.running.clear()


async def test_cancel_ends_what_runs_and_nothing_else(worker: Worker) -> None:
    id, work = worker.begin()
    own = OwnJobs(worker.jobs, OWNER)
    await settle()

    assert own.cancel("WARM", id.encode())
    await settle()

    assert (worker.state(id), work.ended) == ("cancelled", True)
    assert not own.cancel("WARM", id.encode())
    assert not own.cancel("WARM", b"\xff")
    assert worker.counts.counts == {"jobs_cancelled": 1}


async def test_a_job_that_is_cancelled_before_its_first_step_has_ended_too(worker: Worker) -> None:
    id, work = worker.begin()

    assert worker.jobs.cancel(OWNER, "WARM", id)
    await settle()

    assert (worker.state(id), work.ended) == ("cancelled", False)
    assert worker.jobs.running == 0


async def test_the_end_of_the_process_is_told(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    id, _ = worker.begin()
    await settle()

    await worker.tasks.stop()
    await settle()

    assert worker.state(id) == "cancelled"
    assert caplog.records[-1].message == "job ended"


# --- Who sees them ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "command"),
    [(Owner(1, b"ann"), "WARM"), (Owner(0, b"bob"), "WARM"), (Owner(0), "WARM"), (OWNER, "OTHER")],
)
async def test_others_neither_see_nor_end_it(worker: Worker, owner: Owner, command: str) -> None:
    id, _ = worker.begin()

    assert worker.jobs.find(owner, command, id) is None
    assert worker.jobs.ids(owner, command) == []
    assert not worker.jobs.cancel(owner, command, id)
    assert worker.state(id) == "running"


# --- Bounds -----------------------------------------------------------------------------------


async def test_so_many_run_at_once(worker: Worker) -> None:
    first, _ = worker.begin()
    for _ in range(RUNNING_MOST - 1):
        worker.begin()

    with pytest.raises(CacheBusy, match=f"{RUNNING_MOST} jobs run already"):
        worker.begin()
    worker.begin(bounded=False)
    assert worker.jobs.running == RUNNING_MOST + 1

    await worker.tasks.stop()
    await settle()
    assert (worker.jobs.running, worker.state(first)) == (0, "cancelled")
    worker.begin()


async def test_their_requests_together_are_bounded(worker: Worker) -> None:
    most = module.REQUESTS_MOST
    _, work = worker.begin(size=most - 5)
    worker.begin(size=5)

    with pytest.raises(CacheBusy, match="256 MB of requests"):
        worker.begin(size=1)
    work.done.set()
    await settle()
    worker.begin(size=most - 5)


async def test_those_that_have_ended_are_forgotten_for_newer_ones_and_in_an_hour(
    worker: Worker,
) -> None:
    ids: list[str] = []
    for _ in range(KEPT_MOST + 3):
        id, work = worker.begin()
        work.done.set()
        await settle()
        worker.now += 1
        ids.append(id)

    assert worker.jobs.ids(OWNER, "WARM") == ids[3:]

    worker.now = 100 + 10 + KEPT_S
    worker.jobs.tick()
    assert worker.jobs.ids(OWNER, "WARM") == ids[11:]
    assert repr(worker.jobs) == f"<Jobs running=0 known={KEPT_MOST - 8}>"
    assert "OwnJobs" in repr(OwnJobs(worker.jobs, OWNER))


async def test_without_a_place_on_the_board_a_job_runs_all_the_same(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.jobs._slots.clear()

    id, work = worker.begin()
    worker.jobs.tick()
    work.done.set()
    await settle()

    assert worker.state(id) == "done"
    worker.now += KEPT_S
    assert worker.state(id) is None


# --- Several workers --------------------------------------------------------------------------


@pytest.fixture
async def two() -> AsyncIterator[tuple[Worker, Worker]]:
    board = Board(2)
    workers = Worker(), Worker()
    for number, worker in enumerate(workers):
        worker.jobs.join(board.place(number))
    yield workers
    for worker in workers:
        await worker.tasks.stop()


async def test_any_worker_tells_of_a_job_and_has_it_end(two: tuple[Worker, Worker]) -> None:
    here, there = two
    id, work = here.begin()
    own, _ = there.begin()

    assert there.state(id) == "running"
    assert there.jobs.ids(OWNER, "WARM") == [own, id]
    work.removed = 2
    here.jobs.tick()
    record = there.jobs.find(OWNER, "WARM", id)
    assert record is not None
    assert record.result == {"removed": 2}
    assert there.jobs.cancel(OWNER, "WARM", id)
    here.jobs.tick()
    await settle()

    assert (here.state(id), there.state(id)) == ("cancelled", "cancelled")
    assert not there.jobs.cancel(OWNER, "WARM", id)
    assert there.state(own) == "running"
    assert here.jobs.leads
    assert not there.jobs.leads


async def test_what_is_forgotten_is_so_for_all(two: tuple[Worker, Worker]) -> None:
    here, there = two
    id, work = here.begin()
    work.done.set()
    await settle()

    here.now += KEPT_S
    here.jobs.tick()

    assert there.state(id) is None


async def test_a_worker_takes_over_what_the_one_before_it_has_left() -> None:
    board = Board(2)
    before, after = Worker(), Worker()
    before.jobs.join(board.place(0))
    lost, _ = before.begin()
    done, work = before.begin()
    wrong, other = before.begin()
    work.done.set()
    other.error = ServerError(b"-ERR no\r\n")
    other.done.set()
    await settle()

    after.jobs.join(board.place(0))

    assert [after.state(id) for id in (lost, done, wrong)] == ["failed", "done", "failed"]
    shown = [OwnJobs(after.jobs, OWNER).status("WARM", id.encode()) for id in (lost, wrong)]
    assert [one and one["error"] for one in shown] == [
        b"ERR the worker that ran it has ended",
        b"ERR no",
    ]
    assert after.counts.counts == {"jobs_failed": 1}
    assert not after.jobs.first
    ids = {after.begin()[0] for _ in range(5)}
    seen = {record.id for record in board.place(1).others()}
    assert seen == {lost, done, wrong, *ids}
    await before.tasks.stop()
    await after.tasks.stop()


async def test_a_job_is_a_span_and_its_error_is_that_of_the_span(worker: Worker) -> None:
    seen = Seen()
    worker.jobs = Jobs(worker.tasks.start, lambda: worker.now, worker.counts, seen.traces)
    id, work = worker.begin(total=None)
    work.error = ServerError(b"-OOM no room for s3cret\r\n")
    work.done.set()
    await settle()

    span = seen.named("job WARM")
    facts = span.attributes or {}
    assert (facts["nearhit.job.id"], facts["error.type"]) == (id, "OOM")
    assert "s3cret" not in span.to_json()
    seen.close()
