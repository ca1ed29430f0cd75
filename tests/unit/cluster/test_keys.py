"""Keys of requests, compared with what the servers say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import redis
from nearhit.proxy.cluster.keys import keys_of, shipped_specs
from nearhit.proxy.cluster.table import facts
from nearhit.proxy.resp.kernel import hash_slot as slot_of
from nearhit.proxy.table.keyspecs import KeySpec, Range
from nearhit.proxy.table.table import Command, snapshot, table_from_reply

from tests.make_snapshot import command_reply
from tests.servers import Kind, Process, upstream

SHIPPED = snapshot().commands
REQUESTS = """
GET a|SET a 1 EX 5 GET|DEL a b a|UNLINK a|EXISTS a a b|TOUCH a b|MGET a b c|MSET a 1 b 2
MSETNX a 1 b 2|APPEND a x|GETEX a EX 5|COPY a b DB 1 REPLACE|RENAME a b|RENAMENX a b|DUMP a
RESTORE a 0 x REPLACE|OBJECT ENCODING a|OBJECT FREQ a|MEMORY USAGE a SAMPLES 5|EXPIRE a 5 NX
SORT a|SORT a BY w_* LIMIT 0 5 GET STORE GET # DESC STORE d|SORT a STORE d STORE e
SORT a BY STORE GET x STORE d|SORT_RO a BY nosort GET store|SORT a LIMIT STORE 1 STORE d
EVAL return 0|EVAL return 2 a b x y|EVAL return 1 a|EVALSHA f 2 a b c|EVAL_RO return 1 a b
EVALSHA_RO f 1 a|FCALL f 2 a b c|FCALL_RO f 1 a|FCALL f 0 x
ZUNION 2 a b WEIGHTS 1 2|ZINTER 2 a b WITHSCORES|ZDIFF 1 a|ZUNIONSTORE d 2 a b AGGREGATE MAX
ZINTERSTORE d 1 a|ZDIFFSTORE d 2 a b|ZINTERCARD 2 a b LIMIT 5|SINTERCARD 2 a b LIMIT 5
ZMPOP 2 a b MIN|LMPOP 2 a b LEFT COUNT 3|BLMPOP 0 2 a b LEFT|BZMPOP 1 1 a MAX COUNT 2
ZRANGESTORE d a 0 -1|ZADD a GT 1 m|ZRANGE a 0 -1 WITHSCORES|ZSCAN a 0 MATCH b
SINTER a b c|SUNION a|SDIFF a b|SINTERSTORE d a b|SUNIONSTORE d a|SDIFFSTORE d a b|SMOVE a b m
LMOVE a b LEFT RIGHT|BLMOVE a b LEFT RIGHT 0|RPOPLPUSH a b|BRPOPLPUSH a b 0|LPUSH a x y
BLPOP a b 0|BRPOP a 5|BZPOPMIN a b c 0|BZPOPMAX a 0|LPOS a x RANK 2|LINSERT a BEFORE b c
XREAD STREAMS a 0|XREAD COUNT 5 BLOCK 0 STREAMS a b 0 0|XREAD BLOCK 5 STREAMS a b c 0 0 $
XREADGROUP GROUP g c STREAMS a >|XREADGROUP GROUP STREAMS STREAMS COUNT 2 NOACK STREAMS a b > >
XREADGROUP GROUP g STREAMS BLOCK 5 STREAMS a >|XREAD STREAMS STREAMS 0
XADD a MAXLEN ~ 5 * f v|XGROUP CREATE a g 0 MKSTREAM|XGROUP DESTROY a g|XINFO STREAM a FULL
XINFO GROUPS a|XINFO CONSUMERS a g|XACK a g 1-1|XAUTOCLAIM a g c 0 0|XCLAIM a g c 0 1-1
XPENDING a g|XTRIM a MAXLEN 5|XSETID a 1-1|XDEL a 1-1|XRANGE a - +
MIGRATE h 1 a 0 5|MIGRATE h 1 a 0 5 COPY REPLACE|MIGRATE h 1 "" 0 5 KEYS a b
MIGRATE h 1 "" 0 5 AUTH KEYS KEYS a b|MIGRATE h 1 "" 0 5 REPLACE AUTH2 u KEYS KEYS a
GEORADIUS a 1 2 3 m|GEORADIUS a 1 2 3 m STORE d|GEORADIUS a 1 2 3 m COUNT 5 STOREDIST d
GEORADIUSBYMEMBER a m 3 m STORE d ASC
GEORADIUSBYMEMBER a STORE 3 m STORE d|GEORADIUS_RO a 1 2 3 m
GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 m
GEOADD a 1 2 m|GEODIST a m n|GEORADIUSBYMEMBER_RO a m 3 m
BITOP AND d a b|BITOP NOT d a|BITCOUNT a|BITFIELD a GET u8 0|BITFIELD_RO a GET u8 0|SETBIT a 1 1
PFADD a x|PFCOUNT a b|PFMERGE d a b|PFDEBUG ENCODING a|LCS a b LEN
HSET a f v|HGETALL a|HSCAN a 0|HRANDFIELD a 2|WATCH a b|TYPE a|TTL a|SUBSTR a 0 1|MOVE a 1
zunion 1 a|xread count 2 streams a 0|Sort a store d|INCRBYFLOAT a 1.5|GETSET a b|PERSIST a
"""
LINES = [request for line in REQUESTS.strip().split("\n") for request in line.split("|")]
PARSED = [[word.replace(b'""', b"") for word in line.encode().split()] for line in LINES]
# Those that the server could not run either: it names what it can.
MALFORMED = ["EVAL x 5 a", "ZUNION x a", "BLMPOP 0 99 a LEFT", "EVAL x -1"]


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    kind: Kind = request.param
    with upstream(kind) as process:
        yield process


@pytest.fixture(scope="module")
def commands(server: Process) -> Mapping[bytes, Command]:
    return table_from_reply(command_reply(f"redis://127.0.0.1:{server.port}")).commands


def found(words: list[bytes], commands: Mapping[bytes, Command]) -> list[bytes] | None:
    command = facts(words, commands)
    assert command is not None
    return keys_of(words, command)


@pytest.fixture
def client(server: Process) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as client:
        client.response_callbacks.clear()  # or COMMAND's replies are turned into something else
        yield client


def asked(client: redis.Redis, words: list[bytes]) -> list[bytes]:
    try:
        keys = client.execute_command("COMMAND", "GETKEYS", *words)
    except redis.ResponseError as error:
        if "no key arguments" in str(error) or "Invalid arguments" in str(error):
            return []
        raise
    assert isinstance(keys, list)
    return keys


def test_the_server_finds_the_same_keys(
    client: redis.Redis, commands: Mapping[bytes, Command]
) -> None:
    assert len(PARSED) > 120

    wrong = {
        b" ".join(words): (keys, truth)
        for words in PARSED
        if sorted(keys := found(words, commands) or []) != sorted(truth := asked(client, words))
    }

    assert not wrong


def test_where_the_server_finds_none_there_is_none(
    client: redis.Redis, commands: Mapping[bytes, Command]
) -> None:
    for text in MALFORMED:
        words = text.encode().split()
        assert (text, asked(client, words)) == (text, [])
        assert (text, found(words, commands)) == (text, [])


def test_requests_that_end_anywhere_raise_nothing() -> None:
    for words in PARSED:
        for end in range(1, len(words)):
            keys = found(words[:end], SHIPPED)
            assert keys is None or set(keys) <= set(words[:end])


def test_a_count_without_bounds_finds_none() -> None:
    assert found([b"EVAL", b"x", b"9" * 5000, b"a"], SHIPPED) == []


def test_of_several_destinations_the_last_is_written() -> None:
    words = b"GEORADIUS a 1 2 3 m STORE d STOREDIST e".split()  # 7.0 names both, and writes one

    assert found(words, SHIPPED) == [b"a", b"e"]


def test_msetex_has_pairs() -> None:
    words = b"MSETEX 2 a 1 b 2 EX 5".split()

    assert found(words, SHIPPED) == [b"a", b"b"]


def test_before_redis_7_the_shipped_specifications_are_taken() -> None:
    old = Command(b"ZUNION", -3, frozenset({b"movablekeys"}), (0, 0, 0))

    assert keys_of([b"ZUNION", b"2", b"a", b"b"], old) == [b"a", b"b"]
    assert shipped_specs(b"MOD.X") == ()


def test_keys_that_only_the_server_knows_are_not_guessed() -> None:
    unknown = Command(b"MOD.X", -1, frozenset({b"movablekeys"}), (1, 1, 1))
    partly = Command(
        b"MOD.Y",
        -1,
        frozenset({b"movablekeys"}),
        (1, 1, 1),
        specs=(KeySpec(b"", 1, Range(0, 1, 0)), KeySpec(b"", 0, None)),
    )

    assert keys_of([b"MOD.X", b"a"], unknown) is None
    assert keys_of([b"MOD.Y", b"a"], partly) is None


def test_a_limit_divides_what_follows_a_keyword() -> None:
    spec = KeySpec(b"STREAMS", 1, Range(-1, 1, 2))
    command = Command(b"MOD.X", -1, frozenset({b"movablekeys"}), (0, 0, 0), specs=(spec,))

    assert keys_of(b"MOD.X streams a b 0 0".split(), command) == [b"a", b"b"]
    assert keys_of(b"MOD.X streams".split(), command) == []


def test_keywords_may_be_looked_for_from_the_end() -> None:
    spec = KeySpec(b"KEYS", -2, Range(-1, 1, 0))
    command = Command(b"MOD.X", -1, frozenset({b"movablekeys"}), (0, 0, 0), specs=(spec,))

    assert keys_of(b"MOD.X x keys a b".split(), command) == [b"a", b"b"]
    assert keys_of(b"MOD.X x a b c".split(), command) == []


@pytest.mark.parametrize(
    ("key", "same"),
    [(b"{a}x", b"a"), (b"x{a}{b}", b"a"), (b"{{a}", b"{a"), (b"x{a}", b"{a}y")],
)
def test_keys_of_one_tag_share_a_slot(key: bytes, same: bytes) -> None:
    assert slot_of(key) == slot_of(same)


def test_slots_are_those_of_the_specification() -> None:
    assert slot_of(b"123456789") == 0x31C3
    assert slot_of(b"foo{}{bar}") == 8363
    assert slot_of(b"{a") != slot_of(b"a")
