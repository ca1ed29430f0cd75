"""What users may is asked again and again, in the way that the proxy's own user may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.process.rights import LOOK_S, Rights, is_even
from nearhit.proxy.process.swaps import Swaps
from nearhit.proxy.stats.fleet import Sending
from nearhit.proxy.upstream.ask import Done, Reply
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, User
from nearhit.proxy.upstream.tracked import TrackedLane

TEXT = b"*12\r\n$5\r\nflags\r\n$9\r\nselectors\r\n*0\r\n"
SELECTORS = b"*12\r\n$9\r\nselectors\r\n*1\r\n*6\r\n"
MAY = b"+OK\r\n"
NO_COMMAND = b"$55\r\nUser u has no permissions to run the 'mget' command\r\n"
NO_KEY = b"$53\r\nUser u has no permissions to access the 'key' key\r\n"
NOPERM = b"-NOPERM this user has no permissions to run the command\r\n"
COUNTED = b"$60\r\ncmdstat_acl|setuser:calls=%d,usec=9,usec_per_call=9.00\r\n\r\n"
LOST = UpstreamLost("gone")


class Node:
    """A server's lane that keeps what it is asked."""

    def __init__(self) -> None:
        self.client_id = 1
        self.host = "h"
        self.asked: list[tuple[tuple[bytes, ...], Done]] = []

    def ask(self, done: Done, *words: bytes) -> None:
        self.asked.append((words, done))

    def answer(self, **replies: Reply) -> None:
        """Answer all that is asked, by its second word."""
        while self.asked:
            words, done = self.asked.pop(0)
            done(replies[words[3 if words[1] == b"DRYRUN" else 1].decode()])


class Bench:
    def __init__(self, nodes: int = 1) -> None:
        self.nodes = [Node() for _ in range(nodes)]
        self.lanes: list[Any] = []
        self.kept = True
        self.drops = 0
        self.turned: list[bool] = []
        self.rights = Rights(
            lambda: cast("list[Lane]", self.nodes),
            b"default",
            swaps=self._swaps,
            tracked=lambda: cast("list[TrackedLane]", self.lanes),
            needed=lambda: self.kept,
            drop=self._drop,
            turned=lambda lane: self.turned.append(lane.narrow),
        )

    def _swaps(self, ask: Sending, changed: Callable[[], None]) -> Swaps:
        return Swaps(ask, needed=lambda: True, swapped=lambda: None, new_rights=changed)

    def _drop(self) -> None:
        self.drops += 1

    def comes(self, name: bytes | None = b"u") -> Any:
        user = None if name is None else User(name, b"pw")
        lane = SimpleNamespace(key=LaneKey(user=user), narrow=False)
        self.lanes.append(lane)
        self.rights.came(cast(TrackedLane, lane))
        return lane

    def look(self, **replies: Reply) -> None:
        self.rights.look()
        known: dict[str, Reply] = {"commandstats": COUNTED % 1, "GETUSER": TEXT}
        for node in self.nodes:
            node.answer(**{**known, "GET": MAY, "MGET": MAY, **replies})


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_two_looks_are_within_a_second() -> None:
    assert 2 * LOOK_S < 1


@pytest.mark.parametrize(
    ("user", "get", "mget", "even"),
    [
        (TEXT, MAY, MAY, True),
        (TEXT, NO_KEY, NO_KEY, True),
        (TEXT, MAY, NO_COMMAND, False),
        (TEXT, NO_COMMAND, NO_KEY, False),
        (TEXT, NO_COMMAND, NO_COMMAND, True),
        (SELECTORS, MAY, MAY, False),
        (TEXT, NOPERM, NOPERM, False),
        (TEXT, LOST, MAY, False),
    ],
)
def test_get_and_mget_are_one_right_where_that_is_known(
    user: bytes, get: Reply, mget: Reply, even: bool
) -> None:
    assert is_even(user, get, mget) is even


def test_a_user_is_narrow_until_it_is_known_that_he_is_not(bench: Bench) -> None:
    lane = bench.comes()
    assert lane.narrow
    words = [words for words, _ in bench.nodes[0].asked]
    assert words == [(b"ACL", b"GETUSER", b"u")]

    bench.nodes[0].answer(GETUSER=TEXT, GET=MAY, MGET=MAY)

    assert not lane.narrow
    assert bench.turned == [False]
    assert bench.drops == 0


