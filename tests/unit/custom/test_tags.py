"""Tags: what is asked for, in which order, and what refuses a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest
from nearhit.lua import Script
from nearhit.proxy.custom import tags
from nearhit.proxy.custom.spec import Expiry
from nearhit.proxy.errors import BadInput, OddReply
from nearhit.proxy.resp.replies import Value

K: Final = [(b"k", None)]


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

    def removing(self, count: int) -> Any:
        async def remove(keys: Sequence[bytes]) -> int:
            self.asked.append(("remove", *keys))
            return count

        return remove

    @property
    def order(self) -> list[Any]:
        return [entry[0] for entry in self.asked]


# --- Storing ----------------------------------------------------------------------------------


def test_tags_count_once_each() -> None:
    assert tags.checked([b"b", b"a", b"b"]) == (b"b", b"a")
    assert len(tags.checked([b"%d" % n for n in range(16)] * 2)) == 16


@pytest.mark.parametrize("bad", [[b""], [b"}a"], [b"%d" % n for n in range(17)]])
def test_what_cannot_be_kept_is_refused(bad: list[bytes]) -> None:
    with pytest.raises(BadInput):
        tags.checked(bad)


async def test_keys_are_attached_where_no_epoch_has_changed() -> None:
    server = Server(b"", b"7", [b"", -1], [b"7", 5])

    known = await tags.epochs(server, [b"a", b"b"])
    keys = [(b"k", Expiry(b"PX", 9)), (b"l", None)]
    attached = await tags.attach(server, keys, [b"a", b"b"], known, 100)

    assert attached
    assert server.asked[:2] == [("tag_read", b"tagepoch:{a}"), ("tag_read", b"tagepoch:{b}")]
    name, tag, epoch, *args = server.asked[2]
    assert (name, tag, epoch) == ("tag_add", b"tag:{a}", b"tagepoch:{a}")
    assert [args[0], *args[2:]] == [b"100", b"k", b"PX", b"9", b"l", b"", b""]


async def test_what_has_no_tags_asks_nothing() -> None:
    server = Server()

    assert await tags.attach(server, K, [], await tags.epochs(server, []), 100)
    assert server.asked == []


async def test_an_invalidation_since_refuses_the_value() -> None:
    server = Server([b"8", 0])

    assert not await tags.attach(server, K, [b"a"], [b"7"], 100)


@pytest.mark.parametrize(("age", "fits"), [(-1, True), (0, False), (5000, False), (5001, True)])
async def test_who_knows_no_epoch_tells_how_long_ago_it_began(age: int, fits: bool) -> None:
    server = Server([b"8" if age >= 0 else b"", age])

    assert await tags.attach_aged(server, K, [b"a"], lambda: 5.0, 100) is fits


@pytest.mark.parametrize("odd", [None, [b"7"], [b"7", b"5"], b"7"])
async def test_an_odd_answer_attaches_nothing(odd: Value) -> None:
    with pytest.raises(OddReply):
        await tags.attach(Server(odd), K, [b"a"], [b"7"], 100)


async def test_what_has_ended_is_forgotten_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.015)
    server = Server([b"", -1], [b"", -1])

    await tags.attach(server, K, [b"a"], [b""], 100)
    await tags.attach(server, [*K, *K], [b"a"], [b""], 100)

    assert [entry[4] for entry in server.asked] == [b"", b"1"]  # once in a hundred keys


# --- Invalidating -----------------------------------------------------------------------------


async def test_all_epochs_change_before_the_first_key_goes() -> None:
    server = Server([b"p1"], [b"p2", b"p3"], [b"k"], 1, [], 1, [], 1, [], 1)

    apart = await tags.close(server, [b"a", b"b"])
    removed = await tags.drain(server, apart, server.removing(1))

    assert apart == [(b"a", b"p1"), (b"b", b"p2"), (b"b", b"p3")]
    assert removed == 1
    assert server.order == [
        *("tag_close", "tag_close", b"ZRANGE", "remove", b"ZREM", b"ZRANGE", b"SREM"),
        *(b"ZRANGE", b"SREM", b"ZRANGE", b"SREM"),
    ]


async def test_what_is_set_apart_has_a_name_that_none_has() -> None:
    server = Server([], [])

    await tags.close(server, [b"a"])
    await tags.close(server, [b"a"])

    (one, other) = (entry[4] for entry in server.asked)
    assert one != other
    assert one.startswith(b"tagclosed:{a}:")
    assert server.asked[0][1:4] == (b"tag:{a}", b"tagepoch:{a}", b"tagclosed:{a}")


async def test_a_key_is_taken_out_once_it_has_been_removed() -> None:
    server = Server([b"k", b"l"], 2, [b"m"], 1, [], 1)

    assert await tags.drain(server, [(b"a", b"p1")], server.removing(1)) == 2
    assert server.asked == [
        (b"ZRANGE", b"p1", b"0", b"249"),
        ("remove", b"k", b"l"),
        (b"ZREM", b"p1", b"k", b"l"),
        (b"ZRANGE", b"p1", b"0", b"249"),
        ("remove", b"m"),
        (b"ZREM", b"p1", b"m"),
        (b"ZRANGE", b"p1", b"0", b"249"),
        (b"SREM", b"tagclosed:{a}", b"p1"),
    ]


async def test_keys_that_become_stale_stay_under_their_tag() -> None:
    server = Server(b"7", [b"3", [b"k", b"1"]], [b"0", [b"l", b"2"]], [b"p1"], [b"0", []])

    await tags.refuse(server, [b"a"])
    assert await tags.visit(server, [b"a"], server.removing(1)) == 2

    assert server.asked == [
        ("tag_soft", b"tagepoch:{a}", tags.REMEMBERED_MS),
        (b"ZSCAN", b"tag:{a}", b"0", b"COUNT", b"250"),
        ("remove", b"k"),
        (b"ZSCAN", b"tag:{a}", b"3", b"COUNT", b"250"),
        ("remove", b"l"),
        (b"SMEMBERS", b"tagclosed:{a}"),
        (b"ZSCAN", b"p1", b"0", b"COUNT", b"250"),
    ]
