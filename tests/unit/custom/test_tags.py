"""Tags: what is asked for, in which order, and what refuses a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from nearhit.lua import Script
from nearhit.proxy.custom import tags
from nearhit.proxy.custom.spec import Expiry
from nearhit.proxy.errors import BadInput
from nearhit.proxy.resp.replies import Value


class Server:
    """Answers from a list, and keeps what was asked."""

    def __init__(self, *answers: Value) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []

    async def ask(self, *words: bytes) -> Value:
        self.asked.append(words)
        return self.answers.pop(0)

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        self.asked.append((script.name, *keys, *args))
        return self.answers.pop(0)

    many: Any = None
    begin: Any = None


def test_tags_count_once_each() -> None:
    assert tags.checked([b"b", b"a", b"b"]) == (b"b", b"a")


@pytest.mark.parametrize("bad", [[b""], [b"}a"], [b"%d" % n for n in range(17)]])
def test_what_cannot_be_kept_is_refused(bad: list[bytes]) -> None:
    with pytest.raises(BadInput):
        tags.checked(bad)


async def test_a_key_is_attached_where_no_epoch_has_changed() -> None:
    server = Server(None, b"7", [b"", -1], [b"7", 5])

    known = await tags.epochs(server, [b"a", b"b"])
    attached = await tags.attach(server, b"k", [b"a", b"b"], Expiry(b"PX", 9), known, 100)

    assert attached
    assert server.asked[:2] == [(b"GET", b"tagepoch:{a}"), (b"GET", b"tagepoch:{b}")]
    assert server.asked[2][:-1] == (
        *("tag_add", b"tag:{a}", b"tagepoch:{a}", b"k", b"PX", b"9", b"100"),
    )


async def test_an_invalidation_since_refuses_the_value() -> None:
    server = Server([b"8", 0])

    assert not await tags.attach(server, b"k", [b"a"], None, [b"7"], 100)


@pytest.mark.parametrize(("age", "fits"), [(-1, True), (0, False), (5000, False), (5001, True)])
async def test_who_knows_no_epoch_tells_how_long_ago_it_began(age: int, fits: bool) -> None:
    server = Server([b"8" if age >= 0 else b"", age])

    assert await tags.attach_aged(server, b"k", [b"a"], None, lambda: 5.0, 100) is fits


async def test_epochs_come_first_and_leases_go_twice() -> None:
    server = Server(1, 1, [b"k"], 1, [], [])
    journal = server.asked

    async def remove(keys: Sequence[bytes]) -> int:
        journal.append(("remove", *keys))
        return 1 if len(journal) < 5 else 0

    assert await tags.drain(server, [b"a", b"b"], remove) == 1
    assert [entry[0] for entry in journal] == [
        *("tag_epoch", "tag_epoch", b"ZRANGE", "remove", b"ZREM", "remove", b"ZRANGE", b"ZRANGE"),
    ]
