"""Hashes of keys, in plain Python: a part of _kernel_py.py."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

_ODD: Final = 0x9E3779B97F4A7C15
_ALL: Final = (1 << 64) - 1


def mix(key: bytes) -> int:
    mixed, at = len(key), 0
    while at <= len(key):
        whole = at + 8 <= len(key)
        mixed = (mixed ^ int.from_bytes(key[at : at + 8], "little")) * _ODD & _ALL
        if whole:
            mixed ^= mixed >> 32
        else:
            mixed = (mixed ^ mixed >> 32) * _ODD & _ALL
        at += 8
    return mixed ^ mixed >> 32


def hash_slot(key: bytes) -> int:
    _, _, behind = key.partition(b"{")
    tag, closed, _ = behind.partition(b"}")
    return crc_hqx(tag if tag and closed else key, 0) & 16383
