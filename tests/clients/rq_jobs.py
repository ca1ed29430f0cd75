"""The job that the RQ workers of test_queues.py import and run."""

from __future__ import annotations


def square(number: int) -> int:
    return number * number
