"""What one node is asked to hold, and what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Set

from nearhit.proxy.cluster.post import Kind, Name, Post
from nearhit.proxy.errors import ProxyError

from .nodes import World, clustered, key

C, D = (Kind.CHANNEL, b"c"), (Kind.CHANNEL, b"d")
P, S = (Kind.PATTERN, b"p*"), (Kind.SHARD, b"s")


class Office:
    def __init__(self, world: World) -> None:
        self.told: list[object] = []
        self.post = Post(self, world.cluster.pool("n", 1), key())
        for word in (b"subscribe", b"psubscribe", b"ssubscribe"):
            world.nodes[0].say(word, None)

    def confirmed(self, post: Post, names: Set[Name]) -> None:
        self.told.append(("confirmed", sorted(names)))

    def refused(self, post: Post, names: Set[Name], line: bytes) -> None:
        self.told.append(("refused", sorted(names), line))

    def dropped(self, post: Post, name: Name) -> None:
        self.told.append(("dropped", name))

    def message(self, post: Post, kind: Kind, name: bytes, frame: bytes) -> None:
        self.told.append((kind, name, frame))

    def gone(self, post: Post, why: ProxyError) -> None:
        self.told.append("gone")

    async def sync(self, *names: Name) -> None:
        self.post.sync(set(names))
        await asyncio.sleep(0.01)


def frame(word: str, name: str, count: int = 1) -> bytes:
    return f">3\r\n${len(word)}\r\n{word}\r\n${len(name)}\r\n{name}\r\n:{count}\r\n".encode()


async def opened(world: World, *names: Name) -> Office:
    office = Office(world)
    office.post.open()
    await office.sync(*names)
    return office


@clustered
async def test_only_what_has_changed_is_asked(world: World) -> None:
    office = await opened(world, C, P, S)
    assert world.nodes[0].seen == [b"subscribe c", b"psubscribe p*", b"ssubscribe s"]
    world.nodes[0].push(
        frame("subscribe", "c") + frame("psubscribe", "p*", 2) + frame("ssubscribe", "s")
    )
    assert office.told == [("confirmed", [C]), ("confirmed", [P]), ("confirmed", [S])]
    assert office.post.held == {C, P, S}

    world.nodes[0].say(b"unsubscribe", None)
    await office.sync(D, P, S)

    assert world.nodes[0].seen[3:] == [b"subscribe d", b"unsubscribe c"]
    assert office.post.held == {P, S}


@clustered
async def test_a_refusal_is_of_all_that_was_asked_together(world: World) -> None:
    office = await opened(world, C, D)
    world.nodes[0].push(b"-NOPERM no\r\n")

    assert office.told == [("refused", [C, D], b"-NOPERM no\r\n")]
    assert office.post.held == set()


@clustered
async def test_messages_and_the_end_of_a_slot_are_told(world: World) -> None:
    office = await opened(world, C, S)
    world.nodes[0].push(frame("subscribe", "c") + frame("ssubscribe", "s"))
    office.told.clear()
    message = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
    world.nodes[0].push(message + frame("sunsubscribe", "s", 0))
    world.nodes[0].push(b">2\r\n$10\r\ninvalidate\r\n_\r\n")

    assert office.told == [(Kind.CHANNEL, b"c", message), ("dropped", S)]
    assert office.post.held == {C}


@clustered
async def test_its_end_is_told(world: World) -> None:
    office = await opened(world, C)
    world.nodes[0].lose()
    await asyncio.sleep(0.01)

    assert office.told == ["gone"]


@clustered
async def test_who_closes_it_is_told_nothing(world: World) -> None:
    office = await opened(world, C)
    office.post.close()
    await asyncio.sleep(0.01)

    assert office.told == []
    assert world.nodes[0].dial.wires[-1].end == "aborted"
