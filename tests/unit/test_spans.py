"""Where traces are off, nothing is made of what they are told."""

from __future__ import annotations

from nearhit.proxy.spans import OFF, UNSEEN


async def test_off_makes_nothing() -> None:
    spans = [
        OFF.command("GETORSET", "GETORSET k", 0),
        OFF.job("WARM", "1", 0),
        OFF.load("users", "url", "h:80", b"k"),
    ]
    for one in spans:
        assert one is UNSEEN
        with one as span:
            span.tell("nearhit.load.result", "success")
    OFF.joined()
    await OFF.close()

    assert (OFF.on, OFF.headers(), repr(OFF)) == (False, {}, "<Traces off>")
