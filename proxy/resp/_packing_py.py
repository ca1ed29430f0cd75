"""Requests that the proxy itself words in quantity, in plain Python: a part of _kernel_py.py."""

from __future__ import annotations


def pack_keys(name: bytes, keys: list[bytes], before: bytes, behind: bytes) -> bytes:
    around = len(before) + len(behind)
    parts = [b"*%d\r\n" % (1 + len(keys)), _bulk(name)]
    for key in keys:
        _check(key)
        parts += [b"$%d\r\n" % (around + len(key)), before, key, behind, b"\r\n"]
    return b"".join(parts)


def pack_sets(head: bytes, keys: list[bytes], values: list[bytes], tails: list[bytes]) -> bytes:
    if not len(keys) == len(values) == len(tails):
        raise ValueError("not as many values and tails as keys")
    parts: list[bytes] = []
    for key, value, tail in zip(keys, values, tails, strict=True):
        parts += [head, _bulk(key), _bulk(value), tail]
    return b"".join(parts)


def _bulk(word: bytes) -> bytes:
    _check(word)
    return b"$%d\r\n%b\r\n" % (len(word), word)


def _check(word: object) -> None:
    if type(word) is not bytes:
        raise TypeError(f"a word is bytes, not {type(word).__name__}")
