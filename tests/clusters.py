"""Real clusters for the tests: Redis 7 in cluster mode and Valkey 9, on free ports.

    home:  node 0, 1, 2 are primaries of a third of the slots each; node 3, 4, 5 their replicas

Formed by hand, which takes 2 to 3 s (redis-cli --cluster create: 4 s). ``reset`` brings a cluster
home and empties it; what it cannot mend it makes anew on the same ports. A slot moves in steps, so
that a test may stop between any two of them."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import tempfile
from binascii import crc_hqx
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from nearhit.proxy.cluster.topology import SLOTS, Topology, parse_slots
from nearhit.proxy.errors import ProxyError, ServerError
from nearhit.proxy.resp.replies import Value, parsed

from tests.servers import HOST, Kind, Process, free_port, server_binary, wait_for
from tests.wire.link import Link, command

NODE_TIMEOUT_MS = 1000
PRIMARIES = 3
PATIENCE = 15.0  # seconds for the cluster to agree on anything
LEFT_BEHIND_MOST = 20  # times that a slot is emptied before it moves
OPTIONS = {
    "--bind": HOST,
    "--save": "",
    "--appendonly": "no",
    "--enable-debug-command": "yes",
    "--cluster-enabled": "yes",
    "--cluster-node-timeout": str(NODE_TIMEOUT_MS),
    # Else a primary that a test empties becomes somebody's replica.
    "--cluster-allow-replica-migration": "no",
    # Redis 7.0 tells of a replica only when it has got a ping by the stream: every 10 s.
    "--repl-ping-replica-period": "1",
    "--repl-diskless-sync-delay": "0",
}
OPTIONS_OF: dict[Kind, dict[str, str]] = {"redis": {}, "valkey": {"--cluster-databases": "16"}}


def slot_of(key: bytes) -> int:
    """As both servers hash: by what stands between the first { and the next }, if anything."""
    start = key.find(b"{")
    if start >= 0 and (end := key.find(b"}", start + 1)) > start + 1:
        key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


@cache
def _tags() -> dict[int, bytes]:
    tags: dict[int, bytes] = {}
    for number in itertools.count():
        if len(tags) == SLOTS:
            return tags
        tag = b"%x" % number
        tags.setdefault(crc_hqx(tag, 0) % SLOTS, tag)
    raise AssertionError


def key_in(slot: int, name: bytes = b"k") -> bytes:
    """A key of that name in that slot, by a tag."""
    return b"%b{%b}" % (name, _tags()[slot])


class Member(Process):
    """A node of a cluster. ``bus``: the port on which nodes talk to each other; ``tls_port``: 0 is
    none."""

    id: bytes
    bus: int
    tls_port: int

    def ask(self, *words: bytes | str | int, seconds: float = 4.0) -> Value:
        """The reply to a request on a connection of its own. ServerError: an error reply."""
        link = Link(self.port)
        try:
            answer = parsed(link.ask(*words, seconds=seconds))
        finally:
            link.close()
        if isinstance(answer, ProxyError):
            raise answer
        return answer

    def ask_many(self, requests: Iterable[tuple[bytes | str | int, ...]]) -> None:
        """Ask them in one piece; errors of the server are no matter."""
        data = [command(*words) for words in requests]
        link = Link(self.port)
        try:
            link.send(b"".join(data))
            assert len(link.read(len(data), 10)) == len(data)
        finally:
            link.close()

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    @property
    def is_primary(self) -> bool:
        role: Any = self.ask("ROLE")
        return bool(role[0] == b"master")

    @property
    def linked(self) -> bool:
        """Whether it is a replica that has all that its primary has."""
        role: Any = self.ask("ROLE")
        return bool(role[0] == b"slave" and role[3] == b"connected")

    @property
    def offset(self) -> int:
        """How far its copy of the replication stream goes."""
        role: Any = self.ask("ROLE")
        return int(role[1 if role[0] == b"master" else 4])

    def wait_until_linked(self) -> Member:
        wait_for(lambda: self.linked, PATIENCE, f"replica {self.port} is linked")
        return self

    def topology(self) -> Topology:
        """Who owns what, as this node sees it."""
        return parse_slots(self.ask("CLUSTER", "SLOTS"), HOST)

    def freeze(self) -> None:
        """SIGSTOP: it accepts and keeps what is sent, and does nothing. ``thaw`` ends that."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)