def test_the_urls_user_is_asked_about_by_name(bench: Bench) -> None:
    bench.comes(None)

    assert bench.nodes[0].asked[0][0] == (b"ACL", b"GETUSER", b"default")


def test_all_servers_have_to_agree() -> None:
    bench = Bench(nodes=2)
    lane = bench.comes()

    bench.nodes[0].answer(GETUSER=TEXT, GET=MAY, MGET=MAY)
    assert lane.narrow
    bench.nodes[1].answer(GETUSER=TEXT, GET=MAY, MGET=NO_COMMAND)
    assert lane.narrow

    bench.nodes.pop()
    bench.rights.look()
    assert not lane.narrow


def test_where_no_server_is_known_nothing_is(bench: Bench) -> None:
    bench.nodes.clear()

    assert bench.comes().narrow


def test_a_change_that_was_counted_drops_what_is_kept_and_asks_anew(bench: Bench) -> None:
    lane = bench.comes()
    bench.look(commandstats=b"$0\r\n\r\n")
    assert (bench.drops, lane.narrow) == (0, False)

    bench.look(commandstats=COUNTED % 1, MGET=NO_COMMAND)

    assert (bench.drops, lane.narrow) == (1, True)
    assert bench.turned == [False, True]


def test_a_change_that_passed_asks_anew(bench: Bench) -> None:
    lane = bench.comes()
    bench.look(commandstats=b"$0\r\n\r\n")

    bench.rights.forget()
    assert lane.narrow
    bench.nodes[0].answer(GETUSER=TEXT, GET=MAY, MGET=MAY)

    assert not lane.narrow
    assert bench.drops == 0


def test_what_was_asked_before_a_change_says_nothing(bench: Bench) -> None:
    lane = bench.comes()
    bench.rights.forget()
    old, new = bench.nodes[0].asked

    old[1](TEXT)
    assert bench.nodes[0].asked == [old, new]
    bench.nodes[0].asked = [new]
    bench.nodes[0].answer(GETUSER=TEXT, GET=MAY, MGET=NO_COMMAND)

    assert lane.narrow


def test_who_may_not_ask_info_compares_what_is_said_of_the_user(bench: Bench) -> None:
    bench.comes()
    bench.look(commandstats=NOPERM)
    bench.look(commandstats=NOPERM)
    assert bench.drops == 0

    bench.look(commandstats=NOPERM, GETUSER=TEXT + b"less")
    assert bench.drops == 1

    bench.look(commandstats=NOPERM, GETUSER=TEXT + b"less")
    assert bench.drops == 1


def test_who_may_ask_nothing_keeps_nothing_for_longer_than_a_second(bench: Bench) -> None:
    lane = bench.comes()
    bench.look(commandstats=NOPERM, GETUSER=NOPERM)
    assert repr(bench.rights) == "<Rights servers=1 blind=1>"
    begin = bench.drops

    for _ in range(4):
        bench.look()

    assert bench.drops - begin == 2
    assert lane.narrow
    assert not bench.nodes[0].asked  # asked once: ACL LOG shows each refusal

    bench.kept = False
    for _ in range(4):
        bench.look()
    assert bench.drops - begin == 2


def test_another_connection_is_asked_what_the_last_refused(bench: Bench) -> None:
    lane = bench.comes()
    bench.look(commandstats=NOPERM, GETUSER=NOPERM)

    bench.nodes[0].client_id = 2
    bench.look()

    assert not lane.narrow
    assert repr(bench.rights) == "<Rights servers=1 blind=0>"


def test_a_lost_connection_says_nothing(bench: Bench) -> None:
    lane = bench.comes()
    bench.nodes[0].answer(GETUSER=LOST)
    assert lane.narrow

    bench.look(GET=LOST)
    assert lane.narrow
    bench.look()

    assert not lane.narrow


async def test_it_looks_until_it_is_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.process.rights.LOOK_S", 0)
    bench.comes()
    bench.nodes[0].answer(GETUSER=TEXT, GET=MAY, MGET=MAY)
    running = asyncio.get_running_loop().create_task(bench.rights.run())

    while not bench.nodes[0].asked:
        await asyncio.sleep(0)

    assert bench.nodes[0].asked[0][0] == (b"INFO", b"commandstats")
    running.cancel()
