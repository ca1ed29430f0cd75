"""Requests and replies told apart, and what stands for a script's keys."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster.pieces import Gathering, cut, probe_of, requests_of
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.hot.parts import Part
from nearhit.proxy.resp.requests import encode

from tests.fakes import Tray
from tests.unit.cluster.bench import Bench, get


def test_replies_are_cut_whole() -> None:
    replies = [b"+OK\r\n", b"*2\r\n:1\r\n$1\r\nx\r\n", b"-ERR\r\n"]
    assert cut(b"".join(replies), 3) == replies


async def test_requests_are_told_apart() -> None:
    bench = Bench()
    requests = [get(b"a"), get(b"\r\n*1\r\n"), get(b"")]
    assert requests_of(Part(bench.router, Tray(3), b"".join(requests), 3)) == requests


async def test_the_last_answer_makes_the_whole() -> None:
    bench = Bench()
    told: list[tuple[Part, bytes]] = []

    class Gatherer:
        def gathered(self, whole: Part, reply: bytes) -> None:
            told.append((whole, reply))

    whole = Part(bench.router, Tray(), b"", 1)
    gathering = Gathering(bench.router, Gatherer(), whole, 2, b"|".join)
    first, second = gathering.part(0, b"a"), gathering.part(1, b"b")
    second.finish(b"2")
    assert told == []
    first.place.fail(UpstreamLost("gone"), False)

    assert told == [(whole, UpstreamLost("gone").line + b"|2")]


@pytest.mark.parametrize(
    ("request_", "probe"),
    [
        ([b"eval", b"s", b"2", b"a", b"b", b"x"], encode([b"EXISTS", b"a", b"b"])),
        ([b"FCALL_RO", b"f", b"1", b"a"], encode([b"EXISTS", b"a"])),
        ([b"EVALSHA", b"s", b"0", b"a"], b""),
        ([b"EVAL", b"s", b"x"], b""),
        ([b"EVAL"], b""),
        ([b"GET", b"k"], None),
    ],
)
def test_a_question_about_the_same_keys_stands_for_a_script(
    request_: list[bytes], probe: bytes | None
) -> None:
    assert probe_of(encode(request_)) == probe
