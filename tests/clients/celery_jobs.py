"""The Celery app of test_queues.py, in its worker processes and in the test."""

from __future__ import annotations

import os

from celery import Celery

URL = "NEARHIT_TEST_URL"


def make_app(url: str) -> Celery:
    made = Celery("jobs", broker=url, backend=url, set_as_current=False)
    made.conf.update(broker_connection_retry_on_startup=False, result_expires=600)
    made.task(square, name="square")
    made.task(total, name="total")
    return made


def square(number: int) -> int:
    return number * number


def total(numbers: list[int]) -> int:
    return sum(numbers)


app = make_app(os.environ.get(URL, "redis://"))
