"""WARM VALUES with tags: the order in which it does things, and what becomes of leases."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from nearhit.commands import warm
from nearhit.commands.tagged import LEASE_MS, PIECE
from nearhit.proxy.errors import ProxyError, ServerError, UpstreamLost
from nearhit.proxy.resp.replies import Value

from tests.shelf import Desk, only, pairs

OOM = ServerError(b"-OOM command not allowed\r\n")
INVALIDATED = b"ERR not stored: the key or a tag was invalidated meanwhile"


class Here(Desk):
    """A desk whose scripts do what those in lua/ do; ``epoch`` is the tag's."""

    def __init__(self, *keys: bytes) -> None:
        super().__init__(*keys)
        self.epoch = b""
        self.given: list[tuple[bytes, ...]] = []
        self.attached: list[Sequence[bytes]] = []
        self.shelf.scripts = {
            "tag_read": lambda keys, args: self.epoch,
            "tag_add": self.add,
            "give": self.give,
            "settle": self.settle,
        }

    def add(self, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        self.attached.append(args)
        return [self.epoch, 0]

    def give(self, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        self.given.append((keys[0], *args[1:]))
        return 1 if self.shelf.held.pop(keys[1], None) == args[0] else -1

    def settle(self, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        return int(self.shelf.held.pop(keys[1], None) is not None)

    async def warm(self, *words: bytes) -> list[Value]:
        reply = await self.run(warm, b"WARM", *words)
        return [*only(reply, "loaded", "failed"), reply["errors"]]


async def test_leases_are_taken_then_the_key_is_attached_then_stored() -> None:
    desk = Here()

    assert await desk.warm(b"TAG", b"t", b"VALUES", b"a", b"1") == [1, 0, []]

    assert [entry[0] for entry in desk.journal] == [
        *("tag_read", "void", b"EXISTS", b"SET", "tag_add", "give", "void"),
    ]
    (taken,) = desk.did(b"SET")
    assert taken[1] == b"lease:{a}"
    assert taken[2].startswith(b"t")  # as take.lua has it: a lease, and no memory of a load
    assert taken[3:] == (b"PX", b"%d" % LEASE_MS)
    assert desk.journal[-1] == ("void", b"a", b"lease:{a}")
    assert desk.given == [(b"a", b"1", b"", b"NX")]
    assert desk.shelf.held == {}


async def test_keys_are_under_their_tags_for_as_long_as_they_last() -> None:
    desk = Here()

    await desk.warm(*b"PX 1000 TAG t TAG u REFRESH VALUES".split(), *pairs(b"a", b"b", b"c"))

    ends = [word for key, _, ttl, _ in desk.given for word in (key, b"PX", ttl)]
    assert [[*args[2:]] for args in desk.attached] == [ends] * 2
    assert {key for key, *_ in desk.given} == {b"a", b"b", b"c"}
    assert {how for *_, how in desk.given} == {b""}


async def test_what_stands_is_skipped_and_gets_no_tag() -> None:
    desk = Here(b"a")

    reply = await desk.run(warm, *b"WARM TAG t VALUES a 1 b 2".split())

    assert only(reply, "loaded", "skipped") == [1, 1]
    assert [args[2:] for args in desk.attached] == [(b"b", b"", b"")]
    assert desk.shelf.held == {b"a": b"old"}


async def test_of_what_stands_everywhere_no_lease_is_taken() -> None:
    desk = Here(b"a")

    assert await desk.warm(*b"TAG t VALUES a 1".split()) == [0, 0, []]
    assert not desk.did(b"SET")


async def test_a_key_that_may_not_be_looked_at_fails_alone() -> None:
    desk = Here()
    desk.shelf.refuse = lambda words: OOM if words == [b"EXISTS", b"a"] else None

    assert await desk.warm(*b"TAG t VALUES a 1 b 2".split()) == [
        *(1, 1, [[b"a", b"OOM command not allowed"]]),
    ]


async def test_an_invalidation_before_the_key_is_attached_refuses_the_value() -> None:
    desk = Here()
    desk.shelf.refuse = lambda words: setattr(desk, "epoch", b"7")  # as the first is asked

    answer = await desk.warm(*b"TAG t VALUES a 1 b 2".split())

    assert answer == [0, 2, [[b"a", INVALIDATED], [b"b", INVALIDATED]]]
    assert desk.given == []
    assert desk.shelf.held == {}  # nobody waits for a lease that is nobody's


async def test_an_invalidation_behind_it_takes_the_lease() -> None:
    desk = Here()

    def add(keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        desk.shelf.held[b"lease:{a}"] = b"t of another"
        return [b"", -1]

    desk.shelf.scripts["tag_add"] = add
    desk.shelf.scripts["settle"] = lambda keys, args: 0

    answer = await desk.warm(*b"TAG t VALUES a 1 b 2".split())

    assert answer == [1, 1, [[b"a", INVALIDATED]]]


@pytest.mark.parametrize("where", ["tag_add", "give"])
async def test_what_the_server_refuses_leaves_no_lease(where: str) -> None:
    desk = Here()
    desk.shelf.scripts[where] = lambda keys, args: OOM

    answer = await desk.warm(*b"TAG t VALUES a 1".split())

    assert answer == [0, 1, [[b"a", b"OOM command not allowed"]]]
    assert desk.shelf.held == {}


async def test_a_lease_that_the_server_refuses_is_the_answer() -> None:
    desk = Here()
    desk.shelf.refuse = lambda words: OOM if words[0] == b"SET" else None

    assert await desk.warm(*b"TAG t VALUES a 1".split()) == [
        *(0, 1, [[b"a", b"OOM command not allowed"]]),
    ]


async def test_loads_are_voided_also_when_the_connection_is_lost() -> None:
    desk = Here()
    lost = UpstreamLost("s")
    desk.shelf.scripts["tag_add"] = lambda keys, args: lost
    desk.shelf.scripts["settle"] = lambda keys, args: lost

    await desk.warm(*b"TAG t VALUES a 1".split())

    assert desk.journal[-1] == ("void", b"a", b"lease:{a}")


async def test_an_epoch_that_cannot_be_read_fails_the_whole() -> None:
    desk = Here()
    desk.shelf.scripts["tag_read"] = lambda keys, args: OOM

    with pytest.raises(ProxyError, match="OOM"):
        await desk.warm(*b"TAG t VALUES a 1".split())

    assert not desk.did(b"SET")


async def test_many_values_go_in_pieces_and_a_key_is_in_each_once() -> None:
    desk = Here()
    keys = [b"%03d" % number for number in range(PIECE + 1)]

    loaded, *_ = await desk.warm(b"TAG", b"t", b"VALUES", *pairs(*keys, keys[-1]))

    assert loaded == PIECE + 2
    assert [(len(args) - 2) // 3 for args in desk.attached] == [PIECE, 1, 1]
