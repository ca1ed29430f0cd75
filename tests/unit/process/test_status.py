"""What the status page shows, of parts that are wired and servers that are scripts."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nearhit.proxy.errors import ProxyError, ServerError, UpstreamLost
from nearhit.proxy.jobs.board import Owner, Record
from nearhit.proxy.process import status as module
from nearhit.proxy.process.status import HOT_MOST, VALUE_MOST, Status

from .showing import KEY, World


async def shown(status: Status) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", await status.show())


def status_of(world: World) -> Status:
    return Status(world.parts, None, lambda: world.now)


@pytest.fixture
def world() -> World:
    return World()


async def test_it_shows_rates_and_sums(world: World) -> None:
    status = status_of(world)
    world.stats.add("commands", 40)
    world.stats.add("hits", 3)
    world.stats.add("misses", 1)
    world.now += 2
    status.tick()
    world.now += 0.5

    found = await shown(status)

    assert found["stats"]["hit_ratio"] == 0.75
    assert found["stats"]["commands"] == 40
    assert found["stats"]["tracking"] == "off"
    assert found["history"]["commands"] == [20.0]
    assert found["history"]["at"] == [-0.5]
    assert found["near_budget"] == 1000
    assert repr(status) == "<Status <History 2 samples>>"


async def test_hot_keys_are_those_that_the_upstreams_user_may_read(world: World) -> None:
    assert (await shown(status_of(world)))["hot_keys"] == []

    world.hot = [(b"k%d" % n, {"key": b"k%d" % n, "reads": 100 - n}) for n in range(30)]
    world.server.hidden = [b"k0"]
    found = (await shown(status_of(world)))["hot_keys"]

    assert found == [row for _, row in world.hot[1 : HOT_MOST + 1]]


@pytest.mark.parametrize("why", [UpstreamLost("it is gone"), TimeoutError()])
async def test_while_the_server_does_not_say_who_may_see_them_no_key_is_told(
    why: Exception, world: World
) -> None:
    world.hot = [(b"k", {"key": b"k"})]
    world.server.silence = why

    assert (await shown(status_of(world)))["hot_keys"] is None


async def test_a_server_that_is_down_is_not_asked_for_it(world: World) -> None:
    world.hot = [(b"k", {"key": b"k"})]
    world.pool.down = ProxyError(b"-UPSTREAM gone")

    assert (await shown(status_of(world)))["hot_keys"] is None


async def test_jobs_are_those_of_the_upstreams_user_without_each_failure(world: World) -> None:
    result = {"loaded": 2, "errors": [b"k: no"]}
    world.jobs = [
        Record("1", Owner(3), "WARM", "running", 5, result),
        Record("2", Owner(3, b"ann"), "WARM", "running", 5, result),
    ]

    (job,) = (await shown(status_of(world)))["jobs"]

    assert job == {
        "id": "1",
        "command": "WARM",
        "state": b"running",
        "total": 5,
        "loaded": 2,
        "error": None,
    }


async def test_who_would_have_to_log_in_sees_nothing(world: World) -> None:
    status = status_of(world)
    world.pool.is_locked = True

    with pytest.raises(ServerError, match="NOAUTH"):
        await status.show()
    with pytest.raises(ServerError, match="NOAUTH"):
        await status.key(KEY)


async def test_a_string_is_shown_shortened(world: World) -> None:
    world.loader = SimpleNamespace(name="users", kind="url", tags=lambda key: [b"t"])

    assert await status_of(world).key(KEY) == {
        "type": "string",
        "size": 2000,
        "value": b"value",
        "shown": VALUE_MOST,
        "ttl_ms": 1500,
        "loader": "users",
        "loads_from": "url",
        "tags": [b"t"],
        "lease": None,
    }


@pytest.mark.parametrize(("kind", "size"), [(b"hash", 4), ("none", None)])
async def test_of_another_type_only_the_size_is_shown(
    kind: object, size: int | None, world: World
) -> None:
    world.near = world.parts.context.near = None
    world.server.answers |= {(b"TYPE", KEY): kind, (b"HLEN", KEY): 4}

    status = status_of(world)
    found = await status.key(KEY)

    assert (await shown(status))["near_budget"] is None
    assert (found["size"], found["value"], found["loader"], found["tags"]) == (size, None, None, [])


@pytest.mark.parametrize(
    ("stands", "state"),
    [(b"t0a3c55", "held"), (b"n", "not found"), (b"eLOADERR it said", "failed")],
)
async def test_a_lease_is_shown_and_never_its_token(
    stands: bytes, state: str, world: World
) -> None:
    lease = b"lease:{user:1}"
    world.server.answers |= {(b"GET", lease): stands, (b"PTTL", lease): 70}

    found = await status_of(world).key(KEY)

    assert found["lease"] == {"state": state, "ms": 70}


def test_every_size_is_of_a_type_that_redis_has() -> None:
    assert set(module.SIZES) == {"string", "list", "set", "zset", "hash", "stream"}
