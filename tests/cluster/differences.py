"""What clients of a cluster are answered otherwise than those of one server: the only excuses there
are for test_wire.py.

``ANSWERS``: requests that get a reply of another kind wherever they stand. ``FOLLOWING``: what
differs in one script because of that. ``LEFT_OUT``: scripts that have nothing else to do. Whatever
is listed has to differ, but for what differs by chance (``maybe``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.wire.script import Step


@dataclass(frozen=True, slots=True)
class Answer:
    """``only``: with this server, or in this protocol."""

    request: re.Pattern[str]
    reply: re.Pattern[bytes]
    why: str
    only: str
    maybe: bool

    def __repr__(self) -> str:
        return f"<Answer {self.request.pattern} {self.why}>"

    def covers(self, step: Step, reply: bytes) -> bool:
        words = b" ".join(step.words).decode("latin-1")
        return bool(self.request.match(words) and self.reply.match(reply))


@dataclass(frozen=True, slots=True)
class Following:
    """Steps of one script, as they are written there (or begin: ...), and on what their difference
    follows."""

    steps: tuple[str, ...]
    why: str
    only: str
    maybe: bool

    def covered(self, text: str) -> str | None:
        """Which of the steps that is."""
        for step in self.steps:
            begin = step.removesuffix("...")
            if text == step or (begin != step and text.startswith(begin)):
                return step
        return None


def answer(request: str, reply: bytes, why: str, *, only: str = "", maybe: bool = False) -> Answer:
    words, line = re.compile(request, re.I | re.S), re.compile(reply, re.S)
    return Answer(words, line, why, only, maybe)


def following(*steps: str, why: str, only: str = "", maybe: bool = False) -> Following:
    return Following(steps, why, only, maybe)


ONE_NODE = rb"-ERR .* is not possible in cluster mode: it is about one node: connect to that node"
LAYOUT = rb"-ERR .* is not possible in cluster mode: it changes the cluster, or a node of it"
NOT_INSIDE = rb"-ERR '.*' is not possible inside MULTI in cluster mode"
OF_ONE_NODE = "there is none of it for all nodes, and no node is the whole"
OWN_MESSAGES = "subscriptions have connections of their own, and any node publishes"
LATE_MESSAGES = "nodes hand them to each other in up to 50 ms: one from before is heard"
ON_SHARED_LANES = "a transaction goes in one write on a lane that others share"

ANSWERS: tuple[Answer, ...] = (
    answer("DEBUG", ONE_NODE, OF_ONE_NODE),
    answer("CLIENT (UN)?PAUSE", ONE_NODE, OF_ONE_NODE),
    answer("SLOWLOG GET|LATENCY|ACL LOG|SAVE|BGSAVE|BGREWRITEAOF|MONITOR", ONE_NODE, OF_ONE_NODE),
    answer("MEMORY|COMMANDLOG|SCRIPT DEBUG|PFSELFTEST|SHUTDOWN", ONE_NODE, OF_ONE_NODE),
    answer("MIGRATE|MODULE|FAILOVER|REPLICAOF|SLAVEOF|RESTORE-ASKING", LAYOUT, OF_ONE_NODE),
    answer(
        "CLIENT TRACKING|CLIENT IMPORT-SOURCE|MONITOR|REPLCONF|P?SYNC|CLIENT REPLY",
        rb"-ERR .* is not supported in cluster mode",
        "it acts on the one connection of a client to the one server",
    ),
    answer("WAITAOF", rb"-ERR WAITAOF is not possible", "of disks only the connection hears"),
    answer("SWAPDB", rb"-ERR SWAPDB is not possible", "no node of a cluster does it"),
    answer("SELECT", rb"-ERR SELECT is not allowed in cluster mode", "Redis", only="redis"),
    answer("CLUSTERSCAN", rb"-ERR CLUSTERSCAN is not possible", "SCAN walks all", only="valkey"),
    answer("SCAN", rb"\*2\r\n\$1\d\r\n\d+\r\n", "there are more nodes to walk", maybe=True),
    answer("SORT", rb"-ERR (BY|GET) option of SORT denied in Cluster mode", "nodes refuse it"),
    answer(
        "EVAL.* 0$|FCALL",
        rb"-ERR .*non local key",
        "a script whose keys are not declared runs anywhere",
        maybe=True,
    ),
    answer("PUBLISH|EVAL .*PUBLISH", rb":\d+", "a node counts its own subscribers", maybe=True),
    answer(
        "(HELLO|AUTH|SELECT|CLIENT|WAIT|(P|S)?(UN)?SUBSCRIBE|MONITOR|REPLCONF|READONLY)",
        NOT_INSIDE,
        ON_SHARED_LANES,
    ),
    answer("(INFO|DBSIZE|KEYS|SCRIPT)", NOT_INSIDE, "of all nodes, which no transaction is"),
    answer("(COPY|MOVE) ", rb"-ERR .* is not allowed in cluster mode", "Redis", only="redis"),
    answer("COPY ", rb"-ERR Copying to another database", "Redis has one database", only="redis"),
    answer("MEMORY USAGE", rb":\d+", "Redis knows the keys of each slot", only="redis"),
    answer("EVAL .*SELECT", rb"-ERR SELECT is not allowed", "Redis", only="redis"),
    answer(
        "CLUSTER KEYSLOT",
        rb"-ERR This instance has cluster support disabled",
        "whoever asks for slots goes around the proxy",
        only="valkey",
    ),
    answer(
        "READONLY|READWRITE",
        rb"-ERR This instance has cluster support disabled",
        "until a node has said that it is a Valkey",
        only="valkey",
        maybe=True,
    ),
    answer(
        "SHUTDOWN|P?SYNC",
        rb"-ERR Command not allowed inside a transaction",
        "in the words of Redis",
        only="valkey",
    ),
    answer(
        "CLIENT (CACHING|GETREDIR|TRACKINGINFO)",
        rb"-ERR CLIENT CACHING can be called only|:-1|[%*]",
        "CLIENT TRACKING was refused",
    ),
    answer("SCRIPT EXISTS", rb"\*1\r\n:0", "EVAL has it loaded at one node, and they all count"),
    answer("EXEC", rb"-EXECABORT", "something that it queued was refused"),
)
FOLLOWING: dict[str, tuple[Following, ...]] = {
    "acl: a user of narrow rights": (
        following("GET a:2", "b> KEYS *", why="SELECT was refused", only="redis"),
    ),
    "acl: transactions and blocking as that user": (
        following(
            "b> DEL a:1", "b> SET b:1 v", why="a transaction is kept here: EXEC tells of its rights"
        ),
    ),
    "acl: a user without a password, disabled users": (
        following(
            "b> MULTI",
            "b> CLIENT GETNAME",
            "b> GET k",
            why="a transaction is kept here: EXEC tells of its rights",
        ),
    ),
    "acl: rights that change while connected": (
        following(
            "b> PING", why="a connection to another node comes later, and is refused", maybe=True
        ),
    ),
    "blocking: woken in another database": (
        following("@read", why="SELECT was refused", only="redis"),
    ),
    "connection: reset": (following("GET k", why="SELECT was refused", only="redis"),),
    "connection: client setinfo": (
        following(
            "CLIENT NO-TOUCH on",
            "CLIENT NO-TOUCH off",
            "CLIENT CAPA redirect",
            why="the shipped table knows them",
            only="redis",
            maybe=True,
        ),
    ),
    "connection: client reply and modes": (
        following("GET k", why="SELECT was refused", only="redis"),
    ),
    "connection: client reply inside multi": (
        following("GET k", why="CLIENT REPLY in it was refused", only="redis"),
    ),
    "keys: a key that runs out": (
        following(
            "GET k",
            "EXISTS k",
            "TTL k",
            "MGET k stays",
            "SET k new NX",
            "GET j",
            "DBSIZE",
            why="DEBUG SLEEP was refused: they have time left",
            maybe=True,
        ),
    ),
    "keys: copy, move, swap and select": (
        following("DBSIZE", why="SWAPDB was refused", only="valkey"),
    ),
    "keys: select": (following("GET k", "b> GET k", why="SELECT was refused", only="redis"),),
    "protocol: mixed pipelines keep their order": (
        following(
            r'@raw [5] "GET k\r\nEVAL...',
            r'@raw [2] "INCR k...',
            why="a script whose keys are not declared was refused",
            maybe=True,
        ),
        following(
            r'@raw [9] "SET k 1...',
            why="SELECT was refused",
            only="redis",
        ),
    ),
    # What a client hears late moves all that it hears behind.
    "pubsub: messages": (following("...", why=LATE_MESSAGES, maybe=True),),
    "pubsub: ordinary commands beside pushes": (following("...", why=OWN_MESSAGES, maybe=True),),
    "pubsub: publishing to oneself": (following("...", why=OWN_MESSAGES, maybe=True),),
    "pubsub: publishing to oneself in a transaction": (
        following("...", why=OWN_MESSAGES, maybe=True),
    ),
    "pubsub: a subscriber that leaves": (following("...", why=LATE_MESSAGES, maybe=True),),
    "transactions: watched keys": (
        following("EXEC", why="SELECT was refused: it is the same key", only="redis"),
    ),
    "transactions: a watched key that runs out": (
        following("EXEC", why="DEBUG SLEEP was refused: it has time left", maybe=True),
    ),
    "transactions: select inside multi": (following("GET k", why="nothing has run"),),
    "transactions: connection commands inside multi": (
        following(
            "HGETALL none", "GET none", "CLIENT GETNAME", "GET k", "PING", why="nothing has run"
        ),
    ),
    "transactions: what changes the connection inside multi": (
        following("HGETALL nothing", why="nothing has run", only="resp2"),
        following("GET k", why="nothing has run"),
    ),
    "transactions: pipelined transactions": (
        following(
            r'@raw [6] "SELECT 1...',
            r'b> @raw [5] "GET k...',
            why="SELECT was refused",
            only="redis",
        ),
    ),
}
LEFT_OUT = {
    "connection: tracking tells of changes": "CLIENT TRACKING is refused: it would wait for pushes",
    "connection: tracking modes": "CLIENT TRACKING is refused: it would wait for pushes",
    "server: debug protocol, every type": "DEBUG is refused: it would wait for pushes",
}
