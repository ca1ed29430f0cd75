"""Servers that take no writes for a while, each for a reason of its own.

A block in which a server refuses them: ``with refusing("MISCONF", ask):``, where ``ask`` sends one
command to the server itself. What the refusal begins with is its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.servers import wait_for

Ask = Callable[..., Any]
# What a client is told (Redis 7 and Valkey 9), but for what is behind it.
WORDS: Final = {
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF": "MISCONF ",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
}


@contextmanager
def refusing(why: str, ask: Ask) -> Iterator[None]:
    """Its settings are as before afterwards, as the tests' servers have them."""
    settings = {
        "OOM": ("maxmemory", "1", "0"),
        "MISCONF": ("save", "3600 1", ""),
        "NOREPLICAS": ("min-replicas-to-write", "9", "0"),
    }
    name, on, off = settings[why]
    if why == "MISCONF":
        _fail_to_save(ask)
    ask("CONFIG", "SET", name, on)
    try:
        yield
    finally:
        ask("CONFIG", "SET", name, off)


def _fail_to_save(ask: Ask) -> None:
    """Where the snapshot should be, there is a folder. It is remembered, and matters as soon as the
    server is told to save by itself."""

    def failed() -> bool:
        return b"rdb_last_bgsave_status:err" in _raw(ask("INFO", "persistence"))

    if failed():
        return  # of an earlier block
    there = Path(_config(ask, "dir"), _config(ask, "dbfilename"))
    there.unlink(missing_ok=True)
    there.mkdir()
    try:
        ask("BGSAVE")
        wait_for(failed, what="a snapshot that failed")
    finally:
        there.rmdir()


def _config(ask: Ask, name: str) -> str:
    found = ask("CONFIG", "GET", name)
    (value,) = found.values() if isinstance(found, dict) else found[1:]
    return value.decode() if isinstance(value, bytes) else str(value)


def _raw(info: Any) -> bytes:
    if isinstance(info, dict):  # as redis-py has read it
        return b"\r\n".join(f"{name}:{value}".encode() for name, value in info.items())
    return bytes(info)
