"""Celery with Nearhit as its broker and for its results, and a task of which one runs at a time.

CACHE_URL names Nearhit, which runs beside the workers."""

import contextlib
import os
import secrets
from collections.abc import Iterator

from celery import Celery
from redis import Redis

URL = os.environ.get("CACHE_URL", "redis://127.0.0.1:6380")

app = Celery("tasks", broker=f"{URL}/1", backend=f"{URL}/2")
app.conf.broker_connection_retry_on_startup = True
nearhit = Redis.from_url(f"{URL}/0", decode_responses=True)


@contextlib.contextmanager
def lock(resource: str, seconds: int = 30, wait_ms: int = 5000) -> Iterator[int]:
    """Its fence: greater with each holder, for whatever storage can refuse who comes late."""
    token = secrets.token_hex(16)
    words = ("EX", seconds, "WAIT", wait_ms, "TOKEN", token, "FENCE")
    granted = nearhit.execute_command("LOCK", "ACQUIRE", resource, *words)
    if granted is None:
        raise TimeoutError(f"another holds {resource}")
    try:
        yield granted[1]
    finally:
        nearhit.execute_command("LOCK", "RELEASE", resource, token)


@app.task
def report(number: int) -> str:
    with lock(f"report:{number}"):
        return nearhit.execute_command("GETORSET", f"report:{number}", "forty pages", "EX", 60)


if __name__ == "__main__":
    print(f"report 7: {report.delay(7).get(timeout=20)}")
