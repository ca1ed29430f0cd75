"""What MONITOR shows on its lane, told apart from the replies to what is asked there.

A line of MONITOR is a simple string that begins with the server's clock; a server that shows them
answers no request with such a string. Pure: the lane hands every frame over (ports.Framing)."""

from __future__ import annotations

import re
from typing import Final

from .subscriptions import Channels

_LINE: Final = re.compile(rb"\+\d{1,20}\.\d{1,9} \[\d+ ")


class Monitoring(Channels):
    """The frames of a connection that monitors, and may have subscriptions besides."""

    def __repr__(self) -> str:
        return f"<Monitoring {super().__repr__()}>"

    @property
    def empty(self) -> bool:
        """Never: it monitors for as long as the lane lives, or until RESET, which is its end."""
        return False

    def unasked(self, frame: bytes, head: object) -> bool:
        """Whether no request waits for the frame (ports.Framing)."""
        return bool(_LINE.match(frame)) or super().unasked(frame, head)
