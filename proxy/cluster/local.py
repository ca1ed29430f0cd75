"""What the proxy answers by itself where a cluster looks like one server.

Owns the words of PING, CLUSTER, ROLE and the like, and the text of INFO, out of what it is
given. They say what a single primary without replicas would: a client that learns of the cluster
goes around the proxy. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..errors import WrongArity
from ..resp.replies import OK, bulk, patch_id, reply

# CLUSTER and its subcommands, and ASKING: as a server says it that is no cluster.
NO_CLUSTER: Final = b"-ERR This instance has cluster support disabled\r\n"

_KEYSPACE: Final = re.compile(rb"^db(\d+):(\S+)\r?$", re.MULTILINE)
_SINGLE: Final = (
    (re.compile(rb"^((?:redis|server)_mode):cluster\b", re.MULTILINE), rb"\1:standalone"),
    (re.compile(rb"^cluster_enabled:1\b", re.MULTILINE), rb"cluster_enabled:0"),
)
_HEAD: Final = b"# Keyspace\r\n"
_MODE: Final = re.compile(rb"\$4\r\nmode\r\n\$7\r\ncluster\r\n")
_STANDALONE: Final = b"$4\r\nmode\r\n$10\r\nstandalone\r\n"


def no_cluster(name: bytes, valkey: bool) -> bytes:
    """The answer to ASKING, CLUSTER, READONLY and READWRITE. Valkey grants the latter two since
    8.0: of a single server too."""
    granted = valkey and name.upper() in (b"READONLY", b"READWRITE")
    return OK if granted else NO_CLUSTER


def hello(reply: bytes, number: int) -> bytes:
    """A node's answer to HELLO as a single server's, with our own number of the client."""
    return patch_id(_MODE.sub(_STANDALONE, reply, count=1), number)


def ping(words: Sequence[bytes]) -> bytes:
    """PONG, or the word that came with it, as to a client that has no subscriptions. It says that
    the proxy is alive: of many nodes some may always be down."""
    if len(words) > 2:
        raise WrongArity("ping")
    return bulk(words[1]) if len(words) == 2 else b"+PONG\r\n"


def time(microseconds: int) -> bytes:
    """TIME's answer, of the microseconds since 1970."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return reply([b"%d" % seconds, b"%d" % rest], 2)


def role(offset: int, resp: int) -> bytes:
    """ROLE's answer of a primary whose replicas are nobody's business."""
    return reply([b"master", offset, []], resp)


def merged_info(texts: Sequence[bytes]) -> bytes:
    """INFO of one server: the first node's, with no word of a cluster, and the keys of all."""
    text = texts[0]
    for pattern, instead in _SINGLE:
        text = pattern.sub(instead, text)
    if _HEAD not in text:
        return text
    before, _, behind = text.partition(_HEAD)
    rest = _KEYSPACE.sub(b"", behind).strip(b"\r\n")
    return before + _HEAD + keyspace(texts) + (b"\r\n" + rest + b"\r\n" if rest else b"")


def keyspace(texts: Sequence[bytes]) -> bytes:
    """The lines of ``# Keyspace`` with counts summed; avg_ttl is that of the keys that expire."""
    databases: dict[int, dict[bytes, int]] = {}
    for text in texts:
        for number, counts in _KEYSPACE.findall(text):
            sums = databases.setdefault(int(number), {})
            found = _counts(counts)
            found[b"avg_ttl"] = found.get(b"avg_ttl", 0) * found.get(b"expires", 0)
            for name, count in found.items():
                sums[name] = sums.get(name, 0) + count
    return b"".join(_line(number, sums) for number, sums in sorted(databases.items()))


def _line(number: int, sums: dict[bytes, int]) -> bytes:
    told = {**sums, b"avg_ttl": sums[b"avg_ttl"] // max(sums.get(b"expires", 0), 1)}
    counts = b",".join(b"%b=%d" % item for item in told.items())
    return b"db%d:%b\r\n" % (number, counts)


def _counts(text: bytes) -> dict[bytes, int]:
    pairs = (part.partition(b"=") for part in text.split(b","))
    return {name: int(count) for name, _, count in pairs if count.isdigit()}
