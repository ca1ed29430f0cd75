"""What ``nearhit top`` knows of a proxy: what it answers to STATS and to questions for its jobs.

    STATS PROXY, STATS LATENCY, a view of keys ─┐
    WARM JOBS, INVALIDATE JOBS ─▶ STATUS of each ┴─▶ Reading

Two requests' time, however many jobs there are: each batch is sent in one piece. Words of others
come as text that moves no cursor. Shows nothing: that is top_frame.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from ..errors import ExitCode, StartError, printable
from .reach import Refused

KEYS_MOST: Final = b"128"  # what STATS tells at most
JOBS_MOST: Final = 8  # of each command
_JOBS: Final = (b"WARM", b"INVALIDATE")


class Asked(Protocol):
    """The proxy (reach.Link)."""

    def each(self, requests: Sequence[Sequence[bytes]]) -> list[object]:
        """An answer or an exception for each. StartError: there was none."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """Maps and rows as STATS has them. ``keys`` are of one view."""

    proxy: Mapping[str, Any]
    latency: Sequence[Mapping[str, Any]] = ()
    view: str = "hotkeys"
    keys: Sequence[Mapping[str, Any]] = ()
    jobs: Sequence[Mapping[str, Any]] = ()


def read(proxy: Asked, view: str) -> Reading:
    """StartError: the proxy is away, or this user may not."""
    head, *rest = proxy.each(
        [
            (b"STATS", b"PROXY"),
            (b"STATS", b"LATENCY"),
            (b"STATS", view.upper().encode(), KEYS_MOST),
            *((command, b"JOBS") for command in _JOBS),
        ]
    )
    if isinstance(head, Refused):
        raise StartError(_why(str(head)), ExitCode.REFUSED)
    if isinstance(head, Exception):
        raise head
    latency, keys, *ids = (_rows(one) for one in rest)
    return Reading(
        cast("Mapping[str, Any]", text_of(head)),
        cast("Sequence[Mapping[str, Any]]", text_of(latency)),
        view,
        cast("Sequence[Mapping[str, Any]]", text_of(keys)),
        _jobs(proxy, ids),
    )


def _why(refusal: str) -> str:
    if "unknown subcommand" in refusal:
        return f"top wants a Nearhit that has STATS PROXY: {refusal}"
    return f"this user may not see the statistics: {refusal}"


def _rows(reply: object) -> Sequence[object]:
    """What is refused, or is gone meanwhile, is left out."""
    return cast("Sequence[object]", reply) if isinstance(reply, list) else ()


def _jobs(proxy: Asked, ids: Sequence[Sequence[object]]) -> list[Mapping[str, Any]]:
    """Those that began last."""
    asked = [
        (command, b"STATUS", cast("bytes", id))
        for command, some in zip(_JOBS, ids, strict=True)
        for id in some[-JOBS_MOST:]
    ]
    told = proxy.each(asked) if asked else []
    return [
        {"command": command.decode(), **cast("Mapping[str, Any]", text_of(cast("object", one)))}
        for (command, _, _), one in zip(asked, told, strict=True)
        if isinstance(one, Mapping)
    ]


def text_of(value: object) -> object:
    """A reply whose words are text."""
    if isinstance(value, bytes):
        return printable(value)
    if isinstance(value, Mapping):
        return {
            text_of(key): text_of(one)
            for key, one in cast("Mapping[object, object]", value).items()
        }
    if isinstance(value, list):
        return [text_of(one) for one in cast("list[object]", value)]
    return value
