"""How the keys that Nearhit itself keeps in the server are called, beside the clients' own.

One place, because invalidation must tell them from the clients' keys. The braces are literal: they
put what belongs to a key into the key's own slot."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from .glob import closed, literal_prefix

OWN: Final = b"nearhit:"  # stats_key, if nothing else is set, and what may come

LEASE: Final = b"lease:{"
LEASE_END: Final = b"}"
LOCK: Final = b"lock:{"
FENCE: Final = b"fence:{"
GRANT: Final = b"}:grant"
TAG: Final = b"tag:{"
TAG_EPOCH: Final = b"tagepoch:{"
TAG_CLOSED: Final = b"tagclosed:{"


# A key's own hash tag, by which its slot is found (Redis Cluster specification, "Hash tags").
_HASH_TAG: Final = re.compile(rb"[^{]*\{([^}]+)\}")
_TAGGED_LEASE: Final = re.compile(rb"([^}]+)\}:\{(.*)", re.S)


def lease_key(key: bytes) -> bytes:
    """Where the token of a running load stands, or the memory of how the last one ended: of
    ``user:1`` ``lease:{user:1}``, of ``cart:{7}``, whose slot is that of ``7``,
    ``lease:{7}:{cart:{7}}``."""
    tagged = _HASH_TAG.match(key)
    return LEASE + (tagged[1] + b"}:{" if tagged else b"") + key + LEASE_END


def lease_keys(keys: Sequence[bytes]) -> list[bytes]:
    """``lease_key`` of each, in half the time: thousands go at once."""
    names, head, _ = leases_of(keys)
    return [b"lease:{%b}" % name for name in names] if head else names


def leases_of(keys: Sequence[bytes]) -> tuple[list[bytes], bytes, bytes]:
    """The same for ``pack_keys``: names, and what stands before and behind each of them."""
    if b"{" in b"".join(keys):
        return list(map(lease_key, keys)), b"", b""
    return list(keys), LEASE, LEASE_END


def lease_glob(glob: bytes) -> bytes:
    """What the leases of all keys that match a glob match, and few others: ``leased_key`` tells."""
    return b"lease:*{" + closed(glob) + LEASE_END


def leased_key(name: bytes) -> bytes | None:
    """The key whose lease is called so; None: no lease is."""
    if not (name.startswith(LEASE) and name.endswith(LEASE_END)):
        return None
    key = name[len(LEASE) : -len(LEASE_END)]
    found = _TAGGED_LEASE.match(key)
    return found[2] if found and lease_key(found[2]) == name else key


def lock_key(resource: bytes) -> bytes:
    """Where the token of a lock's holder stands: other clients' locks use the same key."""
    return LOCK + resource + b"}"


def fence_key(resource: bytes) -> bytes:
    """Where the last fence given out for a resource stands."""
    return FENCE + resource + b"}"


def grant_key(resource: bytes) -> bytes:
    """Where the nonce of the call stands that got the lock for a token of its client's, for as long
    as nobody has asked with that token again. Named as no fence is, and by what may name one: who
    may use ``fence:*`` may use it."""
    return FENCE + resource + GRANT


def tag_key(tag: bytes) -> bytes:
    """Where the keys of a tag stand, by when they end."""
    return TAG + tag + b"}"


def tag_epoch_key(tag: bytes) -> bytes:
    """Where it stands when a tag was last invalidated."""
    return TAG_EPOCH + tag + b"}"


def tag_closed_key(tag: bytes, part: bytes = b"") -> bytes:
    """Where the names stand of what was set apart of a tag's keys, to be removed; with a name of
    its own, where such a part stands. A name does not end as the others do: no tag is called so."""
    return TAG_CLOSED + tag + b"}" + (part and b":" + part)


def resource_of(key: bytes) -> bytes | None:
    """The resource whose lock stands at a key; None: no lock does."""
    held = key.startswith(LOCK) and key.endswith(b"}")
    return key[len(LOCK) : -1] if held else None


class OurKeys:
    """Which keys of a server are Nearhit's own. ``stats_key``: the setting; empty: none is kept."""

    def __init__(self, stats_key: bytes) -> None:
        self._stats_key = stats_key
        heads = (LEASE, LOCK, FENCE, TAG, TAG_EPOCH, TAG_CLOSED)
        # What a glob begins with that is about nothing else.
        self.heads = (*heads, OWN if stats_key.startswith(OWN) else stats_key or OWN)
        marks = (*heads, stats_key) if stats_key else heads
        self._maybe = re.compile(b"|".join(map(re.escape, marks)))

    def __repr__(self) -> str:
        return f"<OurKeys {self._stats_key!r}>"

    def holds(self, key: bytes) -> bool:
        """Whether a key is one of ours."""
        if key == self._stats_key:
            return bool(key)
        if key.startswith(FENCE) and key.endswith(GRANT):
            return True
        if key.startswith(TAG_CLOSED):
            return b"}" in key
        return key.startswith((LEASE, LOCK, FENCE, TAG, TAG_EPOCH)) and key.endswith(b"}")

    def without(self, keys: Sequence[bytes]) -> list[bytes]:
        """The keys that are the clients'. One look at them all together: it is rare that any is
        ours."""
        if self._maybe.search(b"\n".join(keys)) is None:
            return list(keys)
        return [key for key in keys if not self.holds(key)]

    def left_by(self, glob: bytes) -> Callable[[Sequence[bytes]], list[bytes]]:
        """Which of the keys that match a glob go where it is invalidated: Nearhit's own do not, or
        ``*`` would open every lock, unless the glob is about nothing else. Where it can match none
        of them, nobody looks for them."""
        prefix = literal_prefix(glob)
        mixed = any(head.startswith(prefix) for head in self.heads)
        return self.without if mixed and not prefix.startswith(self.heads) else list
