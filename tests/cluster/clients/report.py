"""What the scripts of this folder count, and print as one line of JSON.

``lost``: jobs that were taken and have left nothing. ``doubled``: jobs that ran again. ``errors``:
how often each error came, by its text."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 120.0  # seconds in which what fails is tried again


class Report:
    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self._lock = threading.Lock()

    def note(self, error: BaseException) -> None:
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4,}", "N", str(error))
        with self._lock:
            self.errors[f"{type(error).__name__}: {text[:160]}"] += 1

    def until_done(self, do: Callable[[], T], *kinds: type[Exception]) -> T:
        """Do it until it works: each failure of these kinds is noted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return do()
            except kinds as error:
                self.note(error)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def tell(self, *, done: int, lost: int, doubled: int) -> None:
        told = {"done": done, "lost": lost, "doubled": doubled, "errors": dict(self.errors)}
        sys.stdout.write(json.dumps(told) + "\n")
