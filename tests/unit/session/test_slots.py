"""A reply that the session looks at before its client does."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.session.slots import PeekSlot, line_of

from tests.fakes import Client

WHY = UpstreamLost("a test")


def placed(client: Client, muted: bool = False) -> PeekSlot:
    slot = PeekSlot(client.session, bytes.upper, lambda why: b"gone", muted)
    client.session.take_place(slot)
    return slot


def answer(slot: PeekSlot, *chunks: bytes) -> None:
    for at, chunk in enumerate(chunks):
        slot.want = int(at < len(chunks) - 1)
        slot.feed(chunk)


async def test_a_reply_is_seen_whole_and_what_was_made_of_it_goes_on(client: Client) -> None:
    answer(placed(client), b"+o", b"k\r", b"\n")
    client.session.flush()

    assert client.took() == b"+OK\r\n"
    assert client.session.head is None


async def test_what_will_not_come_is_told_too(client: Client) -> None:
    slot = placed(client)

    slot.fail(WHY, True)
    client.session.flush()

    assert client.took() == b"gone"
    assert not client.wire.end  # nothing of it had been given out
    assert slot.want == 0
    assert line_of(WHY) == WHY.line


@pytest.mark.parametrize("lost", [False, True])
async def test_a_muted_reply_is_seen_and_not_handed_on(client: Client, lost: bool) -> None:
    slot = placed(client, muted=True)

    if lost:
        slot.fail(WHY, False)
    else:
        answer(slot, b"+ok\r\n")
    client.session.flush()

    assert client.took() == b""
    assert client.session.head is None


async def test_it_keeps_its_place_behind_what_is_outstanding(client: Client) -> None:
    first, second = placed(client), placed(client)

    answer(second, b"+2\r\n")
    client.session.flush()
    assert client.took() == b""
    answer(first, b"+1\r\n")
    client.session.flush()

    assert client.took() == b"+1\r\n+2\r\n"


async def test_a_defect_in_looking_costs_the_client_alone(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    slot = PeekSlot(client.session, lambda reply: b"%d" % (1 // 0), line_of, False)
    client.session.take_place(slot)

    answer(slot, b"+ok\r\n")

    assert client.wire.end == "aborted"
    assert "looking at a reply failed" in caplog.text
