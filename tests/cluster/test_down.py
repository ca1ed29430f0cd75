"""Parts of a cluster that are away, from the start or for good."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import clusters
from tests.clusters import SLOTS, Cluster, key_in, slot_of
from tests.servers import HOST, Process, free_port, nearhit, wait_for
from tests.wire.frames import children, payload
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits
FIRST, SECOND = key_in(0), key_in(16000)
LOADERS = """
[loaders.made]
match = "made:{id}"
demo = true
read_through = true

[loaders.strict]
match = "strict:{id}"
demo = true
fail_open = false
"""


@pytest.fixture(scope="module", params=["redis", "valkey"])
def partial(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two primaries without replicas; what is there is served though the other is not. No node is
    declared failed while a test lasts: which error is told would hang on when."""
    options = {"cluster_require_full_coverage": "no", "cluster_node_timeout": "300000"}
    with clusters.cluster(request.param, 2, 0, **options) as made:
        yield made


def test_a_shard_that_is_down_costs_its_own_slots_alone(partial: Cluster, tmp_path: Path) -> None:
    """And of those with a loader, which answers, nothing."""
    config = tmp_path / "nearhit.toml"
    config.write_text(LOADERS)
    flags = ("--near-cache", "off", "--upstream-timeout", "1s", "--config", str(config))
    http = free_port()
    with nearhit(partial.url, *flags, "--http", f"{HOST}:{http}") as proxy:
        link, other = Link(proxy.port), Link(proxy.port)
        assert link.ask("SET", FIRST, "1") == link.ask("SET", SECOND, "2") == b"+OK\r\n"
        partial.nodes[0].kill()
        for _ in range(20):
            assert other.ask("GET", SECOND) == b"$1\r\n2\r\n"
        answer = link.ask("GET", FIRST, seconds=15)
        assert answer.startswith((b"-UPSTREAM", b"-CLUSTERDOWN")), answer
        lost, there = (of_node(b"made:%d", node) for node in (0, 1))
        made = [b"demo value of " + key for key in (lost, there)]
        first, second = (b"$%d\r\n%b\r\n" % (len(value), value) for value in made)
        link.ask("HELLO", 2 if partial.kind == "redis" else 3)  # each costs its waits
        assert link.ask("GETORSET", lost, seconds=15) == first
        for words in (("MGETORSET", 2), ("MGET",)):
            assert link.ask(*words, lost, there, seconds=15) == b"*2\r\n" + first + second
        link.ask("HELLO", 2)
        strict = link.ask("GETORSET", of_node(b"strict:%d", 0), seconds=15)
        assert strict.startswith((b"-UPSTREAM", b"-CLUSTERDOWN")), strict
        assert over_http(http, lost) == (200, made[0].decode())

        partial.nodes[0].start()

        wait_for(lambda: link.ask("GET", FIRST, seconds=15) == b"$-1\r\n", 20, "it is back")
        link.close()
        other.close()


@pytest.mark.parametrize("whole", ["no", "yes"])
def test_loaders_answer_for_slots_that_the_cluster_has_given_up(
    single: Cluster, tmp_path: Path, whole: str
) -> None:
    """``whole``: then it answers for no slot any more. Who has no loader waits in vain first."""
    config = tmp_path / "nearhit.toml"
    config.write_text(LOADERS)
    http, node = free_port(), single.nodes[0]
    flags = ("--upstream-timeout", "4s", "--config", str(config), "--http", f"{HOST}:{http}")
    lost, there = b"made:1", b"made:2"
    values = [b"demo value of " + key for key in (lost, there)]
    first, second = (b"$%d\r\n%b\r\n" % (len(value), value) for value in values)
    node.ask("CONFIG", "SET", "cluster-require-full-coverage", whole)
    with nearhit(single.url, *flags) as proxy:
        link, plain, strict = (Link(proxy.port) for _ in range(3))
        assert link.ask("GETORSET", there) == second
        node.ask("CLUSTER", "DELSLOTS", slot_of(lost), slot_of(b"strict:1"))
        plain.send(command("GET", b"plain{%b}" % lost))
        strict.send(command("GETORSET", b"strict:1"))

        for words in (("GETORSET", lost), ("GET", lost)):
            assert link.ask(*words, seconds=3) == first
        for words in (("MGETORSET", 2, lost, there), ("MGET", lost, there)):
            assert link.ask(*words, seconds=3) == b"*2\r\n" + first + second
        link.send(b"".join(command("GETORSET", key) for key in (there, lost, there)))
        assert link.read(3, 3) == [second, first, second]
        assert over_http(http, lost) == (200, values[0].decode())
        refused = (
            b"-CLUSTERDOWN Hash slot not served\r\n",
            b"-CLUSTERDOWN The cluster is down\r\n",
        )
        assert plain.read(1, 10)[0] in refused
        assert strict.read(1, 10)[0] in refused

        node.ask("CLUSTER", "ADDSLOTS", slot_of(lost), slot_of(b"strict:1"))
        wait_for(lambda: stored(link, lost, first) == b":1\r\n", 10, "it is stored again")
        assert int(stats(link)[b"unstored"]) >= 6
        for each in (link, plain, strict):
            each.close()


def stats(link: Link) -> dict[bytes, bytes]:
    _, words = children(link.ask("STATS"))
    return dict(zip(map(payload, words[::2]), map(payload, words[1::2]), strict=True))


def stored(link: Link, key: bytes, reply: bytes) -> bytes:
    assert link.ask("GETORSET", key) == reply
    return link.ask("EXISTS", key, seconds=10)


def of_node(name: bytes, node: int) -> bytes:
    """A key of that name whose slot one of the two nodes has."""
    return next(key for n in range(99) if slot_of(key := name % n) * 2 // SLOTS == node)


def over_http(port: int, key: bytes) -> tuple[int, str | None]:
    with contextlib.closing(HTTPConnection(HOST, port, timeout=15)) as link:
        link.request("GET", f"/api/cache/{quote(key)}")
        answer = link.getresponse()
        return answer.status, json.loads(answer.read()).get("value")


def test_seeds_that_come_later_are_found(partial: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def listens(process: Process) -> bool:
        with contextlib.suppress(OSError):
            Link(process.port).close()
            return True
        return False

    partial.reset()
    for member in partial.nodes:
        member.kill()
    with monkeypatch.context() as patch:
        patch.setattr(Process, "answers", listens)
        started = nearhit(partial.url, "--near-cache", "off")
        proxy = started.__enter__()
    try:
        link = Link(proxy.port)
        assert link.ask("GET", FIRST, seconds=10).startswith(b"-UPSTREAM no connection")
        for member in partial.nodes:
            member.start()
        wait_for(lambda: link.ask("GET", FIRST, seconds=15) == b"$-1\r\n", 20, "it is there")
        assert link.ask("SET", SECOND, "2", seconds=15) == b"+OK\r\n"
        link.close()
    finally:
        started.__exit__(None, None, None)
