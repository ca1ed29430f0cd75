"""A slot half of whose keys are at one node and half at another, as clients meet it: not at all,
where a command may be cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters import Cluster, Move, key_in
from tests.servers import nearhit, wait_for
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits
SLOT = 100
THERE, HERE, NOWHERE = (key_in(SLOT, name) for name in (b"there", b"here", b"nowhere"))
OTHER = key_in(9000)


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Link]:
    with nearhit(cluster.url, "--near-cache", "off") as proxy:
        link = Link(proxy.port)
        wait_for(lambda: link.ask("GET", HERE) == b"$-1\r\n", 5, "the proxy knows the cluster")
        yield link
        link.close()


@pytest.fixture
def move(cluster: Cluster, client: Link) -> Move:
    for key in (THERE, HERE, OTHER):
        client.ask("SET", key, "v")
    return cluster.move(SLOT, cluster.nodes[1]).begin().keys(THERE)


def test_keys_at_two_nodes_are_read_and_written_one_by_one(client: Link, move: Move) -> None:
    assert client.ask("MGET", THERE, HERE, NOWHERE, THERE) == (
        b"*4\r\n$1\r\nv\r\n$1\r\nv\r\n$-1\r\n$1\r\nv\r\n"
    )
    assert client.ask("MGET", OTHER, THERE, OTHER, HERE) == b"*4\r\n" + b"$1\r\nv\r\n" * 4
    assert client.ask("EXISTS", THERE, HERE, NOWHERE) == b":2\r\n"
    assert client.ask("TOUCH", HERE, THERE) == b":2\r\n"
    assert client.ask("MSET", HERE, "1", THERE, "2", THERE, "3") == b"+OK\r\n"
    client.send(
        command("GET", THERE)
        + command("GET", HERE)
        + command("DEL", HERE, THERE, OTHER)
        + command("MGET", HERE, THERE, OTHER)
    )
    assert client.read(4, 10) == [
        b"$1\r\n3\r\n",
        b"$1\r\n1\r\n",
        b":3\r\n",
        b"*3\r\n" + b"$-1\r\n" * 3,
    ]


def test_what_cannot_be_cut_waits_a_little_and_says_so(client: Link, move: Move) -> None:
    assert client.ask("RENAME", THERE, HERE) == b"-TRYAGAIN the slot moves between nodes\r\n"

    move.keys().finish()

    assert client.ask("RENAME", THERE, HERE) == b"+OK\r\n"
    assert client.ask("MGET", THERE, HERE) == b"*2\r\n$-1\r\n$1\r\nv\r\n"


def test_a_request_is_whole_again_as_soon_as_its_keys_are(client: Link, move: Move) -> None:
    client.send(command("MSETNX", HERE, "x", NOWHERE, "x") + command("UNLINK", HERE, THERE))
    assert client.read(2, 10) == [b"-TRYAGAIN the slot moves between nodes\r\n", b":2\r\n"]

    move.finish()

    assert client.ask("MSETNX", HERE, "1", THERE, "2") == b":1\r\n"
