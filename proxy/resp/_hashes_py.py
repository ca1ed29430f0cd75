"""Hashes of keys, in plain Python: a part of _kernel_py.py."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

_ODD: Final = 0x9E3779B97F4A7C15
_ALL: Final = (1 << 64) - 1


def mix(key: bytes) -> int:
    size = len(key)
    mixed = size
    for at in range(0, size - 8, 8):
        mixed = (mixed ^ _word(key[at : at + 8])) * _ODD & _ALL
        mixed ^= mixed >> 32
    if size >= 8:
        last = _word(key[-8:])
    elif size >= 4:
        last = _word(key[-4:]) << 32 | _word(key[:4])
    else:
        last = _word(key[:1] + key[size >> 1 : (size >> 1) + 1] + key[-1:])
    mixed = (mixed ^ last) * _ODD & _ALL
    mixed = (mixed ^ mixed >> 32) * _ODD & _ALL
    return mixed ^ mixed >> 32


def _word(part: bytes) -> int:
    return int.from_bytes(part, "little")


def hash_slot(key: bytes) -> int:
    _, _, behind = key.partition(b"{")
    tag, closed, _ = behind.partition(b"}")
    return crc_hqx(tag if tag and closed else key, 0) & 16383
