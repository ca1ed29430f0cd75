"""The slot for the proxy's own questions calls back once, with everything or with the error."""

from __future__ import annotations

from nearhit.proxy.errors import UpstreamDown
from nearhit.proxy.upstream.ask import AskSlot, Reply, drop


def fed(slot: AskSlot, *chunks: tuple[bytes, int]) -> None:
    """Feed as a lane does: ``want`` is what is still owed when the chunk is handed over."""
    for chunk, want in chunks:
        slot.want = want
        slot.feed(chunk)


def test_a_reply_in_pieces_is_handed_over_whole() -> None:
    got: list[Reply] = []
    slot = AskSlot(got.append)

    fed(slot, (b"$4\r\n", 1), (b"ab", 1), (b"cd\r\n", 0))

    assert got == [b"$4\r\nabcd\r\n"]


def test_several_replies_are_one_piece() -> None:
    got: list[Reply] = []
    slot = AskSlot(got.append, 2)

    fed(slot, (b"+1\r\n", 1))
    assert got == []
    fed(slot, (b"+2\r\n", 0))

    assert got == [b"+1\r\n+2\r\n"]


def test_an_error_replaces_what_had_come() -> None:
    got: list[Reply] = []
    slot = AskSlot(got.append, 2)
    why = UpstreamDown("refused")

    fed(slot, (b"+1\r\n", 1))
    slot.fail(why, True)

    assert got == [why]
    assert slot.want == 0


def test_a_reply_that_nobody_needs_is_dropped() -> None:
    slot = AskSlot(drop)

    fed(slot, (b"+OK\r\n", 0))

    assert repr(slot) == "<AskSlot want=0>"
