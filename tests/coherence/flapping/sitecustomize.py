"""Python imports this in a Nearhit that starts with this folder in PYTHONPATH: each space of the
near cache is bypassed and read again, to and fro every 50 ms, whatever it would decide itself."""

from __future__ import annotations

import gc
import sys
import threading
import time
from typing import Any


def every(kind: type) -> list[Any]:
    """All objects of a class. The other thread stands still meanwhile: it may be about to make a
    tuple, which CPython refuses to finish while anybody else refers to it (PySequence_Tuple)."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        return [one for one in gc.get_objects() if isinstance(one, kind)]
    finally:
        sys.setswitchinterval(before)


def flap() -> None:
    caches: list[Any] = []
    while True:
        time.sleep(0.05)
        kind = getattr(sys.modules.get("nearhit.proxy.near.cache"), "NearCache", None)
        if kind is not None and not caches:
            caches = every(kind)
        for cache in caches:
            for space in list(cache.spaces.values()):
                space.worth.pays = not space.worth.pays


threading.Thread(target=flap, daemon=True).start()
