"""The settings of what is told: logs, and commands that were slow.

A part of ``Config`` (config.py), which has all other rows."""

from __future__ import annotations

from dataclasses import dataclass

from .costs import CostSettings
from .rows import choice, duration_or_off, row


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings(CostSettings):
    """See config.py: each row is a flag, a variable and a key of the file."""

    log_format: str = row(
        choice("text", "json"),
        "text",
        "How an event is written, one a line: as logfmt, or as a JSON object.",
    )
    slowlog: float = row(
        duration_or_off("10ms", "1h"),
        "100ms",
        "Commands that take longer are logged, and told of by STATS SLOWLOG; off: none.",
    )
