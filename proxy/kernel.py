"""The kernel in use: the compiled one, or its pure-Python twin where it could not be built.

NEARHIT_PURE=1 in the environment takes the twin, which is how the tests run the whole proxy on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING or not os.environ.get("NEARHIT_PURE"):
    try:
        from ._kernel import BROKEN, DONE, DRY, FULL, MORE, ODD, PLAIN, PUSH, Cutter, Names, scan

        COMPILED = True
    except ImportError:
        from ._kernel_py import (  # type: ignore[assignment]  # the twin has the same shape
            BROKEN,
            DONE,
            DRY,
            FULL,
            MORE,
            ODD,
            PLAIN,
            PUSH,
            Cutter,
            Names,
            scan,
        )

        COMPILED = False
else:
    from ._kernel_py import BROKEN, DONE, DRY, FULL, MORE, ODD, PLAIN, PUSH, Cutter, Names, scan

    COMPILED = False

__all__ = [
    "BROKEN",
    "COMPILED",
    "DONE",
    "DRY",
    "FULL",
    "MORE",
    "ODD",
    "PLAIN",
    "PUSH",
    "Cutter",
    "Names",
    "scan",
]
