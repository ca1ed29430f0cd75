"""What is asked of a proxy, which is a script."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from nearhit.proxy.cli.reach import Refused
from nearhit.proxy.cli.top_reading import JOBS_MOST, read
from nearhit.proxy.errors import ExitCode, StartError

Words = tuple[bytes, ...]


class Proxy:
    def __init__(self) -> None:
        self.answers: dict[Words, object] = {
            (b"STATS", b"PROXY"): {b"version": b"1", b"stats": {b"hits": 3}, b"nodes": [{}]},
            (b"STATS", b"LATENCY"): [{b"class": b"read"}],
            (b"STATS", b"HOTKEYS", b"128"): [{b"key": b"\x1b[2Ja\xff"}],
            (b"WARM", b"JOBS"): [b"1", b"2"],
            (b"INVALIDATE", b"JOBS"): [],
            (b"WARM", b"STATUS", b"1"): {b"state": b"running"},
            (b"WARM", b"STATUS", b"2"): None,
        }
        self.asked: list[Sequence[Sequence[bytes]]] = []

    def each(self, requests: Sequence[Sequence[bytes]]) -> list[object]:
        self.asked.append(requests)
        return [self.answers[tuple(words)] for words in requests]


def test_it_is_asked_twice_and_words_of_others_move_no_cursor() -> None:
    proxy = Proxy()

    found = read(proxy, "hotkeys")

    assert found.proxy == {"version": "1", "stats": {"hits": 3}, "nodes": [{}]}
    assert found.latency == [{"class": "read"}]
    assert (found.view, found.keys) == ("hotkeys", [{"key": "\\x1b[2Ja\\xff"}])
    assert found.jobs == [{"command": "WARM", "state": "running"}]
    assert len(proxy.asked) == 2


def test_without_jobs_it_is_asked_once_and_of_many_the_last_are_asked_for() -> None:
    proxy = Proxy()
    proxy.answers[b"WARM", b"JOBS"] = []
    assert read(proxy, "hotkeys").jobs == []
    assert len(proxy.asked) == 1

    proxy.answers[b"INVALIDATE", b"JOBS"] = [b"%d" % n for n in range(20)]
    proxy.answers |= {
        (b"INVALIDATE", b"STATUS", b"%d" % n): {b"total": n} for n in range(20 - JOBS_MOST, 20)
    }
    assert [job["total"] for job in read(proxy, "hotkeys").jobs] == [*range(12, 20)]


def test_what_is_refused_beside_the_proxy_itself_is_left_out() -> None:
    proxy = Proxy()
    for words in list(proxy.answers)[1:5]:
        proxy.answers[words] = Refused("NOPERM no")

    found = read(proxy, "hotkeys")

    assert [*found.latency, *found.keys, *found.jobs] == []


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        ("this user has no permissions", "this user may not see the statistics: this user has no"),
        ("unknown subcommand 'PROXY'", "top wants a Nearhit that has STATS PROXY: unknown"),
    ],
)
def test_who_may_not_see_it_is_told(refusal: str, why: str) -> None:
    proxy = Proxy()
    proxy.answers[b"STATS", b"PROXY"] = Refused(refusal)

    with pytest.raises(StartError, match=why) as caught:
        read(proxy, "hotkeys")

    assert caught.value.exit_code is ExitCode.REFUSED


def test_a_server_that_is_away_is_told() -> None:
    proxy = Proxy()
    proxy.answers[b"STATS", b"PROXY"] = StartError("UPSTREAM gone", ExitCode.UNREACHABLE)

    with pytest.raises(StartError, match="UPSTREAM gone"):
        read(proxy, "hotkeys")
