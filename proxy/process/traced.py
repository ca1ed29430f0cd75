"""Whether there are traces, and what makes them: the setting ``traces``.

OpenTelemetry is an extra, imported where the setting asks for it and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ExitCode, StartError
from ..settings.config import VERSION, Config
from ..spans import OFF, Traces


def _off(address: str, version: str) -> Traces:
    return OFF


def maker_of(traces: str) -> Callable[[str, str], Traces]:
    """What makes the traces of the setting's value, of a server's address and our version.
    StartError: it is not installed."""
    if traces == "off":
        return _off
    try:
        from ..stats.otlp import otlp_traces
    except ImportError as error:
        raise StartError(
            f"traces = {traces} needs OpenTelemetry: pip install 'nearhit[otel]' ({error})",
            ExitCode.BAD_SETTINGS,
        ) from error
    return otlp_traces


def traces_of(config: Config, address: str) -> Traces:
    """Those of a process that begins to serve. StartError."""
    return maker_of(config.traces)(address, VERSION)
