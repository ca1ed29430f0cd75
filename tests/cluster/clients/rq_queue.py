"""Jobs by RQ: python -m tests.cluster.clients.rq_queue PORT COUNT; workers beside it.

All of RQ's keys go to one slot by RQ_KEY_PREFIX, which has to be set in the environment: it reads
and writes several keys at once."""

from __future__ import annotations

import sys
import time

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job, JobStatus

from tests.clients.rq_jobs import square
from tests.servers import HOST

from .report import PATIENCE, Report


def main(port: int, count: int) -> None:
    report = Report()
    connection = Redis(host=HOST, port=port)
    queue = Queue("jobs", connection=connection)
    for number in range(count):
        report.until_done(
            lambda number=number: queue.enqueue(square, number, job_id=f"job-{number}"), RedisError
        )
    ids = [f"job-{number}" for number in range(count)]
    found: dict[str, Job] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        jobs = report.until_done(lambda: Job.fetch_many(ids, connection), RedisError)
        for one in jobs:
            if one is not None and one.get_status(refresh=False) is JobStatus.FINISHED:
                found[one.id] = one
        time.sleep(0.2)
    wrong = [
        number
        for number in range(count)
        if f"job-{number}" not in found
        or found[f"job-{number}"].return_value(refresh=True) != number * number
    ]
    runs = sum(max(len(one.results()) - 1, 0) for one in found.values())
    report.tell(done=len(found), lost=len(wrong), doubled=runs)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
