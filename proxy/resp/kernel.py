"""The kernel in use: the compiled one, or its pure-Python twin where it could not be built."""

from __future__ import annotations

try:
    from ._kernel import BROKEN, DONE, DRY, PUSH, Cutter, RouteMap
except ImportError:
    from ._kernel_py import (  # type: ignore[assignment]  # the twin has the same shape
        BROKEN,
        DONE,
        DRY,
        PUSH,
        Cutter,
        RouteMap,
    )

__all__ = ["BROKEN", "DONE", "DRY", "PUSH", "Cutter", "RouteMap"]
