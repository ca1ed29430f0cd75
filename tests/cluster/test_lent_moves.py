"""Many clients on connections of their own while slots move and a primary is replaced: nothing is
lost, nothing happens twice, and nobody hears of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.clusters import Cluster, key_in, slot_of
from tests.servers import HOST, Process, nearhit, wait_for
from tests.wire.link import Link, command

# On demand: under load and moves for long.
pytestmark = [pytest.mark.waits, pytest.mark.soak]
SLOTS = (100, 101, 102)
POPS = 50


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(cluster.url, env={"NEARHIT_ENV": "production"}) as process:
        yield process


def another(cluster: Cluster, slot: int) -> Any:
    owner = cluster.owner(slot)
    primaries = (one for one in cluster.nodes if one.alive and one.is_primary)
    return next(one for one in primaries if one is not owner)


def test_each_push_is_popped_once(cluster: Cluster, proxy: Process) -> None:
    keys = [key_in(100 + 300 * number, b"q%d" % number) for number in range(POPS)]
    links = [Link(proxy.port) for _ in keys]
    for key, link in zip(keys, links, strict=True):
        link.send(command("BLPOP", key, "30"))
    wait_for(lambda: cluster.blocked == POPS, 10, "all wait")

    cluster.fail_over(cluster.replica_of(cluster.nodes[0]))
    for key in keys[::10]:
        cluster.move_whole(slot_of(key), another(cluster, slot_of(key)))
    wait_for(lambda: cluster.blocked == POPS, 10, "all wait where their slots are")
    writer = Link(proxy.port)
    for key in keys:
        assert writer.ask("RPUSH", key, "v") == b":1\r\n"

    for key, link in zip(keys, links, strict=True):
        assert link.read(1) == [b"*2\r\n$%d\r\n%b\r\n$1\r\nv\r\n" % (len(key), key)]
        link.close()
    assert writer.ask("DBSIZE") == b":0\r\n"
    writer.close()


class Load:
    """Clients that count what they were told is done."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.done: Counter[bytes] = Counter()
        self.errors: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[Any, bytes], None], key: bytes) -> None:
        def run() -> None:
            client: Any = redis.Redis(port=self.port, host=HOST, socket_timeout=20)
            while not self._over.is_set():
                try:
                    work(client, key)
                except redis.RedisError as error:
                    self.errors.append(f"{work.__name__}: {error}")
                else:
                    with self._lock:
                        self.done[key] += 1
            client.close()

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(25)
            assert not thread.is_alive()


def in_one_piece(client: Any, key: bytes) -> None:
    with client.pipeline(transaction=True) as pipe:
        pipe.incr(key).incr(b"2" + key).execute()


def watching(client: Any, key: bytes) -> None:
    def add(pipe: Any) -> None:
        value = int(pipe.get(key) or 0)
        pipe.multi()
        pipe.set(key, value + 1)

    client.transaction(add, key)


def test_transactions_happen_once_each(cluster: Cluster, proxy: Process) -> None:
    load = Load(proxy.port)
    for slot in SLOTS:
        for _ in range(2):
            load.start(in_one_piece, key_in(slot, b"a"))
            load.start(watching, key_in(slot, b"w"))
    try:
        for _ in range(4):
            for slot in SLOTS:
                cluster.move_whole(slot, another(cluster, slot))
        # That all nodes have heard of it takes Redis up to 15 s after so many moves.
        cluster.fail_over(cluster.replica_of(cluster.owner(SLOTS[0])), known=False)
        before = load.done.total()
        wait_for(lambda: load.done.total() > before + 100, 10, "it goes on")
    finally:
        load.stop()

    client: Any = redis.Redis(port=proxy.port, host=HOST)
    assert load.errors == []
    for key, count in load.done.items():
        assert int(client.get(key)) == count
    for slot in SLOTS:
        assert client.get(key_in(slot, b"2a")) == client.get(key_in(slot, b"a"))
    client.close()