class Move:
    """One slot on its way, as redis-cli moves it: ``begin`` (from then on ASK for what is not
    there, TRYAGAIN for what is on both), ``keys`` as often as wanted, ``finish`` or ``undo``."""

    def __init__(self, cluster: Cluster, slot: int, target: Member) -> None:
        self.cluster = cluster
        self.slot = slot
        self.source = cluster.owner(slot)
        self.target = target
        assert self.source is not target

    def begin(self) -> Move:
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.id)
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.id)
        return self

    def keys(self, *keys: bytes) -> Move:
        """Hand over these keys, or all."""
        while moving := list(keys) or self._left():
            db, wait_ms = 0, 5000
            self.source.ask(
                "MIGRATE", HOST, self.target.port, "", db, wait_ms, "REPLACE", "KEYS", *moving
            )
            if keys:
                break
        return self

    def _left(self) -> list[bytes]:
        left: Any = self.source.ask("CLUSTER", "GETKEYSINSLOT", self.slot, 1000)
        return list(left)

    def let_go(self) -> bool:
        """The source gives the slot up: from now on nothing is written there. False: it has keys
        again. Valkey 9 runs a transaction with a PUBLISH though its keys have left, and what that
        has written is lost where the target takes the slot first."""
        try:
            self.source.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)
        except ServerError as error:
            if "still hold keys" not in str(error):
                raise
            return False
        return True

    def finish(self, *, known: bool = True) -> None:
        """The target owns it. ``known``: wait until all nodes have heard; else the other ones hear
        within a second."""
        for member in (self.target, self.source):
            member.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)
        if known:
            self.cluster.wait_for_owner(self.target, self.slot)

    def undo(self) -> None:
        for member in (self.source, self.target):
            member.ask("CLUSTER", "SETSLOT", self.slot, "STABLE")


