"""Jobs by Celery: python -m tests.cluster.clients.celery_queue PORT COUNT; a worker beside it.

All keys go to one slot by ``global_keyprefix``: Celery has transactions of several. What a worker
had taken as its connection broke comes back after ``visibility_timeout``, 5 s here."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from celery import Celery
from celery.exceptions import CeleryError
from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from tests.servers import HOST

from .report import PATIENCE, Report

URL = "NEARHIT_TEST_URL"
PREFIX = {"global_keyprefix": "{celery}"}

app = Celery("jobs", broker=os.environ[URL], backend=os.environ[URL])
app.conf.update(
    broker_transport_options={**PREFIX, "visibility_timeout": 5},
    result_backend_transport_options=PREFIX,
    result_backend_always_retry=True,
    task_acks_late=True,
    broker_channel_error_retry=True,  # of what was in flight as its node died
    broker_connection_retry_on_startup=True,
)


@app.task(name="square")
def square(number: int) -> int:
    return number * number


def main(port: int, count: int) -> None:
    report = Report()
    task: Any = app.tasks["square"]
    kinds = (RedisError, KombuError, CeleryError, OSError)
    sent = [
        report.until_done(
            lambda number=number: task.apply_async((number,), task_id=f"job-{number}"), *kinds
        )
        for number in range(count)
    ]
    results: dict[int, int] = {}
    client = Redis(host=HOST, port=port)
    deadline = time.monotonic() + PATIENCE
    while len(results) < count and time.monotonic() < deadline:
        for number, result in enumerate(sent):
            if number not in results:
                meta = report.until_done(
                    lambda result=result: result.backend.get_task_meta(result.id, cache=False),
                    *kinds,
                )
                if meta["status"] == "SUCCESS":
                    results[number] = meta["result"]
        time.sleep(0.2)
    wrong = [number for number in range(count) if results.get(number) != number * number]
    runs = report.until_done(lambda: app.control.inspect(timeout=5).stats(), *kinds) or {}
    total = sum(one["total"].get("square", 0) for one in runs.values())
    client.close()
    report.tell(done=len(results), lost=len(wrong), doubled=max(total - count, 0))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
