"""Parts of a cluster that are away, from the start or for good."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests import clusters
from tests.clusters import Cluster, key_in
from tests.servers import Process, nearhit, wait_for
from tests.wire.link import Link

pytestmark = pytest.mark.waits
FIRST, SECOND = key_in(0), key_in(16000)


@pytest.fixture(scope="module", params=["redis", "valkey"])
def partial(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two primaries without replicas; what is there is served though the other is not."""
    with clusters.cluster(request.param, 2, 0, cluster_require_full_coverage="no") as made:
        yield made


def test_a_shard_that_is_down_costs_its_own_slots_alone(partial: Cluster) -> None:
    with nearhit(partial.url, "--near-cache", "off", "--upstream-timeout", "2s") as proxy:
        link, other = Link(proxy.port), Link(proxy.port)
        assert link.ask("SET", FIRST, "1") == link.ask("SET", SECOND, "2") == b"+OK\r\n"
        partial.nodes[0].kill()
        for _ in range(20):
            assert other.ask("GET", SECOND) == b"$1\r\n2\r\n"
        answer = link.ask("GET", FIRST, seconds=15)
        assert answer.startswith((b"-UPSTREAM", b"-CLUSTERDOWN")), answer

        partial.nodes[0].start()

        wait_for(lambda: link.ask("GET", FIRST, seconds=15) == b"$-1\r\n", 20, "it is back")
        link.close()
        other.close()


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
