"""Numbers as ``nearhit top`` shows them; None: there is none.

In the words of the status page (http/status.js), so that who looks at both reads the same."""

from __future__ import annotations

from typing import Final

NONE: Final = "-"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_SPANS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_BARS: Final = "▁▂▃▄▅▆▇█"


def count(number: float | None) -> str:
    """``12,345``; small ones that are not whole have a digit behind the point."""
    if number is None:
        return NONE
    return f"{number:,.1f}" if 0 < number < 10 and number != round(number) else f"{number:,.0f}"


def part(number: float | None) -> str:
    return NONE if number is None else f"{number * 100:.1f} %"


def size(number: float | None) -> str:
    """Bytes."""
    if number is None:
        return NONE
    unit = 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return (
        f"{number:.0f} {_UNITS[unit]}"
        if number >= 100 or unit == 0
        else f"{number:.1f} {_UNITS[unit]}"
    )


def duration(microseconds: float) -> str:
    """Of a request: three digits of it."""
    for least, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= least:
            return f"{microseconds / least:.3g} {unit}"
    return f"{microseconds:.0f} µs"


def span(seconds: float) -> str:
    """``3 h 2 min``."""
    rest = max(0, int(seconds))
    first = next((at for at, (length, _) in enumerate(_SPANS) if rest >= length), -1)
    told: list[str] = []
    for length, name in _SPANS[first:][:2]:
        number, rest = divmod(rest, length)
        if number or not told:
            told.append(f"{number} {name}")
    return " ".join(told)


def trend(numbers: list[float | None], width: int, most: float | None = None) -> str:
    """The last ones as bars as high as their part of the largest, or of ``most``."""
    shown = numbers[-width:] if width > 0 else []
    top = most or max((one for one in shown if one is not None), default=0.0)
    return "".join(
        " " if one is None else _BARS[min(7, int(one / top * 8)) if top else 0] for one in shown
    )
