"""WARM and INVALIDATE behind their requests, before real servers: what a job does and tells, who
sees it, who may begin it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from redis import Redis, ResponseError

from tests.servers import wait_for

from .behind import SLOW, client_of, ended, status
from .people import Cache

# --- WARM -------------------------------------------------------------------------------------


def test_warm_runs_behind_and_tells_how_it_went(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        words = ("EX", "50", "KEYS", "user:1", "user:broken", "user:nobody", "order:1")
        id: Any = client.execute_command("WARM", "ASYNC", *words)

        found = ended(client, "WARM", id)
        assert list(found) == [
            *(b"state", b"total", b"requested", b"loaded", b"skipped", b"not_found", b"failed"),
            *(b"elapsed_ms", b"errors", b"error"),
        ]
        assert [found[name] for name in (b"state", b"total", b"error")] == [b"done", 4, None]
        counts = [found[name] for name in (b"requested", b"loaded", b"not_found", b"failed")]
        assert counts == [4, 1, 1, 2]
        assert {key for key, _ in found[b"errors"]} == {b"user:broken", b"order:1"}
        assert id in client.execute_command("WARM", "JOBS")
        assert id not in client.execute_command("INVALIDATE", "JOBS")
        assert client.execute_command("INVALIDATE", "STATUS", id) is None
    assert cache.server.get("user:1") == b"user 1"
    assert 40_000 < cache.server.pttl("user:1") <= 55_000


def test_values_are_stored_behind(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        id: Any = client.execute_command("WARM", "ASYNC", "VALUES", "a", "1", "b", "2")

        assert ended(client, "WARM", id)[b"loaded"] == 2
    assert cache.server.mget("a", "b") == [b"1", b"2"]


def test_it_goes_on_when_its_client_has_left(cache: Cache) -> None:
    with client_of(cache.proxy) as client:
        id: Any = client.execute_command("WARM", "ASYNC", "KEYS", *SLOW[:5])

    with client_of(cache.proxy) as other:
        assert ended(other, "WARM", id)[b"loaded"] == 5


def test_it_is_cancelled_and_what_was_done_stays(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        id: Any = client.execute_command("WARM", "ASYNC", "CONCURRENCY", "1", "KEYS", *SLOW)
        wait_for(lambda: status(client, "WARM", id)[b"loaded"] >= 2)

        assert client.execute_command("WARM", "CANCEL", id) == 1
        found = ended(client, "WARM", id)

        assert found[b"state"] == b"cancelled"
        assert 2 <= found[b"loaded"] < len(SLOW)
        assert client.execute_command("WARM", "CANCEL", id) == 0
        assert client.execute_command("WARM", "CANCEL", "nobody's") == 0
    assert cache.server.exists(*SLOW) >= found[b"loaded"]


def test_what_is_wrong_is_told_before_anything_begins(cache: Cache) -> None:
    with client_of(cache.proxy) as client:
        before = client.execute_command("WARM", "JOBS")
        for words, error in (
            (("LOADER", "x", "KEYS", "a"), "no loader is called 'x'"),
            (("EX", "0", "KEYS", "a"), "invalid expire time in 'warm' command"),
            (("KEYS",), "wrong number of arguments for 'warm\\|keys' command"),
            (("CANCEL", "a"), "syntax error"),
        ):
            with pytest.raises(ResponseError, match=error):
                client.execute_command("WARM", "ASYNC", *words)

        assert client.execute_command("WARM", "JOBS") == before


def test_inside_multi_it_is_refused(cache: Cache) -> None:
    with closing(cache.link()) as link:
        assert link.ask("MULTI") == b"+OK\r\n"
        assert link.ask("WARM", "ASYNC", "KEYS", "a").startswith(b"-ERR WARM is a command of the")
        assert link.ask("EXEC").startswith(b"-EXECABORT")


# --- INVALIDATE -------------------------------------------------------------------------------


def test_a_pattern_goes_behind_and_out_of_the_near_cache(cache: Cache, resp: int) -> None:
    cache.server.mset({f"page:{number}": "old" for number in range(3000)} | {"order:1": "kept"})
    with client_of(cache.proxy, resp) as client:
        for _ in range(4):  # near, by then
            assert client.get("page:7") == b"old"

        id: Any = client.execute_command("INVALIDATE", "ASYNC", "PATTERN", "page:*", "none*")
        found = ended(client, "INVALIDATE", id)

        assert list(found) == [b"state", b"total", b"removed", b"elapsed_ms", b"error"]
        assert [found[name] for name in (b"state", b"total", b"removed")] == [b"done", None, 3000]
        assert client.get("page:7") is None
    assert cache.server.keys() == [b"order:1"]


def test_a_tag_goes_behind(cache: Cache, resp: int) -> None:
    with client_of(cache.proxy, resp) as client:
        for number in range(3):
            client.execute_command("GETORSET", f"k{number}", "v", "EX", "60", "TAG", "team")

        id: Any = client.execute_command("INVALIDATE", "ASYNC", "TAG", "team")

        assert ended(client, "INVALIDATE", id)[b"removed"] == 3
        assert client.mget("k0", "k1", "k2") == [None] * 3


@pytest.mark.parametrize("words", ["PATTERN *:1", "TAG mine"])
def test_behind_too_they_become_stale(cache: Cache, resp: int, words: str) -> None:
    with client_of(cache.proxy, resp) as client:
        client.execute_command("WARM", "TAG", "mine", "KEYS", "soft:1", "user:1")

        id: Any = client.execute_command("INVALIDATE", "ASYNC", "SOFT", *words.split())

        assert ended(client, "INVALIDATE", id)[b"removed"] == 2
        assert client.mget("soft:1", "user:1") == [b"user 1", None]
        assert 40_000 < client.pttl("soft:1") <= 50_000


def test_keys_are_removed_at_once_and_not_behind(cache: Cache) -> None:
    with client_of(cache.proxy) as client, pytest.raises(ResponseError, match="syntax error"):
        client.execute_command("INVALIDATE", "ASYNC", "KEYS", "a")


# --- Whose they are ---------------------------------------------------------------------------


@pytest.fixture
def ann(cache: Cache) -> Iterator[None]:
    for name in ("ann", "bob"):
        cache.server.execute_command(
            *("ACL", "SETUSER", name, "on", ">pw", "~*", "&*", "+@all", "-scan")
        )
    yield
    cache.server.execute_command("ACL", "DELUSER", "ann", "bob")


def test_another_user_or_db_neither_sees_nor_ends_them(cache: Cache, ann: None) -> None:
    with ExitStack() as stack:

        def user(**given: Any) -> Redis:
            return stack.enter_context(client_of(cache.proxy, **given))

        owner = user(username="ann", password="pw")
        id: Any = owner.execute_command("WARM", "ASYNC", "CONCURRENCY", "1", "KEYS", *SLOW)
        others = (
            user(),
            user(username="bob", password="pw"),
            user(username="ann", password="pw", db=1),
        )

        for other in others:
            assert other.execute_command("WARM", "STATUS", id) is None
            assert id not in other.execute_command("WARM", "JOBS")
            assert other.execute_command("WARM", "CANCEL", id) == 0
        again = user(username="ann", password="pw")
        assert status(again, "WARM", id)[b"state"] == b"running"
        assert again.execute_command("WARM", "CANCEL", id) == 1
        ended(again, "WARM", id)


def test_what_a_user_may_not_do_is_refused_as_without_async(cache: Cache, ann: None) -> None:
    with client_of(cache.proxy, username="ann", password="pw") as client:
        for words in (("PATTERN", "a*"), ("ASYNC", "PATTERN", "a*")):
            with pytest.raises(ResponseError, match="no permissions to run the 'scan' command"):
                client.execute_command("INVALIDATE", *words)
        assert client.execute_command("INVALIDATE", "JOBS") == []


def test_keys_that_a_user_may_not_write_fail_one_by_one(cache: Cache) -> None:
    cache.server.execute_command(
        *("ACL", "SETUSER", "eve", "on", ">pw", "~user:1", "~lease:{user:1}", "&*", "+@all")
    )
    try:
        with client_of(cache.proxy, username="eve", password="pw") as client:
            id: Any = client.execute_command("WARM", "ASYNC", "KEYS", "user:1", "user:2")
            found = ended(client, "WARM", id)
    finally:
        cache.server.execute_command("ACL", "DELUSER", "eve")

    assert [found[name] for name in (b"state", b"loaded", b"failed")] == [b"done", 1, 1]
    ((key, why),) = found[b"errors"]
    assert (key, why.startswith(b"NOPERM")) == (b"user:2", True)
