"""The settings of what a client may cost.

A part of ``Config`` (config.py), which has all other rows."""

from __future__ import annotations

from dataclasses import dataclass

from .entry import EntrySettings
from .output import OUTPUT_BUFFER, OutputBuffer
from .rows import SIZE_OR_OFF, duration_or_off, row, size, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSettings(EntrySettings):
    """See config.py: each row is a flag, a variable and a key of the file."""

    timeout: float = row(
        duration_or_off("1s", "720h"),
        "off",
        "After how long without a word a client is closed, unless it blocks, subscribes or "
        "monitors; off: never.",
    )
    maxmemory_clients: int = row(
        SIZE_OR_OFF,
        "off",
        "Bytes that all clients of a worker together may have in buffers, of requests and of "
        "replies not read; beyond it the largest are cut; off: no bound in common.",
    )
    client_output_buffer: OutputBuffer = row(  # noqa: RUF009  # it is frozen
        OUTPUT_BUFFER,
        "off",
        "Bytes of replies that a client may leave unread, as Redis's client-output-buffer-limit "
        "without its class: hard, or hard, soft and for how long; beyond it the client is cut.",
    )
    max_multi: int = row(
        size("1mb", "64gb"),
        "1gb",
        "Bytes that a client may queue in MULTI; more are refused, and EXEC aborts.",
    )
    max_subscriptions: int = row(
        whole(1, 100_000_000),
        "100000",
        "Channels and patterns that a client may be subscribed to; more are refused.",
    )
