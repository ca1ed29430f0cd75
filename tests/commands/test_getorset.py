"""GETORSET before real servers, line by line of the contract."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import Kind, wait_for
from tests.wire.link import command

from .people import BIG, Cache
from .people import cache as serving

NIL = {2: b"$-1\r\n", 3: b"_\r\n"}
TOO_LARGE = 2**63 - 1


def bulk(text: bytes | str) -> bytes:
    text = text.encode() if isinstance(text, str) else text
    return b"$%d\r\n%b\r\n" % (len(text), text)


def within(cache: Cache, key: str, low: float, high: float) -> bool:
    """Whether a key ends in so many seconds."""
    return low * 1000 < cache.server.pttl(key) <= high * 1000


# --- GETORSET key value -----------------------------------------------------------------------


def test_a_given_value_is_stored_where_there_is_none(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        assert link.ask("GETORSET", "k", "given") == bulk("given")
        assert link.ask("GETORSET", "k", "another") == bulk("given")

    assert cache.server.get("k") == b"given"
    assert cache.server.pttl("k") == -1
    assert cache.server.keys() == [b"k"]


def test_what_is_there_is_returned_and_its_time_left_alone(cache: Cache, resp: int) -> None:
    cache.server.set("k", "there", ex=50)

    with closing(cache.link(resp)) as link:
        assert link.ask("GETORSET", "k", "given", "EX", 500) == bulk("there")

    assert within(cache, "k", 48, 50)


@pytest.mark.parametrize(
    ("option", "number"),
    [("EX", 100), ("px", 100_000), ("eXaT", 100), ("PXAT", 100_000)],
)
def test_a_value_is_stored_with_the_time_given(cache: Cache, option: str, number: int) -> None:
    if option.upper().endswith("AT"):
        number += cache.server.time()[0] * (number // 100)

    with closing(cache.link()) as link:
        assert link.ask("GETORSET", "k", "v", option, number) == bulk("v")

    assert within(cache, "k", 98, 100)


@pytest.mark.parametrize("option", ["EXAT", "PXAT"])
def test_a_time_that_is_over_stores_nothing_for_long(cache: Cache, option: str) -> None:
    with closing(cache.link()) as link:
        assert link.ask("GETORSET", "k", "v", option, 1) == bulk("v")

    assert cache.server.get("k") is None


def test_no_value_is_read_as_an_option(cache: Cache) -> None:
    with closing(cache.link()) as link:
        for value in ("EX", "PX", "", "HELP", "\r\n$3\r\n"):
            assert link.ask("GETORSET", f"k{value}", value) == bulk(value)


@pytest.mark.parametrize("key", [b"\x00\xff\r\n{}", b"", b"k" * 5000, "schlüssel".encode()])
def test_any_bytes_are_a_key(cache: Cache, key: bytes) -> None:
    with closing(cache.link()) as link:
        assert link.ask("GETORSET", key, b"\x00\xfe") == bulk(b"\x00\xfe")

    assert cache.server.keys() == [key]


@pytest.mark.parametrize("size", [64 * 1024, BIG])
def test_a_large_value_is_as_good_as_any(cache: Cache, size: int) -> None:
    value = b"x" * size

    with closing(cache.link()) as link:
        assert link.ask("GETORSET", "k", value) == bulk(value)
        assert link.ask("GETORSET", "k") == bulk(value)

    assert cache.server.strlen("k") == size


def test_one_of_many_stores_and_all_return_it(cache: Cache) -> None:
    links = [cache.link() for _ in range(30)]
    for at, link in enumerate(links):
        link.send(command("GETORSET", "k", f"v{at}"))

    answers = {link.read(1)[0] for link in links}

    assert answers == {bulk(cache.server.get("k") or b"")}
    for link in links:
        link.close()


# --- GETORSET key -----------------------------------------------------------------------------


def test_what_is_there_is_the_answer_and_nothing_is_loaded(cache: Cache, resp: int) -> None:
    cache.server.set("user:1", "there", ex=50)

    with closing(cache.link(resp)) as link:
        assert link.ask("GETORSET", "user:1") == bulk("there")

    assert not cache.loads("1")
    assert within(cache, "user:1", 48, 50)


def test_what_is_missing_is_loaded_once_and_kept_as_a_plain_string(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        assert link.ask("GETORSET", "user:1") == bulk("user 1")
        assert link.ask("getOrSet", "user:1") == bulk("user 1")

    assert cache.loads("1") == 1
    assert cache.server.get("user:1") == b"user 1"
    assert cache.server.keys() == [b"user:1"]


def test_ttls_differ_by_a_tenth_at_most(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.send(b"".join(command("GETORSET", f"user:t{at}") for at in range(100)))
        assert len(link.read(100)) == 100

    ttls = [cache.server.pttl(f"user:t{at}") for at in range(100)]
    assert 88_000 < min(ttls) < 95_000
    assert 105_000 < max(ttls) <= 110_000


def test_no_such_thing_is_nil_and_remembered_for_a_while(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        assert link.ask("GETORSET", "user:nobody") == NIL[resp]
        assert link.ask("GETORSET", "user:nobody") == NIL[resp]
        assert cache.loads("nobody") == 1
        assert cache.server.get("user:nobody") is None
        assert 0 < cache.server.pttl("lease:{user:nobody}") <= 300

        wait_for(lambda: not cache.server.keys(), what="the end of the memory")
        assert link.ask("GETORSET", "user:nobody") == NIL[resp]

    assert cache.loads("nobody") == 2


@pytest.mark.parametrize(
    "write",
    [("SET", "user:nobody", "x"), ("INVALIDATE", "user:nobody"), ("DEL", "user:nobody")],
    ids=" ".join,
)
def test_a_write_ends_the_memory_that_there_is_nothing(
    cache: Cache, write: tuple[str, ...]
) -> None:
    with closing(cache.link()) as link:
        link.ask("GETORSET", "user:nobody")
        assert not link.ask(*write).startswith(b"-")
        link.ask("DEL", "user:nobody")
        link.ask("GETORSET", "user:nobody")

    assert cache.loads("nobody") == 2


def test_a_loader_that_fails_is_an_error_for_a_while(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        first = link.ask("GETORSET", "user:broken")
        assert first.startswith(b"-LOADERR loader 'users': ")
        assert first.count(b"\r\n") == 1
        assert b"no database" in first
        assert link.ask("GETORSET", "user:broken") == first
        assert cache.loads("broken") == 1
        wait_for(lambda: not cache.server.keys(), what="the end of the memory")
        assert link.ask("GETORSET", "user:broken") == first

    assert cache.loads("broken") == 2


@pytest.mark.waits
def test_a_loader_that_hangs_is_an_error_in_its_time(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        began = time.monotonic()
        answer = link.ask("GETORSET", "user:hang")

    assert answer == b"-LOADTIMEOUT loader 'users': no answer in 400 ms\r\n"
    assert 0.39 < time.monotonic() - began < 2


def test_a_key_without_a_loader_is_an_error(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        assert link.ask("GETORSET", "k") == b"-NOLOADER no loader matches 'k'\r\n"
        assert link.ask("GETORSET", b"\r\n\xff") == (
            b"-NOLOADER no loader matches '\\r\\n\\xff'\r\n"
        )

    assert cache.server.keys() == []


def test_what_is_no_string_is_loaded_as_json(cache: Cache) -> None:
    with closing(cache.link()) as link:
        answer = link.ask("GETORSET", "user:json")

    assert answer.replace(b" ", b"").endswith(b'{"name":"Jo"}\r\n')


def test_a_large_value_is_loaded_and_stored(cache: Cache) -> None:
    with closing(cache.link()) as link:
        assert link.ask("GETORSET", "user:big") == bulk(b"b" * BIG)

    assert cache.server.strlen("user:big") == BIG


def test_the_web_is_a_loader(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        assert link.ask("GETORSET", "web:a") == bulk("page/a")
        assert link.ask("GETORSET", "web:a") == bulk("page/a")
        assert link.ask("GETORSET", "web:none") == NIL[resp]
        assert link.ask("GETORSET", "web:short") == bulk("page/short")
        assert link.ask("GETORSET", "web:down").startswith(b"-LOADERR loader 'web': ")

    assert [cache.loads(name) for name in ("a", "none", "down")] == [1, 1, 1]
    assert within(cache, "web:short", 8, 11)
    assert within(cache, "web:a", 53, 66)


@pytest.mark.parametrize("id", ["ü", "with spaces and {braces}", "\\n"])
def test_any_text_is_a_capture(cache: Cache, id: str) -> None:
    with closing(cache.link()) as link:
        assert link.ask("GETORSET", f"user:{id}") == bulk(f"user {id}")


# --- Wrong inputs -----------------------------------------------------------------------------

ARITY = "ERR wrong number of arguments for 'getorset' command"
SYNTAX = "ERR syntax error"
INTEGER = "ERR value is not an integer or out of range"
TIME = "ERR invalid expire time in 'getorset' command"
WRONG = [
    ("GETORSET", ARITY),
    ("getorset", ARITY),
    ("GETORSET free v NX", SYNTAX),
    ("GETORSET free v KEEPTTL", SYNTAX),
    ("GETORSET free v GET", SYNTAX),
    ("GETORSET free v 60", SYNTAX),
    ("GETORSET free v EX", SYNTAX),
    ("GETORSET free v EX 5 PX", SYNTAX),
    ("GETORSET free v EX 5 EX 5", SYNTAX),
    ("GETORSET free v EX 5 ex 6", SYNTAX),
    ("GETORSET free v EX 5 PX 5", SYNTAX),
    ("GETORSET free v EXAT 99999999999 PXAT 99999999999999", SYNTAX),
    ("GETORSET free v EX 5 NX", SYNTAX),
    ("GETORSET free v EX x", INTEGER),
    ("GETORSET free v EX 1.5", INTEGER),
    ("GETORSET free v EX 1e3", INTEGER),
    ("GETORSET free v EX +5", INTEGER),
    ("GETORSET free v EX 05", INTEGER),
    ("GETORSET free v EX 0x5", INTEGER),
    (f"GETORSET free v EX {TOO_LARGE + 1}", INTEGER),
    ("GETORSET free v EX 0", TIME),
    ("GETORSET free v PX 0", TIME),
    ("GETORSET free v EXAT 0", TIME),
    ("GETORSET free v PXAT 0", TIME),
    ("GETORSET free v EX -1", TIME),
    ("GETORSET free v PX -1", TIME),
    ("GETORSET free v EXAT -1", TIME),
    ("GETORSET free v PXAT -1", TIME),
    (f"GETORSET free v EX {TOO_LARGE}", TIME),
    (f"GETORSET free v EX {TOO_LARGE // 1000}", TIME),
    (f"GETORSET leased v PX {TOO_LARGE}", TIME),
    (f"GETORSET free v PX {TOO_LARGE}", TIME),
    (f"GETORSET free v EXAT {TOO_LARGE}", TIME),
    ("GETORSET string v EX 0", TIME),
    ("GETORSET string v NX", SYNTAX),
    ("GETORSET list", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("GETORSET list v", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("GETORSET list v EX 5", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("GETORSET user:list", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("GETORSET free", "NOLOADER no loader matches 'free'"),
]


@pytest.mark.parametrize(("words", "error"), WRONG)
def test_a_wrong_input_is_refused_and_changes_nothing(
    cache: Cache, resp: int, words: str, error: str
) -> None:
    cache.server.set("string", "there", ex=100)
    cache.server.rpush("list", "x")
    cache.server.rpush("user:list", "x")
    with closing(cache.link(resp)) as link:
        assert link.ask("LEASE", "GET", "leased").startswith(b"*2\r\n")
        before = cache.everything()

        assert link.ask(*words.split()) == f"-{error}\r\n".encode()

        assert cache.everything() == before
        assert link.ask("PING") == b"+PONG\r\n"


def test_an_empty_number_and_one_with_blanks_are_none(cache: Cache) -> None:
    with closing(cache.link()) as link:
        for number in ("", " 5", "5 ", "5\n", "\x00"):
            assert link.ask("GETORSET", "k", "v", "EX", number) == f"-{INTEGER}\r\n".encode()

    assert cache.server.keys() == []


def test_a_server_without_memory_says_so_and_the_lease_stands(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.ask("LEASE", "GET", "k")
        cache.server.config_set("maxmemory", 1)
        try:
            answer = link.ask("GETORSET", "k", "v")
            loaded = link.ask("GETORSET", "user:1")
        finally:
            cache.server.config_set("maxmemory", 0)

    assert answer == b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
    assert loaded == bulk("user 1")
    assert cache.server.get("k") is None


# --- Where a connection stands ----------------------------------------------------------------


@pytest.mark.parametrize("words", [("GETORSET", "user:1"), ("GETORSET", "k", "v")], ids=" ".join)
def test_in_a_transaction_it_is_refused_and_exec_aborts(
    cache: Cache, resp: int, words: tuple[str, ...]
) -> None:
    with closing(cache.link(resp)) as link:
        link.send(
            b"".join(command(*one) for one in (("MULTI",), ("SET", "a", "1"), words, ("EXEC",)))
        )
        multi, queued, refused, aborted = link.read(4)
        assert link.ask("GETORSET", "user:1") == bulk("user 1")

    assert (multi, queued) == (b"+OK\r\n", b"+QUEUED\r\n")
    assert refused.startswith(b"-ERR GETORSET is a command of the proxy")
    assert aborted.startswith(b"-EXECABORT")
    assert cache.server.get("a") is None
    assert cache.server.get("k") is None


def test_while_subscribed_resp2_refuses_it_and_resp3_answers(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        link.ask("SUBSCRIBE", "news")
        alone, given = link.ask("GETORSET", "user:1"), link.ask("GETORSET", "k", "v")

    if resp == 2:
        refused = b"-ERR Can't execute 'getorset': only (P|S)SUBSCRIBE"
        assert alone.startswith(refused)
        assert given.startswith(refused)
        assert cache.server.keys() == []
    else:
        assert (alone, given) == (bulk("user 1"), bulk("v"))


@pytest.mark.parametrize("words", [("GETORSET", "user:1"), ("GETORSET", "k", "v")], ids=" ".join)
def test_a_muted_client_gets_no_answer_but_its_effect(cache: Cache, words: tuple[str, ...]) -> None:
    with closing(cache.link()) as link:
        link.send(command("CLIENT", "REPLY", "SKIP") + command(*words) + command("PING"))
        assert link.read(1) == [b"+PONG\r\n"]
        assert cache.server.exists(words[1])
        cache.server.flushall()
        off = command("CLIENT", "REPLY", "OFF")
        link.send(off + command(*words) * 2 + command("CLIENT", "REPLY", "ON") + command("PING"))
        assert link.read(2) == [b"+OK\r\n", b"+PONG\r\n"]

    assert cache.server.exists(words[1])


@pytest.mark.parametrize("words", [b"GETORSET user:1\r\n", b"getorset 'user:1' \"user 1\"\r\n"])
def test_inline_it_is_the_same(cache: Cache, words: bytes) -> None:
    with closing(cache.link()) as link:
        link.send(words + b"PING\r\n")

        assert link.read(2) == [bulk("user 1"), b"+PONG\r\n"]


def test_each_db_has_its_own_values_and_loads(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.ask("GETORSET", "user:1")
        link.send(command("SELECT", 5) + command("GETORSET", "user:1") + command("DBSIZE"))
        assert link.read(3) == [b"+OK\r\n", bulk("user 1"), b":1\r\n"]
        assert link.ask("GETORSET", "k", "five") == bulk("five")
        link.send(command("SELECT", 0) + command("GETORSET", "k", "null"))
        assert link.read(2) == [b"+OK\r\n", bulk("null")]

    assert cache.loads("1") == 2
    assert cache.server.get("k") == b"null"


def test_it_runs_as_the_clients_user(cache: Cache) -> None:
    cache.server.acl_setuser(
        "ann",
        enabled=True,
        passwords=["+pw"],
        keys=["user:*", "lease:{user:*"],
        categories=["+@all"],
    )
    cache.server.acl_setuser(
        "bob", enabled=True, passwords=["+pw"], keys=["*"], commands=["+get", "+auth", "+ping"]
    )
    try:
        with closing(cache.link()) as link:
            link.ask("AUTH", "ann", "pw")
            assert link.ask("GETORSET", "user:1") == bulk("user 1")
            assert link.ask("GETORSET", "other", "v").startswith(b"-NOPERM")
            assert link.ask("GETORSET", "other").startswith(b"-NOPERM")
            link.ask("AUTH", "bob", "pw")
            assert link.ask("GETORSET", "user:1") == bulk("user 1")
            assert link.ask("GETORSET", "user:2").startswith(b"-NOPERM")
            assert link.ask("GETORSET", "other", "v").startswith(b"-NOPERM")
    finally:
        cache.server.acl_deluser("ann", "bob")

    assert cache.server.keys() == [b"user:1"]


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_before_login_nothing_is_answered(kind: Kind, tmp_path: Path) -> None:
    with serving(kind, tmp_path, "--requirepass", "sesame") as here, closing(here.link()) as link:
        for words in (
            ("GETORSET", "user:1"),
            ("GETORSET", "k", "v"),
            ("GETORSET", "k", "v", "EX", "0"),
            ("LEASE", "GET", "k"),
            ("LEASE", "HELP"),
            ("GET", "read:1"),
            ("MGET", "read:1"),
        ):
            assert link.ask(*words) == b"-NOAUTH Authentication required.\r\n", words
        assert link.ask("AUTH", "sesame") == b"+OK\r\n"
        assert link.ask("GETORSET", "user:1") == bulk("user 1")
        assert link.ask("GET", "read:1") == bulk("user 1")
        assert here.loads("1") == 2


# --- In a pipeline ----------------------------------------------------------------------------


def test_a_pipeline_is_answered_as_one_after_the_other(cache: Cache, resp: int) -> None:
    script: list[tuple[tuple[str, ...], bytes]] = [
        (("SET", "k", "mine"), b"+OK\r\n"),
        (("GETORSET", "k"), bulk("mine")),
        (("GETORSET", "user:slow1"), bulk("user slow1")),
        (("DEL", "user:slow1"), b":1\r\n"),
        (("SET", "user:slow1", "set"), b"+OK\r\n"),
        (("GETORSET", "user:slow1"), bulk("set")),
        (("GET", "user:slow1"), bulk("set")),
        (("DEL", "user:slow1"), b":1\r\n"),
        (("GETORSET", "user:slow1", "given"), bulk("given")),
        (("GETORSET", "nosuch"), b"-NOLOADER no loader matches 'nosuch'\r\n"),
        (("GETORSET", "k", "v", "EX", "0"), f"-{TIME}\r\n".encode()),
        (("EVAL", "return redis.call('GET', KEYS[1])", "1", "k"), bulk("mine")),
        (("GETORSET", "user:2"), bulk("user 2")),
        (("GETORSET", "user:2"), bulk("user 2")),
        (("MULTI",), b"+OK\r\n"),
        (("GET", "user:2"), b"+QUEUED\r\n"),
        (("EXEC",), b"*1\r\n" + bulk("user 2")),
        (("GETORSET", "user:nobody"), NIL[resp]),
        (("DBSIZE",), b":4\r\n"),  # and the memory of nobody
        (("PING",), b"+PONG\r\n"),
    ]

    with closing(cache.link(resp)) as link:
        link.send(b"".join(command(*words) for words, _ in script))
        answers = link.read(len(script))

    assert answers == [answer for _, answer in script]
    assert cache.loads("slow1") == 1


@pytest.mark.waits
def test_many_in_one_write_are_loaded_side_by_side(cache: Cache) -> None:
    began = time.monotonic()

    with closing(cache.link()) as link:
        link.send(b"".join(command("GETORSET", f"user:slow{at}") for at in range(16)))
        answers = link.read(16)

    assert answers == [bulk(f"user slow{at}") for at in range(16)]
    assert time.monotonic() - began < 1  # 0.1 s each


def test_bytes_that_come_one_by_one_are_the_same(cache: Cache) -> None:
    with closing(cache.link()) as link:
        for byte in command("GETORSET", "user:1") + command("GETORSET", "k", "v"):
            link.send(bytes([byte]))

        assert link.read(2) == [bulk("user 1"), bulk("v")]


def test_a_client_that_leaves_ends_no_load(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.send(command("GETORSET", "user:slow1") + command("SET", "behind", "1"))
        wait_for(lambda: cache.loads("slow1"), what="the load")

    wait_for(lambda: cache.server.get("user:slow1"), what="the value")
    assert cache.loads("slow1") == 1


def test_a_client_that_sends_no_more_is_still_answered(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.send(command("GETORSET", "user:slow1") + command("GETORSET", "k", "v"))

        assert link.finish() == bulk("user slow1") + bulk("v")


def test_watch_sees_what_it_stores(cache: Cache) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as other:
        link.ask("WATCH", "k")
        assert other.ask("GETORSET", "k", "v") == bulk("v")
        link.send(command("MULTI") + command("PING") + command("EXEC"))

        assert link.read(3)[-1] == b"*-1\r\n"


# --- Writes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        ("DEL", "user:slow1"),
        ("INVALIDATE", "user:slow1"),
        ("INVALIDATE", "PATTERN", "user:*"),
        ("EVAL", "return redis.call('DEL', KEYS[1])", "1", "user:slow1"),
        ("FLUSHALL",),
        ("del", "x", "user:slow1"),
    ],
    ids=" ".join,
)
def test_a_load_that_a_write_overtook_is_answered_and_not_stored(
    cache: Cache, write: tuple[str, ...]
) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as writer:
        link.send(command("GETORSET", "user:slow1"))
        wait_for(lambda: cache.loads("slow1"), what="the load")
        assert not writer.ask(*write).startswith(b"-")

        assert link.read(1) == [bulk("user slow1")]
        assert cache.server.keys() == []
        assert writer.ask("GETORSET", "user:slow1") == bulk("user slow1")
        assert cache.loads("slow1") == 2


def test_a_given_value_beats_a_load_that_runs(cache: Cache) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as writer:
        link.send(command("GETORSET", "user:slow1"))
        wait_for(lambda: cache.loads("slow1"), what="the load")
        assert writer.ask("GETORSET", "user:slow1", "given") == bulk("given")
        link.read(1)

    assert cache.server.get("user:slow1") == b"given"
