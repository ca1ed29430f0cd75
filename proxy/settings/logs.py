"""The settings of what is told: logs, commands that were slow, and traces.

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
    traces: str = row(
        choice("off", "otlp"),
        "off",
        "Whether loads and the proxy's own commands are traced by OpenTelemetry: sent as OTLP over "
        "HTTP, where the variables OTEL_* say (the extra otel).",
    )
