"""Whether a user may track is asked without that user."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import UpstreamDown
from nearhit.proxy.upstream.ask import Done, Reply
from nearhit.proxy.upstream.may_track import may_track

DENIED = b"User alice has no permissions to run the 'client|caching' command"
OK = b"+OK\r\n"


@pytest.mark.parametrize(
    ("replies", "may"),
    [
        ([OK] * 3, True),
        ([OK, b"$%d\r\n%b\r\n" % (len(DENIED), DENIED), OK], False),
        ([OK, OK, b"$27\r\nno permissions for that key\r\n"], True),  # which was made up
        ([b"-NOPERM you may not ask\r\n"] * 3, True),
        ([UpstreamDown("away")] * 3, True),
    ],
)
async def test_what_the_server_says_of_each_need(replies: list[Reply], may: bool) -> None:
    asked: list[tuple[bytes, ...]] = []

    def ask(done: Done, /, *words: bytes) -> None:
        asked.append(words)
        done(replies[len(asked) - 1])
        done(OK)  # too late, and no harm

    assert await may_track(ask, b"alice") is may
    assert [b" ".join(words) for words in asked] == [
        b"ACL DRYRUN alice CLIENT TRACKING ON OPTIN",
        b"ACL DRYRUN alice CLIENT CACHING YES",
        b"ACL DRYRUN alice PTTL key",
    ]
