"""MGETORSET through a real proxy: order, errors, batches, and what is stored."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.servers import wait_for
from tests.wire.link import command

from .people import Cache
from .test_getorset import NIL, bulk

WORDS = "MGETORSET"


def batches(cache: Cache, what: str) -> list[int]:
    """How many keys each call of a batch loader was for."""
    lines = (cache.folder / "loads").read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith(f"{what} ")]


def ask(cache: Cache, resp: int, *words: str | int) -> bytes:
    with closing(cache.link(resp)) as link:
        return link.ask(WORDS, *words)


def test_what_is_there_and_what_is_loaded_come_in_the_order_of_the_keys(
    cache: Cache, resp: int
) -> None:
    cache.server.mset({"user:2": "there", "plain": "v"})

    answer = ask(cache, resp, 6, "user:1", "user:2", "plain", "absent", "user:nobody", "user:1")

    nil, loaded = NIL[resp], bulk("user 1")
    assert answer == b"*6\r\n" + loaded + bulk("there") + bulk("v") + nil + nil + loaded
    assert cache.loads("1") == 1
    assert cache.server.get("user:1") == b"user 1"
    assert 89_000 <= cache.server.pttl("user:1") <= 110_000


def test_a_batch_loader_is_called_once_for_what_is_missing(cache: Cache, resp: int) -> None:
    keys = [f"many:{n}" for n in range(100)]
    cache.server.mset(dict.fromkeys(keys[::2], "there"))

    answer = ask(cache, resp, 100, *keys)

    wanted = [bulk("there") if n % 2 == 0 else bulk(f"user {n}") for n in range(100)]
    assert answer == b"*100\r\n" + b"".join(wanted)
    assert batches(cache, "many") == [50]
    assert 50_000 <= cache.server.pttl("many:1") <= 66_000


def test_a_thousand_keys_are_one_question_and_one_call_for_the_hundred_that_are_missing(
    cache: Cache, resp: int
) -> None:
    """The bar's shape (tests.bench.mgetorset): neither grows with what is there."""
    keys = [f"many:{n}" for n in range(1000)]
    odd = [b"", b"_\r\n", b"$-1\r\n", b"\r\n_\r\n"]  # as nulls look
    there = {key: odd[n % 4] for n, key in enumerate(keys) if n % 10 != 7}
    cache.server.mset(there)
    cache.server.config_resetstat()

    answer = ask(cache, resp, 1000, *keys)

    wanted = [bulk(f"user {n}") if n % 10 == 7 else raw(odd[n % 4]) for n in range(1000)]
    assert answer == b"*1000\r\n" + b"".join(wanted)
    assert batches(cache, "many") == [100]
    assert cache.server.info("commandstats")["cmdstat_mget"]["calls"] == 1


def raw(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def test_more_keys_than_a_batch_are_more_calls(cache: Cache, resp: int) -> None:
    keys = [f"many:{n}" for n in range(250)]

    answer = ask(cache, resp, 250, *keys)

    assert answer == b"*250\r\n" + b"".join(bulk(f"user {n}") for n in range(250))
    assert sum(batches(cache, "many")) == 250
    assert max(batches(cache, "many")) == 100


def test_keys_are_posted_as_a_list_and_one_alone_is_got(cache: Cache, resp: int) -> None:
    assert ask(cache, resp, 1, "posted:x") == b"*1\r\n" + bulk("page/x")

    answer = ask(cache, resp, 3, "posted:1", "posted:nobody", "posted:2")

    one, two = bulk('{"key":"posted:1"}'), bulk('{"key":"posted:2"}')
    assert answer == b"*3\r\n" + one + NIL[resp] + two
    assert batches(cache, "posted") == [3]


@pytest.mark.parametrize("key", ["user:broken", "many:broken"])
def test_a_load_that_fails_is_the_answer_and_says_which(cache: Cache, resp: int, key: str) -> None:
    name = {"user": "users", "many": "many"}[key.partition(":")[0]]

    answer = ask(cache, resp, 3, "user:1", key, "many:2")

    assert answer.startswith(f"-LOADERR loader '{name}': ".encode())
    assert answer.endswith(f" (key '{key}'; 1 failed)\r\n".encode())
    assert cache.server.get("user:1") == b"user 1"  # what others brought stands


def test_a_call_that_fails_is_the_failure_of_each_of_its_keys(cache: Cache, resp: int) -> None:
    answer = ask(cache, resp, 3, "many:1", "many:all-broken", "user:1")

    assert answer.startswith(b"-LOADERR loader 'many': ValueError: no database")
    assert answer.endswith(b" (key 'many:1'; 2 failed)\r\n")


def test_partial_has_nil_for_what_fails_and_counts_it(cache: Cache, resp: int) -> None:
    cache.server.rpush("user:list", "x")
    with closing(cache.link(3)) as link:
        before = failures(link.ask("STATS"))
        answer = ask(cache, resp, 4, "user:broken", "user:1", "user:list", "many:2", "partial")
        after = failures(link.ask("STATS"))

    nil = NIL[resp]
    assert answer == b"*4\r\n" + nil + bulk("user 1") + nil + bulk("user 2")
    assert after - before == 2


def failures(stats: bytes) -> int:
    return int(stats.split(b"partial_failures\r\n:", 1)[1].split(b"\r\n", 1)[0])


def test_many_clients_share_the_loads(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as one, closing(cache.link(resp)) as two:
        for link in (one, two):
            link.send(command(WORDS, 2, "user:slow1", "user:slow2"))
        for link in (one, two):
            assert link.read(1) == [b"*2\r\n" + bulk("user slow1") + bulk("user slow2")]

    assert cache.loads("slow1") == cache.loads("slow2") == 1


def test_what_is_near_is_answered_near(cache: Cache, resp: int) -> None:
    def near_hits() -> int:
        return int(link.ask("STATS").split(b"near_hits\r\n:", 1)[1].split(b"\r\n", 1)[0])

    cache.server.set("user:near", "there")
    with closing(cache.link(3)) as link:

        def is_near() -> bool:
            before = near_hits()
            link.ask("GET", "user:near")
            return near_hits() > before

        wait_for(is_near)
        before = near_hits()
        assert link.ask(WORDS, 2, "user:near", "user:1") == b"*2\r\n" + bulk("there") + bulk(
            "user 1"
        )
        assert near_hits() > before
        assert link.ask("SET", "user:near", "new") == b"+OK\r\n"
        assert link.ask(WORDS, 1, "user:near") == b"*1\r\n" + bulk("new")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("", "ERR wrong number of arguments for 'mgetorset' command"),
        ("1", "ERR wrong number of arguments for 'mgetorset' command"),
        ("x k", "ERR value is not an integer or out of range"),
        ("0 k", "ERR numkeys should be greater than 0"),
        ("2 k", "ERR syntax error"),
        ("1 k more", "ERR syntax error"),
        ("1 k PARTIAL PARTIAL", "ERR syntax error"),
    ],
)
def test_a_wrong_input_is_refused(cache: Cache, resp: int, words: str, error: str) -> None:
    assert ask(cache, resp, *words.split()) == f"-{error}\r\n".encode()


def test_a_key_may_be_called_as_the_option(cache: Cache, resp: int) -> None:
    cache.server.set("PARTIAL", "v")

    assert ask(cache, resp, 1, "PARTIAL") == b"*1\r\n" + bulk("v")
