"""Where one reply ends and the next begins: RESP2 and RESP3 read by the tests themselves.

Independent of the proxy's parser on purpose: a shared mistake would be invisible. Knows offsets and
nesting only; whoever wants to compare compares the raw bytes. Called by link.py and masks.py."""

from __future__ import annotations

LINES = b"+-:,#(_"
BULKS = b"$=!"
FLAT = b"*~>"
PAIRED = b"%|"


def header_end(data: bytes | bytearray, start: int) -> int | None:
    """Offset just past the first line of the frame at ``start``; None while it is incomplete."""
    found = data.find(b"\r\n", start)
    return None if found < 0 else found + 2


def frame_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """Offset just past the frame at ``start``; None while it is incomplete."""
    owed = 1
    while owed:
        after = header_end(data, start)
        if after is None:
            return None
        kind = data[start]
        if kind in LINES:
            start, owed = after, owed - 1
            continue
        size = int(data[start + 1 : after - 2])
        start = after
        owed -= 1
        if kind in BULKS:
            start += size + 2 if size >= 0 else 0
        elif kind in FLAT:
            owed += max(size, 0)
        elif kind in PAIRED:
            # An attribute ("|") decorates the value after it: the two count as one frame.
            owed += 2 * size + (kind == ord("|"))
        else:
            raise ValueError(f"not RESP at {bytes(data[start - 8 : start + 40])!r}")
        if start > len(data):
            return None
    return start


def children(frame: bytes) -> tuple[bytes, list[bytes]]:
    """The header line of an aggregate and the raw frames inside it; none for any other kind."""
    after = header_end(frame, 0)
    assert after is not None, frame
    inner: list[bytes] = []
    if frame[0] in FLAT + PAIRED:
        start = after
        while start < len(frame):
            end = frame_end(frame, start)
            assert end is not None, frame
            inner.append(frame[start:end])
            start = end
    return frame[:after], inner


def payload(frame: bytes) -> bytes:
    """The text of a bulk, verbatim or line reply, without its framing."""
    after = header_end(frame, 0)
    assert after is not None, frame
    return frame[after:-2] if frame[0] in BULKS else frame[1:-2]
