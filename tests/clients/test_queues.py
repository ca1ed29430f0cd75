"""Celery, RQ and BullMQ: a thousand jobs each, real workers, every result right and none lost."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from redis import Redis
from rq import Queue, Worker
from rq.command import send_shutdown_command
from rq.job import Job, JobStatus

from tests.clients.rq_jobs import square
from tests.clients.target import Target
from tests.clients.worker import ROOT, outcome, worker
from tests.servers import wait_for

JOBS = 1000
URL = "NEARHIT_TEST_URL"  # read by celery_jobs.py
SQUARES = [n * n for n in range(JOBS)]


def test_celery_runs_each_job_once_and_returns_its_result(
    queue_target: Target, tmp_path: Path
) -> None:
    env = {URL: queue_target.url()}
    argv = [sys.executable, "-m", "celery", "-A", "tests.clients.celery_jobs:app", "worker"]
    argv += ["--pool=threads", "--concurrency=2", "--loglevel=WARNING"]

    with worker(argv, tmp_path / "celery.log", **env):
        client = [sys.executable, "-m", "tests.clients.celery_jobs", str(JOBS)]
        told = outcome(client, ROOT, seconds=45, **env)

    assert told == {
        "squares": SQUARES,
        "chord": sum(SQUARES[:20]),
        "runs": {"square": JOBS + 20, "total": 1},
    }


def test_rq_runs_each_job_once_and_returns_its_result(queue_target: Target, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "rq.cli", "worker", "--worker-class", "rq.worker.SimpleWorker"]
    argv += ["--path", str(ROOT), "--quiet", "--url", queue_target.url(), "jobs"]

    with ExitStack() as stack:
        connection = stack.enter_context(queue_target.client())
        children = [
            stack.enter_context(worker([*argv, "--name", name], tmp_path / f"{name}.log"))
            for name in ("ann", "bob")
        ]
        wait_for(lambda: Worker.count(connection) == 2, 20, "two workers wait for jobs")

        queue = Queue("jobs", connection=connection)
        jobs = queue.enqueue_many([Queue.prepare_data(square, (n,)) for n in range(JOBS)])
        finished = queue.finished_job_registry
        wait_for(lambda: finished.get_job_count(cleanup=False) == JOBS, 25, "all jobs finished")

        assert [job.return_value(refresh=True) for job in jobs] == SQUARES
        assert set(statuses(jobs, connection)) == {JobStatus.FINISHED}
        assert queue.failed_job_registry.count == 0
        assert sum(w.successful_job_count for w in Worker.all(connection)) == JOBS
        for name in ("ann", "bob"):
            send_shutdown_command(connection, name)
        wait_for(lambda: all(c.poll() is not None for c in children), 10, "the workers ended")


def statuses(jobs: list[Job], connection: Redis) -> list[JobStatus]:
    ids = [job.id for job in jobs]
    return [job.get_status(refresh=False) for job in Job.fetch_many(ids, connection) if job]


def test_bullmq_completes_each_job_once(
    queue_target: Target, javascript: Path, tmp_path: Path
) -> None:
    where = [queue_target.host, str(queue_target.port), "jobs"]
    with ExitStack() as stack:
        for name in ("ann", "bob"):
            argv = ["node", "bullmq_worker.mjs", *where]
            stack.enter_context(worker(argv, tmp_path / f"{name}.log", cwd=javascript))

        told = outcome(["node", "bullmq_jobs.mjs", *where, str(JOBS)], javascript, seconds=40)

    assert told == {
        "once_and_right": JOBS,
        "counts": {"completed": JOBS, "failed": 0, "waiting": 0, "active": 0, "delayed": 0},
    }
