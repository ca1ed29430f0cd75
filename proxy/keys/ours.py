"""How the keys that Nearhit itself keeps in the server are called, beside the clients' own.

One place, because invalidation must tell them from the clients' keys. The braces are literal: they
put what belongs to a key into the key's own slot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

STATS_KEY: Final = b"nearhit:stats"

LEASE: Final = b"lease:{"
LOCK: Final = b"lock:{"
FENCE: Final = b"fence:{"


def lease_key(key: bytes) -> bytes:
    """Where the token of a running load stands, or the memory of how the last one ended."""
    return LEASE + key + b"}"


def lease_keys(keys: Iterable[bytes]) -> list[bytes]:
    """``lease_key`` of each, in half the time: thousands go at once."""
    return [b"lease:{%b}" % key for key in keys]


def lock_key(resource: bytes) -> bytes:
    """Where the token of a lock's holder stands: other clients' locks use the same key."""
    return LOCK + resource + b"}"


def fence_key(resource: bytes) -> bytes:
    """Where the last fence given out for a resource stands."""
    return FENCE + resource + b"}"


def is_ours(key: bytes) -> bool:
    """Whether a key is one of those above."""
    return key == STATS_KEY or (key.startswith((LEASE, LOCK, FENCE)) and key.endswith(b"}"))
