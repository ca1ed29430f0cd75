"""What to do with a request, by the command table: the plan that router.py carries out.

    words ─▶ table.row ─ KEYED ─▶ keys ─ one slot ─▶ One        several ─▶ Spread, or CROSSSLOT
                         ALL_* ─▶ Everywhere       SCAN ─▶ At       LOCAL ─▶ Said
                         ANY_PRIMARY ─▶ Anywhere   REFUSE ─▶ Said

The table is that of the servers (their COMMAND), as the rest of the proxy has it. Where they are of
several versions it is that of one of them: what it lacks goes to any node, which redirects it.

Owns no socket and sends nothing. Errors become the client's answer here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ..errors import OddReply, ProxyError
from ..resp.replies import bulk, parsed
from ..resp.requests import encode
from ..table.table import Command
from . import local, scan, scan_end
from .keys import keys_of
from .merge import items, merge
from .plans import Anywhere, At, Everywhere, Merge, One, Plan, Said, Spread, Unplaced
from .split import by_key, one_slot, split
from .table import Row, Splitter, Target, facts, refusal, row
from .topology import Topology
from .transaction import malformed

# Words that reach a lane though a session answers most of them: what is about a node is any node's.
_CLUSTERED: Final = frozenset({b"ASKING", b"CLUSTER", b"READONLY", b"READWRITE"})
_NO_TOPOLOGY: Final = b"-CLUSTERDOWN the cluster's map is not known yet\r\n"


class Planner:
    """``resp`` is that of the replies; ``valkey`` tells whether the servers are. ``refresh`` is
    called where the map may be old."""

    def __init__(
        self,
        commands: Callable[[], Mapping[bytes, Command]],
        topology: Callable[[], Topology | None],
        valkey: Callable[[], bool],
        refresh: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._commands = commands
        self._topology = topology
        self._valkey = valkey
        self._refresh = refresh

    def plan(self, words: Sequence[bytes], resp: int = 2) -> Plan:
        """What is to be done with a request."""
        try:
            return self._plan(words, resp)
        except ProxyError as refused:
            return Said(refused.line)

    def _plan(self, words: Sequence[bytes], resp: int) -> Plan:
        commands = self._commands()
        found = row(words, commands)
        match found.target:
            case Target.KEYED:
                return self._keyed(words, found, resp)
            case Target.ALL_PRIMARIES | Target.ALL_NODES:
                return Everywhere(found.target is Target.ALL_NODES, self._merge(found, resp))
            case Target.SCAN:
                return self._scan(words)
            case Target.LOCAL:
                return self._local(words)
            case Target.REFUSE:
                raise refusal(words, found.why)
            case _:
                return Anywhere()

    def by_key(self, words: Sequence[bytes], resp: int = 2) -> Spread | None:
        """A request in pieces of one key each; None: it cannot be cut so."""
        found = row(words, self._commands())
        pieces = by_key(words, found)
        if not pieces:
            return None
        requests = [(piece.slot, encode(piece.words)) for piece in pieces]
        places = [piece.places for piece in pieces]
        return Spread(requests, self._merge(found, resp, places, b"keys"))

    def _merge(
        self,
        found: Row,
        resp: int,
        places: Sequence[Sequence[int]] = (),
        parts: bytes = b"nodes",
    ) -> Merge:
        whole = partial(
            merge, found.merger, resp=resp, places=places, pick=random.randrange, parts=parts
        )

        def merged(replies: Sequence[bytes]) -> bytes:
            try:
                return whole(replies)
            except ProxyError as why:
                return why.line

        return merged

    def _keyed(self, words: Sequence[bytes], found: Row, resp: int) -> Plan:
        command = facts(words, self._commands())
        if command is None:
            return Anywhere()  # whose words say that there is no such command
        keys = keys_of(words, command)
        if keys is None:
            return Unplaced()
        if found.splitter is Splitter.NONE:
            slot = one_slot(keys)
            return Anywhere() if slot is None else One(slot)
        pieces = split(words, found)
        if len(pieces) == 1:
            return One(pieces[0].slot)
        places = [piece.places for piece in pieces]
        requests = [(piece.slot, encode(piece.words)) for piece in pieces]
        return Spread(requests, self._merge(found, resp, places, b"slots"))

    def _local(self, words: Sequence[bytes]) -> Plan:
        name = words[0].upper()
        if name in _CLUSTERED and not self._malformed(words):
            return Said(local.no_cluster(name, self._valkey()))
        if name == b"TIME" and len(words) == 1:
            return Said(local.time(time.time_ns() // 1000))
        return Anywhere()

    def _malformed(self, words: Sequence[bytes]) -> bool:
        """Whether any node has something against it, in words that do not tell of a cluster."""
        commands = self._commands()
        found = commands.get(words[0].upper())
        unknown = len(words) > 1 and found is not None and facts(words, commands) is None
        return unknown or malformed(words, commands) is not None

    # --- SCAN -------------------------------------------------------------------------------------

    def _scan(self, words: Sequence[bytes]) -> Plan:
        topology = self._topology()
        if topology is None or not topology.shards:
            return Said(_NO_TOPOLOGY)
        if len(words) < 2:
            return Anywhere()  # whose words say how many there should be
        shards, fingerprint = len(topology.shards), topology.fingerprint
        place = scan.decode(words[1], fingerprint, shards)
        if place.restarted:  # another proxy may know better: with two maps a walk never ends
            self._refresh("a cursor of another map")
        if place.shard == shards:
            end = partial(self._end, topology, place)
            return Everywhere(replicas=False, merge=end, request=encode(scan_end.QUESTION))
        request = encode([words[0], b"%d" % place.cursor, *words[2:]])
        return At(place.shard, request, partial(_page, place, fingerprint))

    def _end(self, topology: Topology, place: scan.Place, replies: Sequence[bytes]) -> bytes:
        """An empty page: the last, or one before shards that are to be walked once more; nothing
        where the nodes are not as the map has them."""
        if any(reply.startswith(b"-NOPERM") for reply in replies):
            return _LAST_PAGE  # this user may not ask: the map has to do
        refused = next((reply for reply in replies if reply.startswith(b"-")), None)
        if refused is not None:
            return refused
        try:
            shard = scan_end.walk_again(topology, replies)
        except scan_end.Unsettled:
            self._refresh("the nodes are not as the map has them")
            return b""
        except ValueError:
            return OddReply("CLUSTER NODES").line
        if shard is None or place.again:
            return _LAST_PAGE
        cursor = scan.encode(scan.Place(shard, 0, again=True), topology.fingerprint)
        return b"*2\r\n" + bulk(b"%d" % cursor) + b"*0\r\n"


_LAST_PAGE: Final = b"*2\r\n$1\r\n0\r\n*0\r\n"


def _page(place: scan.Place, fingerprint: int, replies: Sequence[bytes]) -> bytes:
    """A page of one server with the cursor of the whole walk."""
    [reply] = replies
    if reply.startswith(b"-"):
        return reply
    try:
        cursor, keys = items(reply)
        number = parsed(cursor)
        if not isinstance(number, bytes):
            raise OddReply("SCAN")
        behind = scan.following(place, int(number), fingerprint)
    except ProxyError as why:
        return why.line
    except ValueError:
        return OddReply("SCAN").line
    return b"*2\r\n" + bulk(b"%d" % behind) + keys
