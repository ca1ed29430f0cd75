"""What is learnt from the server: read by pure functions, and brought to all sessions."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.errors import ProxyError, UpstreamDown
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.process.upstream_facts import (
    LEARN_EVERY,
    UpstreamFacts,
    Version,
    table_of,
    version_of,
)
from nearhit.proxy.resp.requests import Dialect
from nearhit.proxy.session.client_lines import FIELDS
from nearhit.proxy.table.table import Ours
from nearhit.proxy.upstream.ask import Done, Reply
from nearhit.proxy.upstream.lanes import PINNED_DEFAULT

from tests.fakes import World

REDIS_6 = b"$43\r\n# Server\r\nredis_version:6.2.14\r\nos:Linux: 6\r\n\r\n"
REDIS_7 = b"$30\r\n# Server\r\nredis_version:7.0.15\r\n\r\n"
VALKEY_8 = b"$58\r\n# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.0\r\n\r\n"
VALKEY_9 = b"$58\r\n# Server\r\nredis_version:7.2.4\r\nvalkey_version:9.0.1\r\n\r\n"
GET = b"*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"
SOME = b"*7\r\n$4\r\nsome\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n*0\r\n"
COMMANDS = b"*2\r\n" + GET + SOME
CLIENT = b"$24\r\nid=3 addr=127.0.0.1:1 x=\n\r\n"
NOAUTH = b"-NOAUTH Authentication required.\r\n"


# --- Reading replies --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "version"),
    [
        (REDIS_6, Version("Redis", "6.2.14", 6)),
        (REDIS_7, Version("Redis", "7.0.15", 7)),
        (VALKEY_8, Version("Valkey", "8.1.0", 8)),
        (VALKEY_9, Version("Valkey", "9.0.1", 9)),
        (b"$0\r\nredis_version:255.255.255\r\n", Version("Redis", "255.255.255", 255)),
        (b"$0\r\nvalkey_version:9-rc1\r\n", Version("Valkey", "9-rc1", 9)),
        (b"$0\r\nredis_version:unstable\r\n", Version("Redis", "unstable", 0)),
        (b"$0\r\nredis_version:\xff\r\n", Version("Redis", "\ufffd", 0)),
        (b"$0\r\nredis_version:" + b"9" * 5000 + b"\r\n", Version("Redis", "9" * 5000, 999999999)),
        (NOAUTH, None),
        (b"-NOPERM this user has no permissions: info\r\n", None),
        (b"$0\r\n\r\n", None),
    ],
)
def test_the_version_is_read_whatever_it_is(info: bytes, version: Version | None) -> None:
    assert version_of(info) == version


@pytest.mark.parametrize(
    ("version", "dialect", "can_near"),
    [
        (Version("Redis", "6.2.14", 6), Dialect.REDIS, False),
        (Version("Redis", "7.0.15", 7), Dialect.REDIS, True),
        (Version("Redis", "9.0.0", 9), Dialect.REDIS, True),
        (Version("Redis", "unstable", 0), Dialect.REDIS, False),
        (Version("Valkey", "8.1.0", 8), Dialect.REDIS, True),
        (Version("Valkey", "9.0.1", 9), Dialect.VALKEY, True),
        (Version("Valkey", "unstable", 0), Dialect.REDIS, True),
    ],
)
def test_a_version_says_what_the_server_can(
    version: Version, dialect: Dialect, can_near: bool
) -> None:
    assert (version.dialect, version.can_near) == (dialect, can_near)


def test_the_table_has_the_servers_commands_and_ours() -> None:
    table = table_of(COMMANDS, Ours(near=True))

    assert set(table.commands) == {b"GET", b"SOME"}
    assert table.ours.near


@pytest.mark.parametrize(
    "reply", [NOAUTH, b"*0\r\n", b"*1\r\n:1\r\n", b"!nonsense", b"", b"*2\r\n"]
)
def test_what_is_no_reply_to_command_is_a_value_error(reply: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        table_of(reply, Ours())


# --- Asking for them --------------------------------------------------------------------------


class Asked:
    """Facts of a world whose primary lane is this script."""

    def __init__(self, world: World, workers: int = 1) -> None:
        self.requests: list[tuple[bytes, ...]] = []
        self.answers: list[Done] = []
        self.now = 0.0
        self.learnt = 0
        self.facts = UpstreamFacts(
            world.context,
            self.ask,
            clock=lambda: self.now,
            learnt=self._learnt,
            workers=workers,
        )

    def ask(self, done: Done, /, *words: bytes) -> None:
        self.requests.append(words)
        self.answers.append(done)

    def answer(self, *replies: Reply, clients: Reply = NOAUTH) -> None:
        """Learn, the replies to INFO server, COMMAND and CLIENT INFO being these."""
        self.facts.learn()
        server, *rest = replies
        for done, reply in zip(self.answers, (server, clients, *rest), strict=True):
            done(reply)
        self.answers.clear()

    def _learnt(self) -> None:
        self.learnt += 1


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(near=NearCache(1 << 20, ttl_max=60.0))
    yield world
    await world.close()


@pytest.fixture
def asked(world: World) -> Asked:
    return Asked(world)


async def test_all_is_asked_for_at_once(asked: Asked) -> None:
    asked.facts.learn()

    assert asked.requests == [
        (b"INFO", b"server"),
        (b"INFO", b"clients"),
        (b"COMMAND",),
        (b"CLIENT", b"INFO"),
    ]
    assert asked.learnt == 0


async def test_the_answers_reach_the_context(world: World, asked: Asked) -> None:
    asked.answer(VALKEY_9, COMMANDS, CLIENT)

    assert asked.facts.version == "Valkey 9.0.1"
    assert world.context.dialect is Dialect.VALKEY
    assert world.context.valkey
    assert set(world.context.table.commands) == {b"GET", b"SOME"}
    assert world.context.table.ours.near
    reads = world.context.lanes.dial.reads
    assert reads is world.context.table.repeatable
    assert world.context.fields == (b"id", b"addr", b"x")
    assert not world.context.shows_query
    assert asked.learnt == 1
    assert repr(asked.facts) == "<UpstreamFacts Valkey 9.0.1 near=True>"


async def test_clients_that_are_there_already_go_by_the_new_table() -> None:
    world = World()
    asked = Asked(world)
    client = world.client()
    client.send(b"GET", b"k")
    await world.settle()
    assert world.connections == 1

    asked.answer(VALKEY_8, b"*1\r\n" + GET.replace(b"readonly", b"blocking"), CLIENT)
    world.dial.wires[0].reply(b"$-1\r\n")
    client.send(b"GET", b"k")
    await world.settle()

    assert world.connections == 2  # what blocks has a connection of its own
    await world.close()


async def test_redis_6_reads_nothing_near(
    world: World, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    asked.answer(REDIS_6, COMMANDS, CLIENT)

    assert not world.context.table.ours.near
    assert "near cache off" in caplog.text


async def test_another_server_in_its_place_is_taken_as_what_it_is(
    world: World, asked: Asked
) -> None:
    asked.answer(REDIS_6, COMMANDS, CLIENT)
    asked.answer(VALKEY_9, COMMANDS, CLIENT)
    assert world.context.table.ours.near
    assert world.context.dialect is Dialect.VALKEY

    asked.answer(REDIS_7, COMMANDS, CLIENT)

    assert world.context.dialect is Dialect.REDIS
    assert asked.facts.version == "Redis 7.0.15"


async def test_without_the_near_cache_nobody_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    asked = Asked(world)

    asked.answer(REDIS_6, COMMANDS, CLIENT)

    assert not world.context.table.ours.near
    assert "near cache off" not in caplog.text
    await world.close()


@pytest.mark.parametrize(
    ("answer", "version"),
    [(UpstreamDown("it is away"), "no answer yet"), (NOAUTH, "wants a login")],
)
async def test_a_server_that_tells_nothing_leaves_what_is_known(
    world: World, asked: Asked, answer: Reply, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    table, dialect = world.context.table, world.context.dialect

    asked.answer(answer, answer, answer)

    assert asked.facts.version == version
    assert (world.context.table, world.context.dialect) == (table, dialect)
    assert "upstream gives no COMMAND" in caplog.text
    assert world.context.fields == (() if isinstance(answer, ProxyError) else FIELDS)
    assert asked.learnt == 1


async def test_a_version_that_is_known_outlives_a_server_that_is_away(asked: Asked) -> None:
    asked.answer(VALKEY_9, COMMANDS, CLIENT)

    asked.answer(NOAUTH, NOAUTH, NOAUTH)
    away = UpstreamDown("it is away")
    asked.answer(away, away, away)

    assert asked.facts.version == "Valkey 9.0.1"


@pytest.mark.parametrize(
    ("reply", "pinned"),
    [
        (b"$44\r\n# Clients\r\nmaxclients:10000\r\nblocked_clients:0\r\n\r\n", 7500),
        (b"$44\r\n# Clients\r\nmaxclients:100\r\nblocked_clients:0\r\n\r\n", 68),
        (b"$13\r\n# Clients\r\n\r\n\r\n", PINNED_DEFAULT),
        (NOAUTH, PINNED_DEFAULT),
        (UpstreamDown("away"), PINNED_DEFAULT),
    ],
)
async def test_how_many_lanes_may_be_lent_follows_from_the_servers_maxclients(
    asked: Asked, world: World, reply: Reply, pinned: int
) -> None:
    asked.answer(NOAUTH, NOAUTH, NOAUTH, clients=reply)

    assert world.lanes.pinned_max == pinned


async def test_workers_share_what_the_server_takes(world: World) -> None:
    reply = b"$25\r\n# Clients\r\nmaxclients:4000\r\n\r\n"

    Asked(world, workers=4).answer(NOAUTH, NOAUTH, NOAUTH, clients=reply)

    assert world.lanes.pinned_max == 750


async def test_clients_make_it_ask_again_but_not_at_every_command(asked: Asked) -> None:
    asked.now = 100.0
    asked.facts.learn()
    asked.now += LEARN_EVERY

    asked.facts.learn_again()
    assert len(asked.requests) == 4

    asked.now += 0.1
    asked.facts.learn_again()
    asked.facts.learn_again()
    assert len(asked.requests) == 8


async def test_what_follows_from_other_loaders_is_in_force_at_once(
    world: World, asked: Asked
) -> None:
    asked.answer(VALKEY_9, COMMANDS, CLIENT)
    known = world.context.table.commands

    asked.facts.restate(voids=True, reads_through=True)

    ours = world.context.table.ours
    assert (ours.voids, ours.reads_through) == (True, True)
    assert world.context.table.commands is known
    same = world.context.table
    asked.facts.restate(voids=True, reads_through=True)
    assert world.context.table is same
