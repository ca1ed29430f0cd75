"""GET and MGET of keys whose loader has read_through: a miss is loaded."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.servers import wait_for
from tests.wire.link import command

from .people import Cache
from .test_getorset import NIL, bulk


def test_a_get_that_misses_loads(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        assert link.ask("GET", "read:1") == bulk("user 1")
        assert link.ask("get", "read:1") == bulk("user 1")

    assert cache.loads("1") == 1
    assert cache.server.get("read:1") == b"user 1"
    assert 54_000 <= cache.server.pttl("read:1") <= 66_000


def test_a_hit_is_the_servers(cache: Cache, resp: int) -> None:
    cache.server.set("read:1", "there")

    with closing(cache.link(resp)) as link:
        assert link.ask("GET", "read:1") == bulk("there")

    assert not cache.loads("1")


@pytest.mark.parametrize("key", ["user:1", "k", "", "read", "read:"])
def test_other_keys_are_only_read(cache: Cache, resp: int, key: str) -> None:
    with closing(cache.link(resp)) as link:
        answer = link.ask("GET", key)

    assert answer == NIL[resp] or key == "read:"  # an empty capture may match
    assert not cache.loads("1")


def test_mget_loads_what_is_missing_and_keeps_the_order(cache: Cache, resp: int) -> None:
    cache.server.mset({"read:2": "there", "k": "v", "user:1": "u"})
    cache.server.rpush("read:list", "x")

    with closing(cache.link(resp)) as link:
        answer = link.ask(
            "MGET", "nosuch", "read:1", "k", "read:2", "read:nobody", "read:1", "user:1", "user:2"
        )

    nil = NIL[resp]
    loaded = bulk("user 1")
    assert (
        answer
        == b"*8\r\n" + nil + loaded + bulk("v") + bulk("there") + nil + loaded + bulk("u") + nil
    )
    assert cache.loads("1") == 1
    assert cache.server.get("user:2") is None


def test_mget_without_such_keys_is_the_servers(cache: Cache, resp: int) -> None:
    cache.server.rpush("list", "x")

    with closing(cache.link(resp)) as link:
        assert link.ask("MGET", "list", "user:1") == b"*2\r\n" + NIL[resp] * 2


def test_errors_of_the_load_are_the_answer(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        assert link.ask("GET", "read:broken").startswith(b"-LOADERR loader 'reads': ")
        assert link.ask("MGET", "read:1", "read:broken").startswith(b"-LOADERR loader 'reads': ")
        assert link.ask("GET", "read:nobody") == NIL[resp]

    assert cache.server.get("read:1") == b"user 1"
    assert cache.loads("broken") == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("GET read:1 read:2", "ERR wrong number of arguments for 'get' command"),
        ("MGET", "ERR wrong number of arguments for 'mget' command"),
        ("GET read:list", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ],
)
def test_a_wrong_input_is_refused_as_by_the_server(
    cache: Cache, resp: int, words: str, error: str
) -> None:
    cache.server.rpush("read:list", "x")
    before = cache.everything()

    with closing(cache.link(resp)) as link:
        assert link.ask(*words.split()) == f"-{error}\r\n".encode()

    assert cache.everything() == before
    assert not cache.loads("1")


def test_in_a_transaction_and_behind_watch_a_get_is_a_get(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        link.send(command("MULTI") + command("GET", "read:1") + command("EXEC"))
        assert link.read(3)[-1] == b"*1\r\n" + NIL[resp]
        link.send(command("WATCH", "read:1") + command("GET", "read:1"))
        link.send(command("MULTI") + command("PING") + command("EXEC"))
        assert link.read(5)[1::3] == [NIL[resp], b"*1\r\n+PONG\r\n"]

    assert not cache.loads("1")


def test_a_script_reads_what_is_there(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        answer = link.ask("EVAL", "return redis.call('GET', KEYS[1])", "1", "read:1")

    assert answer == NIL[resp]
    assert not cache.loads("1")


def test_a_pipeline_is_answered_as_one_after_the_other(cache: Cache, resp: int) -> None:
    script: list[tuple[tuple[str, ...], bytes]] = [
        (("GET", "read:slow1"), bulk("user slow1")),
        (("DEL", "read:slow1"), b":1\r\n"),
        (("SET", "read:slow1", "set"), b"+OK\r\n"),
        (("GET", "read:slow1"), bulk("set")),
        (("MGET", "read:slow1", "read:slow2"), b"*2\r\n" + bulk("set") + bulk("user slow2")),
        (("GETORSET", "read:slow2"), bulk("user slow2")),
        (("DEL", "read:slow1", "read:slow2"), b":2\r\n"),
        (("DBSIZE",), b":0\r\n"),
    ]

    with closing(cache.link(resp)) as link:
        link.send(b"".join(command(*words) for words, _ in script))

        assert link.read(len(script)) == [answer for _, answer in script]


def test_a_muted_get_loads(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.send(command("CLIENT", "REPLY", "SKIP") + command("GET", "read:1") + command("PING"))

        assert link.read(1) == [b"+PONG\r\n"]

    assert cache.server.get("read:1") == b"user 1"


def test_inline_and_in_another_db_it_loads(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.send(b"SELECT 3\r\nGET read:1\r\nDBSIZE\r\n")

        assert link.read(3) == [b"+OK\r\n", bulk("user 1"), b":1\r\n"]

    assert cache.server.keys() == []


@pytest.mark.parametrize("write", [("DEL", "read:slow1"), ("GETDEL", "read:slow1")], ids=" ".join)
def test_a_load_that_a_write_overtook_is_answered_and_not_stored(
    cache: Cache, write: tuple[str, ...]
) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as writer:
        link.send(command("GET", "read:slow1"))
        wait_for(lambda: cache.loads("slow1"), what="the load")
        assert not writer.ask(*write).startswith(b"-")

        assert link.read(1) == [bulk("user slow1")]

    assert cache.server.keys() == []


@pytest.mark.parametrize(
    "words", [("GETEX", "read:1"), ("GETDEL", "read:1"), ("STRLEN", "read:1"), ("EXISTS", "read:1")]
)
def test_other_reads_load_nothing(cache: Cache, words: tuple[str, ...]) -> None:
    with closing(cache.link()) as link:
        assert link.ask(*words) in (b"$-1\r\n", b":0\r\n")

    assert not cache.loads("1")