class Cluster:
    """Its nodes in the order in which they were made: primaries first, each one's replica in the
    same order."""

    def __init__(
        self,
        kind: Kind,
        primaries: int = PRIMARIES,
        replicas: int = PRIMARIES,
        *,
        tls: Path | None = None,
        **options: str,
    ) -> None:
        """``options`` as the server's, with _ for -: ``cluster_node_timeout="2000"``. ``tls``: a
        folder with cert.pem and key.pem, for a second port of each node, and between nodes (the
        values of a slot do not move then: MIGRATE would need that port)."""
        assert replicas in (0, primaries)
        binary = server_binary(kind)
        if binary is None:
            pytest.skip(f"no {kind}-server on this machine")
        self.kind = kind
        self.primaries = primaries
        self.nodes: list[Member] = []
        self._folder = Path(tempfile.mkdtemp(prefix="nearhit-test-cluster-"))
        more = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
        self._words = {**OPTIONS, **OPTIONS_OF[kind], **more}
        for _ in range(primaries + replicas):
            self._make(binary, tls)
        try:
            self._form()
        except BaseException:
            self.close()
            raise

    def _make(self, binary: str, tls: Path | None = None) -> Member:
        port, bus, folder = free_port(), free_port(), self._folder / str(len(self.nodes))
        own = {"--port": str(port), "--cluster-port": str(bus), "--dir": str(folder)}
        if tls is not None:
            own |= {
                "--tls-port": str(free_port()),
                "--tls-cert-file": str(tls / "cert.pem"),
                "--tls-key-file": str(tls / "key.pem"),
                "--tls-ca-cert-file": str(tls / "cert.pem"),
                "--tls-auth-clients": "no",
                # Else the map that a client with TLS gets names the ports without.
                "--tls-cluster": "yes",
            }
        member = Member(port, [binary, *itertools.chain(*(self._words | own).items())], folder)
        member.bus = bus
        member.tls_port = int(own.get("--tls-port", 0))
        self.nodes.append(member)
        return member

    def add(self) -> Member:
        """One node more, which has no slots. For clusters that no other test takes: ``reset`` does
        not send it away."""
        binary, first = server_binary(self.kind), self.nodes[0]
        assert binary is not None
        member = self._make(binary)
        member.folder.mkdir(parents=True)
        member.start()
        member.id = _bytes(member.ask("CLUSTER", "MYID"))
        member.ask("CLUSTER", "MEET", HOST, first.port, first.bus)
        wait_for(lambda: all(map(self._knows_all, self.nodes)), PATIENCE, "it is known to all")
        wait_for(
            lambda: b"cluster_state:ok" in _bytes(member.ask("CLUSTER", "INFO")),
            PATIENCE,
            "it knows who has the slots",
        )
        return member

    def __repr__(self) -> str:
        return f"<Cluster {self.kind} ports={[member.port for member in self.nodes]}>"

    @property
    def url(self) -> str:
        """Of all its nodes, as an upstream."""
        return f"redis-cluster://{','.join(f'{HOST}:{member.port}' for member in self.nodes)}"

    # Who is who

    def member(self, id: bytes) -> Member:
        (found,) = [member for member in self.nodes if member.id == id]
        return found

    def topology(self) -> Topology:
        """As the first node sees it that lives."""
        return next(member for member in self.nodes if member.alive).topology()

    def owner(self, slot: int) -> Member:
        shard = self.topology().shard(slot)
        assert shard is not None, f"nobody owns {slot}"
        return self.member(shard.primary.id)

    def replica_of(self, primary: Member) -> Member:
        """Its replica, once it has all that the primary has."""
        for shard in self.topology().shards:
            if shard.primary.id == primary.id and shard.replicas:
                return self.member(shard.replicas[0].id).wait_until_linked()
        raise AssertionError(f"{primary.port} has no replica")

    @property
    def blocked(self) -> int:
        """How many clients wait in its nodes."""
        infos = [_bytes(one.ask("INFO", "clients")) for one in self.nodes if one.alive]
        counts = [info.partition(b"blocked_clients:")[2].split(b"\r\n")[0] for info in infos]
        return sum(map(int, counts))

    def wait_for_owner(self, owner: Member, *slots: int) -> None:
        """Until all nodes that live have heard that it owns these."""

        def heard() -> bool:
            for member in self.nodes:
                shards = map(member.topology().shard, slots) if member.alive else ()
                if any(shard is None or shard.primary.id != owner.id for shard in shards):
                    return False
            return True

        wait_for(heard, PATIENCE, f"all know that {owner.port} owns {slots[:5]}")

    # What happens to clusters

    def fail_over(self, replica: Member, *how: str, known: bool = True) -> None:
        """CLUSTER FAILOVER at that replica (``how``: FORCE, TAKEOVER), until it is the primary;
        ``known``: and all have heard. But for TAKEOVER, primaries of Redis vote for a shard once
        in two node timeouts: take turns, or it fails."""
        replica.ask("CLUSTER", "FAILOVER", *how)
        wait_for(lambda: replica.is_primary, PATIENCE, f"{replica.port} is primary")
        if known:
            shards = replica.topology().shards
            (own,) = [shard for shard in shards if shard.primary.id == replica.id]
            self.wait_for_owner(replica, own.ranges[0][0])

    def move(self, slot: int, target: Member) -> Move:
        """The move of a slot, not begun."""
        return Move(self, slot, target)

    def move_whole(self, slot: int, target: Member) -> None:
        """A slot with its keys, and with what is written behind these, until all have heard."""
        move = self.move(slot, target).begin()
        for _ in range(LEFT_BEHIND_MOST):
            if move.keys().let_go():
                return move.finish()
        raise AssertionError(f"slot {slot} is written as fast as it is moved")

    def migrate(self, first: int, last: int, target: Member, *, known: bool = True) -> None:
        """Valkey 9's atomic migration of a range of one owner, until it is done."""
        source = self.owner(first)
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", target.id)

        def done() -> bool:
            shard = source.topology().shard(first)
            return shard is not None and shard.primary.id == target.id

        wait_for(done, PATIENCE, f"slots {first} to {last} are at {target.port}")
        if known:
            self.wait_for_owner(target, first, last)

    # From test to test

    def reset(self) -> None:
        """Home and empty."""
        try:
            self._mend()
        except (AssertionError, OSError, ProxyError):
            self.close()
            self._form()

    def close(self) -> None:
        for member in self.nodes:
            member.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _home(self) -> list[tuple[Member, range]]:
        """The primaries and their slots."""
        share = SLOTS // self.primaries
        ends = [*range(0, share * self.primaries, share), SLOTS]
        return [
            (self.nodes[number], range(ends[number], ends[number + 1]))
            for number in range(self.primaries)
        ]

    def _replicas(self) -> list[tuple[Member, Member]]:
        """(replica, its primary) at home."""
        return list(zip(self.nodes[self.primaries :], self.nodes, strict=False))

    def _form(self) -> None:
        for number, member in enumerate(self.nodes, 1):
            member.folder.mkdir(parents=True)
            member.start()
            member.id = _bytes(member.ask("CLUSTER", "MYID"))
            member.ask("CLUSTER", "SET-CONFIG-EPOCH", number)
        for primary, slots in self._home():
            primary.ask("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
        first, *others = self.nodes
        for other in others:
            other.ask("CLUSTER", "MEET", HOST, first.port, first.bus)
        wait_for(lambda: all(map(self._knows_all, self.nodes)), PATIENCE, "all have met")
        for replica, primary in self._replicas():
            replica.ask("CLUSTER", "REPLICATE", primary.id)
        wait_for(self._is_home, PATIENCE, "all know the whole cluster")

    def _knows_all(self, member: Member) -> bool:
        nodes = _bytes(member.ask("CLUSTER", "NODES"))
        return nodes.count(b" connected") == len(self.nodes) and b"handshake" not in nodes

    def _agree(self) -> bool:
        topologies = [member.topology() for member in self.nodes]
        primaries = {shard.primary.id for shard in topologies[0].shards}
        return all(topologies[0] == each for each in topologies) and all(
            member.is_primary == (member.id in primaries) for member in self.nodes
        )

    def _is_home(self) -> bool:
        return all(map(self._sees_home, self.nodes)) and all(
            replica.linked for replica, _ in self._replicas()
        )

    def _sees_home(self, member: Member) -> bool:
        replica_of = {primary.id: replica.id for replica, primary in self._replicas()}
        wanted = {
            primary.id: (((slots[0], slots[-1]),), replica_of.get(primary.id))
            for primary, slots in self._home()
        }
        found = {
            shard.primary.id: (shard.ranges, next((each.id for each in shard.replicas), None))
            for shard in member.topology().shards
        }
        info = _bytes(member.ask("CLUSTER", "INFO"))
        return found == wanted and b"cluster_state:ok" in info

    def _mend(self) -> None:
        for member in self.nodes:
            if member.alive:
                member.thaw()
            else:
                member.start()
        wait_for(
            self._agree, PATIENCE, f"{self} is of one mind"
        )  # who was away hears what happened
        for member in self.nodes:
            with contextlib.suppress(ProxyError):  # only Valkey knows it
                member.ask("CLUSTER", "CANCELSLOTMIGRATIONS")
        for primary, _ in self._home():
            if not primary.is_primary:
                self.fail_over(primary.wait_until_linked(), "TAKEOVER")
        for primary, _ in self._home():
            primary.ask_many([("FLUSHALL",), ("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH")])
        self._bring_slots_home()
        wait_for(self._is_home, PATIENCE, f"{self} is home")

    def _bring_slots_home(self) -> None:
        """They are empty. A slot that is still on its way is told to stay."""
        for primary, _ in self._home():
            marks = _bytes(primary.ask("CLUSTER", "NODES")).split(b"[")[1:]
            primary.ask_many(
                ("CLUSTER", "SETSLOT", mark.split(b"-")[0], "STABLE") for mark in marks
            )
        believed = {primary.id: primary.topology() for primary, _ in self._home()}
        for primary, slots in self._home():
            for source, _ in self._home():
                if source is primary:
                    continue
                shards = believed[source.id].shards
                owned = next((each.ranges for each in shards if each.primary.id == source.id), ())
                for first, last in owned:
                    first, last = max(first, slots[0]), min(last, slots[-1])
                    if first <= last:
                        self._bring_home(first, last, source, primary)

    def _bring_home(self, first: int, last: int, source: Member, primary: Member) -> None:
        if self.kind == "valkey":  # its SETSLOT waits for replicas, 2 ms each time
            self.migrate(first, last, primary, known=False)
            return
        slots = range(first, last + 1)
        primary.ask_many(_settings(slots, "IMPORTING", source.id))
        primary.ask_many(_settings(slots, "NODE", primary.id))
        source.ask_many(_settings(slots, "NODE", primary.id))


def _settings(slots: Iterable[int], how: str, id: bytes) -> Iterator[tuple[str | int | bytes, ...]]:
    return (("CLUSTER", "SETSLOT", slot, how, id) for slot in slots)


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes), value
    return value


@contextlib.contextmanager
def cluster(
    kind: Kind,
    primaries: int = PRIMARIES,
    replicas: int = PRIMARIES,
    *,
    tls: Path | None = None,
    **options: str,
) -> Iterator[Cluster]:
    """A cluster for as long as the block; skipped where there is no such server."""
    made = Cluster(kind, primaries, replicas, tls=tls, **options)
    try:
        yield made
    finally:
        made.close()
