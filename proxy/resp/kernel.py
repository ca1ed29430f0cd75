"""The kernel in use: the compiled one, or its pure-Python twin where it could not be built."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._kernel import BROKEN, DONE, DRY, PUSH, Cutter, RouteMap
else:
    try:
        from ._kernel import BROKEN, DONE, DRY, PUSH, Cutter, RouteMap
    except ImportError:
        from ._kernel_py import BROKEN, DONE, DRY, PUSH, Cutter, RouteMap

__all__ = ["BROKEN", "DONE", "DRY", "PUSH", "Cutter", "RouteMap"]
