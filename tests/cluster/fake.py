"""A cluster that a test scripts: nodes that answer with what no real cluster says twice alike.

Each node owns its share of the slots, answers CLUSTER SLOTS and INFO, GET and SET, and redirects
what it does not own, until ``say`` tells it what to answer for a key (or to a command) instead:

    node.say(b"k", other.moved(slot))                   once, then as before
    node.say(b"k", other.asks(slot), b"+OK\\r\\n")        the next two times
    node.say(b"k", (b"$5\\r\\nhe", gate, b"llo\\r\\n"))     half; the rest when the gate is opened
    node.say(b"k", (b"$5\\r\\nhe", CLOSE))               half, and no more
    node.say(b"k", ())                                  never

As with a server, what is answered late keeps back what follows on its connection."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from enum import Enum

from nearhit.proxy.cluster.topology import SLOTS
from nearhit.proxy.resp.replies import Value, reply

from tests.adversity.fake import Connection, Fake
from tests.clusters import slot_of
from tests.servers import HOST


class End(Enum):
    CLOSE = 0


CLOSE = End.CLOSE
Gate = threading.Event
Piece = bytes | Gate | End
# Bytes are a whole reply; the last piece of several ends it.
Said = bytes | Sequence[Piece]
OK = b"+OK\r\n"
GATE_S = 20.0  # a gate that nobody opens


class FakeNode(Fake):
    """``asked``: requests to it that are no part of a handshake, nor about the cluster. ``owners``:
    who owns a slot as this node sees it (its share's end, exclusive, and the node)."""

    def __init__(self, number: int) -> None:
        self.id = b"%040d" % number
        self.epoch = 1
        self.owners: list[tuple[int, FakeNode]] = []
        self.data: dict[bytes, bytes] = {}
        self.importing: set[int] = set()  # answered after ASKING
        self._script: dict[bytes, deque[Said]] = defaultdict(deque)
        super().__init__(self._answer)
        info = b"redis_version:7.0.15\r\nredis_mode:cluster\r\ncluster_enabled:1\r\n"
        self.own[b"INFO"] = reply(info, 2)
        del self.own[b"HELLO"]

    @property
    def asked(self) -> list[list[bytes]]:
        return [words for words in self.seen if words[0].upper() not in (b"CLUSTER", b"HELLO")]

    def say(self, key_or_command: bytes, *said: Said) -> None:
        """What it answers to the next requests for that key (their second word), or of that command
        in upper case."""
        self._script[key_or_command].extend(said)

    @property
    def script_left(self) -> int:
        """Answers that were not given yet."""
        return sum(map(len, self._script.values()))

    def owner(self, slot: int) -> FakeNode:
        return next(node for end, node in self.owners if slot < end)

    def moved(self, slot: int) -> bytes:
        """What others say that redirect to this node."""
        return b"-MOVED %d %b:%d\r\n" % (slot, HOST.encode(), self.port)

    def asks(self, slot: int) -> bytes:
        """What others say that send here while a slot moves."""
        return b"-ASK %d %b:%d\r\n" % (slot, HOST.encode(), self.port)

    def _answer(self, connection: Connection, words: list[bytes]) -> bytes | None:
        name = words[0].upper()
        if name == b"HELLO":
            resp = int(words[1]) if len(words) > 1 else connection.state.get("resp", 2)
            connection.state["resp"] = resp
            return reply({"id": 7, "proto": resp}, resp)
        resp = 3 if connection.state.get("resp") == 3 else 2
        if name == b"CLUSTER":
            return self._about(words[1].upper(), resp)
        asking = connection.state.pop("asking", None) is not None
        script = self._script.get(words[1] if len(words) > 1 else name) or self._script.get(name)
        if script:
            return self._perform(connection, script.popleft())
        if name == b"ASKING":
            connection.state["asking"] = True
            return OK
        if name in (b"GET", b"SET"):
            return self._keyed(name, words, asking, resp)
        return b"-ERR the script has no answer to %b\r\n" % b" ".join(words)

    def _about(self, what: bytes, resp: int) -> bytes:
        if what == b"INFO":
            return reply(b"cluster_state:ok\r\ncluster_current_epoch:%d\r\n" % self.epoch, resp)
        if what == b"MYID":
            return reply(self.id, resp)
        if what != b"SLOTS":
            return b"-ERR unknown subcommand\r\n"
        rows: list[Value] = []
        start = 0
        for end, node in self.owners:
            rows.append([start, end - 1, [HOST.encode(), node.port, node.id, []]])
            start = end
        return reply(rows, resp)

    def _keyed(self, name: bytes, words: list[bytes], asking: bool, resp: int) -> bytes:
        slot = slot_of(words[1])
        if self.owner(slot) is not self and not (asking and slot in self.importing):
            return self.owner(slot).moved(slot)
        if name == b"SET":
            self.data[words[1]] = words[2]
            return OK
        return reply(self.data.get(words[1]), resp)

    @staticmethod
    def _perform(connection: Connection, said: Said) -> bytes | None:
        for piece in (said,) if isinstance(said, bytes) else said:
            if isinstance(piece, bytes):
                connection.send(piece)
            elif isinstance(piece, Gate):
                piece.wait(GATE_S)
            else:
                connection.close()
        return None


class FakeCluster:
    """Its nodes, each with an equal share of the slots in order."""

    def __init__(self, count: int) -> None:
        self.nodes = [FakeNode(number) for number in range(count)]
        ends = [SLOTS * (number + 1) // count for number in range(count)]
        self.every(list(zip(ends, self.nodes, strict=True)))

    @property
    def url(self) -> str:
        return f"redis-cluster://{','.join(f'{HOST}:{node.port}' for node in self.nodes)}"

    def every(self, owners: list[tuple[int, FakeNode]], epoch: int = 1) -> None:
        """All nodes say that these own the slots, up to each end."""
        for node in self.nodes:
            node.owners = owners
            node.epoch = epoch

    def owner(self, key: bytes) -> FakeNode:
        return self.nodes[0].owner(slot_of(key))

    def others(self, key: bytes) -> list[FakeNode]:
        """The nodes that do not own the key."""
        return [node for node in self.nodes if node is not self.owner(key)]

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@contextlib.contextmanager
def fake_cluster(count: int = 3) -> Iterator[FakeCluster]:
    made = FakeCluster(count)
    try:
        yield made
    finally:
        made.close()


def ping_pong(key: bytes, one: FakeNode, other: FakeNode, times: int) -> None:
    """Each of the two says that the other has the key's slot, so often."""
    slot = slot_of(key)
    one.say(key, *[other.moved(slot)] * times)
    other.say(key, *[one.moved(slot)] * times)
