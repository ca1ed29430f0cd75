"""What may become of a request of a ``url`` loader. The texts say nothing of its URL."""

from __future__ import annotations


class HttpError(Exception):
    """A request that has no whole answer."""


class Unanswered(HttpError):
    """The connection was closed before anything of the answer came."""


class CodingError(HttpError):
    """A body that is not in the coding that it says, or in one that is not known here."""


class TooLarge(Exception):
    """A body has more bytes than were asked for."""
