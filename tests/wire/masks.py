"""What two servers may answer differently although both are right: the only excuses there are.

``MASKS`` hides the part of a reply that names a server-side identity, a clock or an address in
memory. ``UNORDERED`` sorts replies whose order comes from a hash seed. Each entry gives its reason;
nothing else is forgiven. Pure: called by test_scripts.py with a command's words and a reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .frames import PAIRED, children


@dataclass(frozen=True, slots=True)
class Mask:
    """A pattern to hide in the replies to commands that begin so."""

    command: bytes
    pattern: re.Pattern[bytes]
    reason: str


def mask(command: bytes, pattern: bytes, reason: str) -> Mask:
    return Mask(command, re.compile(pattern, re.S), reason)


MASKS = (
    mask(b"", rb"(?<=\$2\r\nid\r\n):\d+", "the connection's own id, wherever HELLO ran"),
    mask(b"CLIENT ID", rb"\d+", "the connection's own id"),
    mask(b"TIME", rb"\$\d+\r\n\d+", "a clock"),
    mask(b"LASTSAVE", rb"\d+", "a clock: when the server started"),
    mask(b"ROLE", rb"(?<=master\r\n):\d+", "WAITAOF through the proxy is sent to replicas too"),
    mask(b"OBJECT IDLETIME", rb"(?<=:)[01](?=\r)", "a clock that ticks once a second"),
    mask(b"DEBUG OBJECT", rb"at:0x[0-9a-f]+", "an address in memory"),
    mask(b"DEBUG OBJECT", rb"lru:\d+ lru_seconds_idle:\d+", "a clock"),
    mask(b"XINFO", rb"(?<=idle\r\n):\d+|(?<=inactive\r\n):\d+|(?<=-time\r\n):\d+", "a clock"),
    mask(b"XINFO", rb":\d{13}", "a clock: when an entry of FULL was delivered"),
    mask(b"XPENDING", rb":\d+(?=\r\n:\d+\r\n)", "a clock: how long ago delivered"),
)

UNORDERED = (
    (b"KEYS", "the keyspace is a hash table"),
    (b"SCAN", "the keyspace is a hash table"),
    (b"ACL CAT", "a hash table of commands"),
    (b"COMMAND LIST", "a hash table of commands"),
    (b"CONFIG GET", "a hash table of settings"),
    (b"PUBSUB", "a hash table of channels"),
    (b"FUNCTION LIST", "a hash table of libraries"),
)


def sort_inside(frame: bytes) -> bytes:
    """The frame with the children of every aggregate in it sorted (pairs kept together)."""
    head, inner = children(frame)
    if not inner:
        return frame
    if frame[0] in PAIRED:
        return head + b"".join(sorted(key + sort_inside(value) for key, value in pairs(inner)))
    return head + b"".join(sorted(map(sort_inside, inner)))


def pairs(inner: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(inner[::2], inner[1::2], strict=True))


def comparable(words: Sequence[bytes], frame: bytes) -> bytes:
    """What of a reply must be the same byte for byte."""
    line = b" ".join(words[:3]).upper()
    if any(line.startswith(command) for command, _ in UNORDERED):
        frame = sort_inside(frame)
    for entry in MASKS:
        if line.startswith(entry.command):
            frame = entry.pattern.sub(b"<masked>", frame)
    return frame
