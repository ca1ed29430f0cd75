"""Valkey's cluster-databases: several databases behind one endpoint, each by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nearhit.proxy.resp.replies import parsed

from tests.clusters import Cluster, key_in
from tests.servers import Process, nearhit, wait_for
from tests.wire.link import Link

pytestmark = [
    pytest.mark.waits,
    pytest.mark.parametrize("engine", ["valkey"], indirect=True),
]
SLOT = 100
KEYS = [key_in(slot) for slot in (SLOT, 6000, 12000)]
DBS = (0, 3, 15)


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(cluster.url, "--near-cache", "8mb") as process:
        yield process


@pytest.fixture
def links(proxy: Process) -> Iterator[dict[int, Link]]:
    """A client in each database, whose keys say where they are."""
    made = {db: Link(proxy.port) for db in DBS}
    for db, link in made.items():
        wait_for(lambda link=link, db=db: link.ask("SELECT", db) == b"+OK\r\n", 5, "a map")  # type: ignore[misc]
        for key in KEYS:
            assert link.ask("SET", key, f"in {db}") == b"+OK\r\n"
    yield made
    for link in made.values():
        link.close()


def told(db: int) -> bytes:
    text = b"in %d" % db
    return b"$%d\r\n%b\r\n" % (len(text), text)


def fill(links: dict[int, Link]) -> None:
    """All of it stands near."""

    def stand() -> bool:
        for _ in range(4):  # the first after INFO are not kept: they might be older than it
            for db, link in links.items():
                assert [link.ask("GET", key) for key in KEYS] == [told(db)] * 3
        info = links[0].ask("INFO", "nearhit")
        count = int(info.partition(b"near_entries:")[2].split(b"\r\n")[0])
        return count >= len(KEYS) * len(links)

    wait_for(stand, 5, "all stand in the near cache")


def test_each_database_has_its_own_keys(cluster: Cluster, links: dict[int, Link]) -> None:
    fill(links)

    for db, link in links.items():
        assert [link.ask("GET", key) for key in KEYS] == [told(db)] * 3
        assert link.ask("DBSIZE") == b":3\r\n"
        assert set(parsed(link.ask("KEYS", "*"))) == set(KEYS)  # type: ignore[arg-type]
    assert links[0].ask("SELECT", 16).startswith(b"-ERR DB index is out of range")
    assert links[0].ask("COPY", KEYS[0], KEYS[0], "DB", 3, "REPLACE") == b":1\r\n"
    assert links[3].ask("GET", KEYS[0]) == told(0), "what stood near in that database is old"


def test_flushdb_empties_one_on_all_nodes(cluster: Cluster, links: dict[int, Link]) -> None:
    fill(links)

    assert links[3].ask("FLUSHDB") == b"+OK\r\n"

    sizes = {db: link.ask("DBSIZE") for db, link in links.items()}
    assert sizes == {0: b":3\r\n", 3: b":0\r\n", 15: b":3\r\n"}
    values = {db: link.ask("GET", KEYS[1]) for db, link in links.items()}
    assert values == {0: told(0), 3: b"$-1\r\n", 15: told(15)}


def test_a_slot_of_several_databases_moves_with_all_of_them(
    cluster: Cluster, links: dict[int, Link]
) -> None:
    """Written at its new owner by somebody else, what stood near is not served."""
    fill(links)
    target = cluster.nodes[1]

    cluster.migrate(SLOT, SLOT, target)

    for db, link in links.items():
        assert link.ask("GET", KEYS[0]) == told(db)
    direct = Link(target.port)
    for db in DBS:
        direct.ask("SELECT", db)
        assert direct.ask("SET", KEYS[0], "new") == b"+OK\r\n"
    direct.close()
    for db, link in links.items():
        wait_for(lambda link=link: link.ask("GET", KEYS[0]) == b"$3\r\nnew\r\n", 2, f"new in {db}")  # type: ignore[misc]
        assert link.ask("GET", KEYS[1]) == told(db)
