"""The Celery app of test_queues.py: its workers import it, its client runs it as a script.

The client is a process of its own because results that were never fetched, after a failure, go on
asking a server that has ended. Prints one JSON line with what became of the jobs."""

from __future__ import annotations

import json
import os
import sys

from celery import Celery, chord

URL = "NEARHIT_TEST_URL"

url = os.environ[URL]
app = Celery("jobs", broker=url, backend=url)


@app.task(name="square")
def square(number: int) -> int:
    return number * number


@app.task(name="total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


def main(count: int) -> None:
    square_task, total_task = app.tasks["square"], app.tasks["total"]
    sent = [square_task.delay(n) for n in range(count)]
    squares = [result.get(timeout=25) for result in sent]
    chorded = chord(square_task.s(n) for n in range(20))(total_task.s())
    told = {"squares": squares, "chord": chorded.get(timeout=10)}
    (stats,) = app.control.inspect(timeout=2).stats().values()
    print(json.dumps({**told, "runs": stats["total"]}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
