"""The same bytes as from one server, for what a client does on a connection of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters import Cluster
from tests.servers import Process, nearhit, upstream
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits

SCRIPTS = {
    "transaction": "MULTI|SET {k}a 1|INCR {k}a|GET {k}a|LRANGE {k}none 0 -1|EXEC|GET {k}a",
    "nested": "MULTI|MULTI|SET {k}a 1|EXEC",
    "words out of place": "EXEC|DISCARD|EXEC x|DISCARD x|MULTI x|WATCH|UNWATCH x|UNWATCH",
    "empty": "MULTI|EXEC|MULTI|DISCARD|EXEC",
    "wrong arity": "MULTI|SET {k}a|SET {k}a 1|EXEC|GET {k}a",
    "exec with words": "MULTI|SET {k}a 1|EXEC x|EXEC",
    "unknown": "MULTI|NOSUCH|NoSuch a b|SET {k}a 1|EXEC|GET {k}a",
    "error inside": "SET {k}s x|MULTI|INCR {k}s|SET {k}s y|EXEC|GET {k}s",
    "script inside": "MULTI|EVAL return{1,redis.call('get',KEYS[1])} 1 {k}a|EXEC",
    "watched": "SET {k}a 1|WATCH {k}a {k}b|GET {k}a|MULTI|SET {k}a 2|EXEC|GET {k}a",
    "watched and changed": "WATCH {k}a|SET {k}a 1|MULTI|SET {k}a 2|EXEC|GET {k}a|MULTI|EXEC",
    "watched and let go": "WATCH {k}a|UNWATCH|SET {k}a 1|MULTI|GET {k}a|EXEC",
    "watched and discarded": "WATCH {k}a|MULTI|DISCARD|SET {k}a 1|MULTI|GET {k}a|EXEC",
    "watched and empty": "WATCH {k}a|SET {k}a 1|MULTI|EXEC",
    "watch inside": "MULTI|WATCH {k}a|SET {k}a 1|EXEC",
    "unwatch inside": "WATCH {k}a|MULTI|UNWATCH|SET {k}a 1|EXEC",
    "reset": "MULTI|SET {k}a 1|RESET|EXEC|GET {k}a",
    "pops inside": "RPUSH {k}l 1|MULTI|BLPOP {k}l 0|BLPOP {k}l 0|EXEC",
    "pops": "RPUSH {k}l 1 2|BLPOP {k}x {k}l 1|BRPOP {k}l 1|BLPOP {k}l 0.01|BLPOP {k}l no|"
    "BLPOP {k}l -1",
    "moves": "RPUSH {k}l 1|BLMOVE {k}l {k}m LEFT LEFT 1|BLMOVE {k}l {k}m LEFT LEFT 0.01",
    "sorted pops": "BZPOPMIN {k}z 0.01|ZADD {k}z 1 m|BZPOPMIN {k}z 1|BZMPOP 0.01 1 {k}z MIN",
    "wrong kind": "SET {k}a 1|BLPOP {k}a 0|BLMPOP 0.01 1 {k}l LEFT",
    "streams": "XREAD BLOCK 10 STREAMS {k}t $|XADD {k}t 1-1 f v|XREAD BLOCK 10 STREAMS {k}t 0|"
    "XGROUP CREATE {k}t g 0|XREADGROUP GROUP g c BLOCK 10 STREAMS {k}t >|"
    "XREADGROUP GROUP g c BLOCK 10 STREAMS {k}t >|XREADGROUP GROUP no c BLOCK 10 STREAMS {k}t >",
    "subscribed": "SUBSCRIBE a|SUBSCRIBE a|PSUBSCRIBE p*|SSUBSCRIBE s|PING|UNSUBSCRIBE a|"
    "UNSUBSCRIBE a|PUNSUBSCRIBE|SUNSUBSCRIBE|UNSUBSCRIBE|GET {k}a|PING",
    "not while subscribed": "SUBSCRIBE a|GET {k}a|PING x|MULTI",
    "none to leave": "UNSUBSCRIBE|PUNSUBSCRIBE x|SUNSUBSCRIBE|SUBSCRIBE|PING",
    "waits": "SET {k}a 1|WAIT 0|WAIT no 1",
}  # fmt: skip


@pytest.fixture
def links(cluster: Cluster) -> Iterator[tuple[Process, Process]]:
    with upstream(cluster.kind) as one, nearhit(cluster.url) as proxy:
        yield one, proxy


def played(port: int, script: str, resp: int) -> list[bytes]:
    link = Link(port)
    try:
        if resp == 3:
            assert link.ask("HELLO", 3).startswith(b"%")
        said: list[bytes] = []
        for line in script.split("|"):
            link.send(command(*line.split(" ")))
            said += link.read(1)
        return said
    finally:
        link.close()


@pytest.mark.parametrize("resp", [2, 3])
def test_a_cluster_answers_as_one_server(links: tuple[Process, Process], resp: int) -> None:
    one, proxy = links
    wrong: dict[str, object] = {}
    for number, (name, script) in enumerate(SCRIPTS.items()):
        script = script.replace("{k}", f"{{k{number}}}")
        wanted, got = played(one.port, script, resp), played(proxy.port, script, resp)
        if wanted != got:
            wrong[name] = [pair for pair in zip(wanted, got, strict=False) if pair[0] != pair[1]]

    assert not wrong, "\n".join(f"{name}: {pairs}" for name, pairs in wrong.items())
