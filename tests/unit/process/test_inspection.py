"""What a server is found to be for a proxy, by what it says to the URL's user."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from nearhit.proxy.cli.look import started
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.process.inspection import NEEDS, SIDE_KEYS, Finding, memory_of, shown
from nearhit.proxy.settings.config import load

from tests.clusters import cluster
from tests.servers import HOST, Process, any_kind, upstream
from tests.wire.link import Link


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with upstream(any_kind()) as process:
        yield process


def found(url: str, **flags: str) -> dict[str, list[Finding]]:
    """The findings by their names."""

    async def look() -> list[Finding]:
        config = load({"upstream": url, **flags}, {}, lambda _: "")
        async with started(config, url) as made:
            return await made.inspected()

    findings: dict[str, list[Finding]] = {}
    for one in asyncio.run(look()):
        findings.setdefault(one.name, []).append(one)
    return findings


def user(server: Process, name: str, rules: str) -> str:
    """The URL of a user with these rules."""
    direct = Link(server.port)
    assert direct.ask("ACL", "SETUSER", name, "reset", "on", ">pw", *rules.split()) == b"+OK\r\n"
    direct.close()
    return f"redis://{name}:pw@{HOST}:{server.port}"


def test_a_server_that_a_proxy_can_use_is_told_to_be_so(server: Process) -> None:
    said = found(f"redis://{HOST}:{server.port}")

    assert [one.value for one in said["tracking"]] == ["on"]
    assert said["maxmemory_policy"] == [
        Finding("maxmemory_policy", "noeviction", "of no effect: maxmemory is 0")
    ]
    assert [one.value for one in said["rights"]] == ["enough"]
    assert "may not" not in said


def test_each_right_that_is_missing_is_told_with_the_rule_that_mends_it(server: Process) -> None:
    url = user(server, "narrow", "~* +@all -client|tracking -eval -time -acl|getuser")

    said = found(url)

    assert [one.value for one in said["may not"]] == [
        "CLIENT TRACKING",
        "EVAL",
        "TIME",
        "ACL GETUSER",
    ]
    assert said["may not"][1].remark.endswith("ACL SETUSER narrow +eval")
    assert [one.value for one in said["tracking"]] == ["off"]
    assert "+client" in said["tracking"][0].remark


def test_keys_of_the_proxys_own_are_looked_at_where_all_others_are_allowed(
    server: Process,
) -> None:
    some = found(user(server, "some", "~shop:* +@all"))
    readable = found(user(server, "readable", "~nearhit ~lease:* ~fence:* +@all"))

    assert [one.value for one in some["keys"]] == ["some"]
    assert "may not" not in some
    assert [one.value for one in readable["may not"]] == ["GET lock:{nearhit}"]


def test_a_user_who_may_not_ask_is_told_so(server: Process) -> None:
    said = found(user(server, "mute", "~* +@all -acl"))

    assert [one.value for one in said["rights"]] == ["not told"]
    assert "+acl|dryrun" in said["rights"][0].remark


def test_without_a_near_cache_tracking_is_not_wanted(server: Process) -> None:
    said = found(f"redis://{HOST}:{server.port}", near_cache="off")

    assert [one.value for one in said["tracking"]] == ["not wanted"]


def test_the_shards_of_a_cluster_are_told() -> None:
    with cluster(any_kind(), 2, 0) as made:
        ports = [node.port for node in made.nodes]
        said = found(f"redis-cluster://{HOST}:{ports[0]}")

    assert sorted(one.value for one in said["shard"]) == sorted(f"{HOST}:{port}" for port in ports)
    assert {one.remark for one in said["shard"]} == {"no replica"}
    assert [one.value for one in said["tracking"]] == ["on"]


@pytest.mark.parametrize(
    ("info", "remark"),
    [
        (b"# M\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", "of no effect"),
        (b"# M\r\nmaxmemory:9\r\nmaxmemory_policy:allkeys-lru\r\n", "may evict locks"),
        (b"# M\r\nmaxmemory:9\r\nmaxmemory_policy:volatile-ttl\r\n", "may evict locks"),
        (b"# M\r\nmaxmemory:9\r\nmaxmemory_policy:noeviction\r\n", "when memory is full"),
    ],
)
def test_what_a_server_evicts_is_told_with_what_follows(info: bytes, remark: str) -> None:
    (one,) = memory_of(info)

    assert one.remark.startswith(remark)


def test_where_that_is_not_known_nothing_is_told() -> None:
    assert not list(memory_of(b"-NOPERM no\r\n"))
    assert not list(memory_of(UpstreamLost("a test")))


def test_commands_are_named_as_people_say_them() -> None:
    names = [shown(need.words) for need in (*NEEDS, *SIDE_KEYS)]

    assert names == [
        *("PING", "COMMAND", "INFO", "HELLO", "CLIENT TRACKING", "CLIENT CACHING", "PTTL"),
        *("EVALSHA", "EVAL", "TIME", "ROLE", "ACL GETUSER"),
        *("GET lease:{nearhit}", "GET lock:{nearhit}", "GET fence:{nearhit}"),
    ]
