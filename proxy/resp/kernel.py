"""The kernel in use: the compiled one, or its pure-Python twin where it could not be built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ._kernel import (
        BROKEN,
        DONE,
        DRY,
        PUSH,
        Cutter,
        RouteMap,
        fit,
        hash_slot,
        mix,
        pack_keys,
        pack_sets,
        split,
        spread,
        weave,
    )
else:
    try:
        from ._kernel import (
            BROKEN,
            DONE,
            DRY,
            PUSH,
            Cutter,
            RouteMap,
            fit,
            hash_slot,
            mix,
            pack_keys,
            pack_sets,
            split,
            spread,
            weave,
        )
    except ImportError:
        from ._kernel_py import (
            BROKEN,
            DONE,
            DRY,
            PUSH,
            Cutter,
            RouteMap,
            fit,
            hash_slot,
            mix,
            pack_keys,
            pack_sets,
            split,
            spread,
            weave,
        )

# All of the hot path is compiled, or none of it (.build/nearhit_build.py).
COMPILED: Final = not RouteMap.__module__.endswith("_kernel_py")
BUILD: Final = "compiled" if COMPILED else "plain Python"

__all__ = [
    "BROKEN",
    "BUILD",
    "COMPILED",
    "DONE",
    "DRY",
    "PUSH",
    "Cutter",
    "RouteMap",
    "fit",
    "hash_slot",
    "mix",
    "pack_keys",
    "pack_sets",
    "split",
    "spread",
    "weave",
]
