"""Content-Encoding of answers, taken off piece by piece: a small body may become a large one, and
whoever counts must be able to stop. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from .http_errors import CodingError

ACCEPTED: Final = "gzip, deflate"
PIECE_MAX: Final = 64 * 1024
# Named in answers though nobody asked: what has one of these is not the value.
_OTHERS: Final = {"br", "zstd", "compress", "x-compress"}


class Decoder:
    """Takes off one coding; ``identity`` and words that name none take off nothing."""

    def __init__(self, coding: str) -> None:
        coding = coding.strip().lower()
        if coding in _OTHERS or "," in coding:
            raise CodingError("the answer is compressed in a way that was not asked for")
        self._gzip = coding in ("gzip", "x-gzip")
        self._plain = not self._gzip and coding != "deflate"
        self._begun = False
        self._inflate = zlib.decompressobj()  # another one, once it is seen what comes

    def __repr__(self) -> str:
        return f"<Decoder {'plain' if self._plain else 'gzip' if self._gzip else 'deflate'}>"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces, of PIECE_MAX at most where there was a coding. CodingError."""
        if self._plain:
            yield data
            return
        more = bool(data)
        while more:
            if not self._begun or self._inflate.eof:
                self._begun = True
                self._inflate = zlib.decompressobj(self._bits(data))
            try:
                piece = self._inflate.decompress(data, PIECE_MAX)
            except zlib.error:
                raise CodingError("the answer is not compressed as it says") from None
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:  # gzip has members, one behind the other
                data = self._inflate.unused_data if self._gzip else b""
            # A full piece may have taken all of the data, and not given all of it.
            more = bool(data) or (len(piece) == PIECE_MAX and not self._inflate.eof)

    def end(self) -> None:
        """All has come. CodingError: that was not the whole."""
        if self._begun and not self._inflate.eof:
            raise CodingError("the compressed answer broke off")

    def _bits(self, data: bytes) -> int:
        if self._gzip:
            return 16 + zlib.MAX_WBITS
        # deflate is zlib's format, and without its head as some servers have it.
        return zlib.MAX_WBITS if data[0] & 0xF == 8 else -zlib.MAX_WBITS
