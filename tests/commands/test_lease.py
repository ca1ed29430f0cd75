"""LEASE before real servers, line by line of the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.servers import HOST, nearhit, wait_for
from tests.wire.frames import children, payload
from tests.wire.link import Link, command

from .people import BIG, Cache

NIL = {2: b"$-1\r\n", 3: b"_\r\n"}
TOO_LARGE = 2**63 - 1


def pair(frame: bytes) -> tuple[bytes | None, bytes | None]:
    """LEASE GET's reply: value and token."""
    head, parts = children(frame)
    assert head == b"*2\r\n", frame
    value, token = (None if part in NIL.values() else payload(part) for part in parts)
    return value, token


def take(link: Link, key: bytes | str, *options: str | int) -> bytes:
    value, token = pair(link.ask("LEASE", "GET", key, *options))
    assert value is None
    assert token
    return token


def pttl(cache: Cache, key: str) -> int:
    return int(cache.server.pttl(key))


# --- GET --------------------------------------------------------------------------------------


def test_a_hit_is_the_value_and_no_token(cache: Cache, resp: int) -> None:
    cache.server.set("k", "there")

    with closing(cache.link(resp)) as link:
        assert link.ask("LEASE", "GET", "k") == b"*2\r\n$5\r\nthere\r\n" + NIL[resp]

    assert cache.server.keys() == [b"k"]


def test_a_miss_is_a_token_for_ten_seconds(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        token = take(link, "k")

    assert cache.server.get("lease:{k}") == token
    assert 9_000 < pttl(cache, "lease:{k}") <= 10_000


@pytest.mark.parametrize("options", [("PX", 500), ("px", 500, "wait", 0), ("WAIT", 0, "PX", 500)])
def test_a_lease_lasts_as_long_as_is_asked(cache: Cache, options: tuple[str | int, ...]) -> None:
    with closing(cache.link()) as link:
        take(link, "k", *options)

    assert 0 < pttl(cache, "lease:{k}") <= 500


@pytest.mark.waits
def test_while_another_computes_there_is_neither(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link, closing(cache.link(resp)) as other:
        take(link, "k")

        assert other.ask("LEASE", "GET", "k") == b"*2\r\n" + NIL[resp] * 2
        assert link.ask("LEASE", "GET", "k") == b"*2\r\n" + NIL[resp] * 2
        began = time.monotonic()
        assert other.ask("LEASE", "GET", "k", "WAIT", 200) == b"*2\r\n" + NIL[resp] * 2

    assert 0.19 < time.monotonic() - began < 1.5


def test_who_waits_gets_the_value_that_is_set(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link, closing(cache.link(resp)) as other:
        token = take(link, "k")
        other.send(command("LEASE", "GET", "k", "WAIT", 10_000))
        assert link.ask("LEASE", "SET", "k", token, "v") == b":1\r\n"

        assert pair(other.read(1)[0]) == (b"v", None)


def test_who_waits_gets_a_value_that_is_written_directly(cache: Cache) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as other:
        take(link, "k")
        other.send(command("LEASE", "GET", "k", "WAIT", 10_000))
        wait_for(lambda: cache.server.set("k", "v"), what="a write")

        assert pair(other.read(1)[0]) == (b"v", None)


@pytest.mark.parametrize("how", ["cancels", "dies"])
def test_who_waits_gets_the_lease_next_where_the_holder(cache: Cache, how: str) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as other:
        token = take(link, "k", "PX", 300 if how == "dies" else 10_000)
        other.send(command("LEASE", "GET", "k", "WAIT", 10_000))
        if how == "cancels":
            assert link.ask("LEASE", "CANCEL", "k", token) == b":1\r\n"
        value, next_token = pair(other.read(1)[0])
        assert value is None
        assert next_token
        assert next_token != token
        assert link.ask("LEASE", "SET", "k", token, "old") == b":0\r\n"

        assert other.ask("LEASE", "SET", "k", next_token, "new") == b":1\r\n"

    assert cache.server.get("k") == b"new"


def test_who_waits_is_woken_by_an_invalidation(cache: Cache) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as other:
        token = take(link, "k")
        other.send(command("LEASE", "GET", "k", "WAIT", 10_000))
        assert link.ask("INVALIDATE", "k") == b":0\r\n"

        assert pair(other.read(1)[0])[1] not in (None, token)
        assert link.ask("LEASE", "SET", "k", token, "stale") == b":0\r\n"

    assert cache.server.get("k") is None


def test_a_load_and_a_lease_exclude_each_other(cache: Cache) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as other:
        other.send(command("GETORSET", "user:slow1"))
        wait_for(lambda: cache.loads("slow1"), what="the load")
        assert pair(link.ask("LEASE", "GET", "user:slow1")) == (None, None)
        assert pair(link.ask("LEASE", "GET", "user:slow1", "WAIT", 5000)) == (b"user slow1", None)

        token = take(link, "user:slow2")
        other.read(1)
        other.send(command("GETORSET", "user:slow2"))
        assert link.ask("LEASE", "SET", "user:slow2", token, "mine") == b":1\r\n"
        assert other.read(1) == [b"$4\r\nmine\r\n"]

    assert cache.loads("slow2") == 0


@pytest.mark.parametrize("name", ["nobody", "broken"])
def test_a_lease_knows_no_memory_of_loads(cache: Cache, name: str) -> None:
    with closing(cache.link()) as link:
        link.ask("GETORSET", f"user:{name}")
        token = take(link, f"user:{name}")

        assert link.ask("LEASE", "SET", f"user:{name}", token, "v") == b":1\r\n"


# --- SET --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ((), -2, -1),
        (("EX", 100), 98_000, 100_000),
        (("px", 5000), 3_000, 5_000),
        (("EXAT", 100), 98_000, 100_000),
        (("pxat", 100_000), 98_000, 100_000),
    ],
)
def test_set_stores_with_the_time_given(
    cache: Cache, resp: int, options: tuple[str | int, ...], low: int, high: int
) -> None:
    if options and str(options[0]).upper().endswith("AT"):
        number = int(options[1])
        options = (options[0], number + cache.server.time()[0] * (number // 100))
    with closing(cache.link(resp)) as link:
        token = take(link, "k")
        assert link.ask("LEASE", "SET", "k", token, b"\x00v", *options) == b":1\r\n"
        assert link.ask("LEASE", "SET", "k", token, "again") == b":0\r\n"

    assert cache.server.get("k") == b"\x00v"
    assert low < pttl(cache, "k") <= high
    assert cache.server.keys() == [b"k"]


@pytest.mark.parametrize("where", ["through", "directly"])
@pytest.mark.parametrize(
    "write",
    [
        ("SET", "k", "written"),
        ("GETORSET", "k", "written"),
        ("INVALIDATE", "k"),
        ("INVALIDATE", "PATTERN", "k*"),
        ("FLUSHALL",),
        ("LPUSH", "k", "x"),
    ],
    ids=" ".join,
)
def test_set_is_refused_behind_a_write(cache: Cache, where: str, write: tuple[str, ...]) -> None:
    ours = write[0] in ("GETORSET", "INVALIDATE")
    if where == "directly" and ours:
        pytest.skip("the server does not know it")
    with closing(cache.link()) as link, closing(cache.link()) as writer:
        token = take(link, "k")
        if where == "through":
            assert not writer.ask(*write).startswith(b"-")
        else:
            cache.server.execute_command(*write)
        before = cache.server.dump("k")

        assert link.ask("LEASE", "SET", "k", token, "stale") == b":0\r\n"

    assert cache.server.dump("k") == before


@pytest.mark.parametrize("where", ["through", "directly"])
def test_set_is_refused_behind_a_value_that_came_and_went(cache: Cache, where: str) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as writer:
        token = take(link, "k")
        if where == "through":
            writer.send(command("SET", "k", "v") + command("DEL", "k"))
            assert writer.read(2) == [b"+OK\r\n", b":1\r\n"]
        else:
            cache.server.set("k", "v")
            cache.server.delete("k")

        assert link.ask("LEASE", "SET", "k", token, "stale") == b":0\r\n"

    assert cache.server.get("k") is None


@pytest.mark.parametrize("key", ["user:1", "read:1"])
def test_a_delete_of_nothing_voids_the_lease_of_a_loaders_key(cache: Cache, key: str) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as writer:
        token = take(link, key)
        assert writer.ask("DEL", key) == b":0\r\n"

        assert link.ask("LEASE", "SET", key, token, "stale") == b":0\r\n"


@pytest.fixture
def other(cache: Cache) -> Iterator[Link]:
    """A client of one more proxy before the same server, which has no loaders."""
    port = cache.server.get_connection_kwargs()["port"]
    with nearhit(f"redis://{HOST}:{port}") as proxy, closing(Link(proxy.port)) as link:
        yield link


def test_a_value_that_came_and_went_voids_the_lease_for_other_proxies(
    cache: Cache, other: Link
) -> None:
    with closing(cache.link()) as link:
        token = take(link, "k")
        cache.server.set("k", "v")
        cache.server.delete("k")
        wait_for(lambda: not cache.server.exists("lease:{k}"), 5, "the end of the lease")

        assert other.ask("LEASE", "SET", "k", token, "stale") == b":0\r\n"

    assert cache.server.get("k") is None


def test_an_invalidation_of_nothing_voids_the_lease_whichever_proxy_it_passes(
    cache: Cache, other: Link
) -> None:
    with closing(cache.link()) as link:
        token = take(link, "k")
        assert other.ask("INVALIDATE", "k") == b":0\r\n"

        assert link.ask("LEASE", "SET", "k", token, "stale") == b":0\r\n"


def test_a_delete_of_nothing_voids_the_lease_in_the_process_that_it_passes(other: Link) -> None:
    token = take(other, "k")
    assert other.ask("DEL", "k") == b":0\r\n"

    assert other.ask("LEASE", "SET", "k", token, "stale") == b":0\r\n"


def test_set_with_a_wrong_token_is_refused_and_leaves_the_lease(cache: Cache) -> None:
    with closing(cache.link()) as link:
        token = take(link, "k")
        for wrong in ("", "t", "x" * 33, b"t" + b"0" * 32, token + b"\x00"):
            assert link.ask("LEASE", "SET", "k", wrong, "v") == b":0\r\n"
        assert link.ask("LEASE", "SET", "other", token, "v") == b":0\r\n"

        assert link.ask("LEASE", "SET", "k", token, "v") == b":1\r\n"


def test_set_without_any_lease_is_refused(cache: Cache) -> None:
    with closing(cache.link()) as link:
        assert link.ask("LEASE", "SET", "k", "t1", "v") == b":0\r\n"

    assert cache.server.keys() == []


def test_the_memory_of_a_load_is_no_token(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.ask("GETORSET", "user:nobody")

        assert link.ask("LEASE", "SET", "user:nobody", "n", "v") == b":0\r\n"
        assert link.ask("LEASE", "CANCEL", "user:nobody", "n") == b":0\r\n"


def test_a_lease_that_has_ended_refuses(cache: Cache) -> None:
    with closing(cache.link()) as link:
        token = take(link, "k", "PX", 20)
        wait_for(lambda: not cache.server.keys(), what="the end of the lease")

        assert link.ask("LEASE", "SET", "k", token, "v") == b":0\r\n"
        assert link.ask("LEASE", "CANCEL", "k", token) == b":0\r\n"


@pytest.mark.parametrize("size", [100_000, BIG])
def test_a_large_value_is_set(cache: Cache, size: int) -> None:
    with closing(cache.link()) as link:
        token = take(link, "k")
        assert link.ask("LEASE", "SET", "k", token, b"x" * size) == b":1\r\n"

    assert cache.server.strlen("k") == size


def test_a_lease_may_be_set_through_another_connection(cache: Cache) -> None:
    with closing(cache.link()) as link, closing(cache.link()) as other:
        token = take(link, b"\xff\x00")

        assert other.ask("LEASE", "SET", b"\xff\x00", token, "v") == b":1\r\n"


# --- CANCEL, HELP -----------------------------------------------------------------------------


def test_cancel_gives_the_lease_up_once(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        token = take(link, "k")
        assert link.ask("LEASE", "CANCEL", "k", "wrong") == b":0\r\n"
        assert link.ask("LEASE", "CANCEL", "k", token) == b":1\r\n"
        assert link.ask("LEASE", "CANCEL", "k", token) == b":0\r\n"
        assert cache.server.keys() == []

        take(link, "k")


def test_help_is_lines_of_text(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        lines = children(link.ask("lease", "help"))[1]

    assert lines[0] == b"+LEASE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n"
    assert lines[-1] == b"+    Print this help.\r\n"


# --- Wrong inputs -----------------------------------------------------------------------------

ARITY = "ERR wrong number of arguments for 'lease{}' command"
SYNTAX = "ERR syntax error"
INTEGER = "ERR value is not an integer or out of range"
TIME = "ERR invalid expire time in 'lease' command"
TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
WRONG = [
    ("LEASE", ARITY.format("")),
    ("LEASE GET", ARITY.format("|get")),
    ("LEASE SET leased TOKEN", ARITY.format("|set")),
    ("LEASE CANCEL leased", ARITY.format("|cancel")),
    ("LEASE CANCEL leased TOKEN x", ARITY.format("|cancel")),
    ("LEASE HELP x", ARITY.format("|help")),
    ("LEASE NOSUCH leased", "ERR unknown subcommand 'NOSUCH'. Try LEASE HELP."),
    ("LEASE GETT leased", "ERR unknown subcommand 'GETT'. Try LEASE HELP."),
    ("LEASE GET free EX 5", SYNTAX),
    ("LEASE GET free 5", SYNTAX),
    ("LEASE GET free PX", SYNTAX),
    ("LEASE GET free WAIT", SYNTAX),
    ("LEASE GET free PX 5 WAIT", SYNTAX),
    ("LEASE GET free PX 5 PX 5", SYNTAX),
    ("LEASE GET free WAIT 5 wait 5", SYNTAX),
    ("LEASE GET free PX x", INTEGER),
    ("LEASE GET free PX 1.5", INTEGER),
    (f"LEASE GET free PX {TOO_LARGE + 1}", INTEGER),
    ("LEASE GET free WAIT x", INTEGER),
    (f"LEASE GET free WAIT {TOO_LARGE + 1}", INTEGER),
    ("LEASE GET free PX 0", TIME),
    ("LEASE GET free PX -1", TIME),
    (f"LEASE GET free PX {TOO_LARGE}", TIME),
    ("LEASE GET free PX 3600001", "ERR a lease lasts at most 3600000 ms (PX)"),
    ("LEASE GET free WAIT -1", "ERR timeout is negative"),
    ("LEASE GET list", TYPE),
    ("LEASE GET list WAIT 5", TYPE),
    ("LEASE SET leased TOKEN v NX", SYNTAX),
    ("LEASE SET leased TOKEN v KEEPTTL", SYNTAX),
    ("LEASE SET leased TOKEN v 5", SYNTAX),
    ("LEASE SET leased TOKEN v EX", SYNTAX),
    ("LEASE SET leased TOKEN v EX 5 EX 5", SYNTAX),
    ("LEASE SET leased TOKEN v EX 5 PX 5", SYNTAX),
    ("LEASE SET leased TOKEN v EX x", INTEGER),
    (f"LEASE SET leased TOKEN v EX {TOO_LARGE + 1}", INTEGER),
    ("LEASE SET leased TOKEN v EX 0", TIME),
    ("LEASE SET leased TOKEN v PX -5", TIME),
    ("LEASE SET leased TOKEN v EXAT 0", TIME),
    ("LEASE SET leased TOKEN v PXAT -1", TIME),
    (f"LEASE SET leased TOKEN v EX {TOO_LARGE}", TIME),
    (f"LEASE SET leased TOKEN v EX {TOO_LARGE // 1000}", TIME),
    (f"LEASE SET leased TOKEN v PX {TOO_LARGE}", TIME),
    (f"LEASE SET leased TOKEN v EXAT {TOO_LARGE}", TIME),
]


@pytest.mark.parametrize(("words", "error"), WRONG)
def test_a_wrong_input_is_refused_and_changes_nothing(
    cache: Cache, resp: int, words: str, error: str
) -> None:
    cache.server.rpush("list", "x")
    with closing(cache.link(resp)) as link:
        token = take(link, "leased").decode()
        before = cache.everything()

        answer = link.ask(*words.replace("TOKEN", token).split())

        assert answer == f"-{error}\r\n".encode()
        assert cache.everything() == before
        assert link.ask("LEASE", "SET", "leased", token, "v") == b":1\r\n"


# --- Where a connection stands ----------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("LEASE", "GET", "k"), ("LEASE", "CANCEL", "k", "t"), ("LEASE",)], ids=" ".join
)
def test_in_a_transaction_it_is_refused_and_exec_aborts(
    cache: Cache, resp: int, words: tuple[str, ...]
) -> None:
    with closing(cache.link(resp)) as link:
        link.send(command("MULTI") + command(*words) + command("EXEC"))
        _, refused, aborted = link.read(3)

    assert refused.startswith(b"-ERR LEASE is a command of the proxy")
    assert aborted.startswith(b"-EXECABORT")
    assert cache.server.keys() == []


def test_while_subscribed_resp2_refuses_it_and_resp3_answers(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        link.ask("SUBSCRIBE", "news")
        answer = link.ask("LEASE", "GET", "k")

    if resp == 2:
        assert answer.startswith(b"-ERR Can't execute 'lease': only (P|S)SUBSCRIBE")
        assert cache.server.keys() == []
    else:
        assert pair(answer)[1]


def test_a_muted_client_takes_and_cancels(cache: Cache) -> None:
    with closing(cache.link()) as link:
        token = take(link, "k")
        link.send(command("CLIENT", "REPLY", "SKIP") + command("LEASE", "CANCEL", "k", token))
        link.send(command("PING"))
        assert link.read(1) == [b"+PONG\r\n"]

    assert cache.server.keys() == []


def test_inline_and_in_any_case_it_is_the_same(cache: Cache) -> None:
    with closing(cache.link()) as link:
        link.send(b"lEaSe gEt k pX 500\r\n")
        _, token = pair(link.read(1)[0])
        assert token
        link.send(b"LEASE SET k " + token + b' "a value" eX 5\r\nGET k\r\n')

        assert link.read(2) == [b":1\r\n", b"$7\r\na value\r\n"]


def test_each_db_has_its_own_leases(cache: Cache) -> None:
    with closing(cache.link()) as link:
        zero = take(link, "k")
        link.ask("SELECT", 5)
        five = take(link, "k")
        assert link.ask("LEASE", "SET", "k", zero, "v") == b":0\r\n"
        assert link.ask("LEASE", "SET", "k", five, "five") == b":1\r\n"
        link.ask("SELECT", 0)
        # Its push for the key of the other db, which pushes do not tell, ends this one too.
        assert link.ask("LEASE", "SET", "k", zero, "zero") == b":0\r\n"

    assert cache.server.get("k") is None


def test_it_runs_as_the_clients_user(cache: Cache) -> None:
    cache.server.acl_setuser(
        "ann", enabled=True, passwords=["+pw"], keys=["a*", "lease:{a*"], categories=["+@all"]
    )
    try:
        with closing(cache.link()) as link:
            link.ask("AUTH", "ann", "pw")
            token = take(link, "a1")
            assert link.ask("LEASE", "GET", "k").startswith(b"-NOPERM")
            assert link.ask("LEASE", "SET", "k", "t", "v").startswith(b"-NOPERM")
            assert link.ask("LEASE", "CANCEL", "k", "t").startswith(b"-NOPERM")
            assert link.ask("LEASE", "SET", "a1", token, "v") == b":1\r\n"
    finally:
        cache.server.acl_deluser("ann")

    assert cache.server.keys() == [b"a1"]


def test_in_a_pipeline_each_waits_for_those_before(cache: Cache, resp: int) -> None:
    with closing(cache.link(resp)) as link:
        link.send(
            command("SET", "k", "v")
            + command("LEASE", "GET", "k")
            + command("DEL", "k")
            + command("LEASE", "GET", "k", "PX", 300)
            + command("LEASE", "GET", "k", "WAIT", 5000)
            + command("DEL", "k")
            + command("GET", "k")
        )
        answers = link.read(7)

    assert answers[0] == b"+OK\r\n"
    assert pair(answers[1]) == (b"v", None)
    tokens = {pair(answers[at])[1] for at in (3, 4)}
    assert len(tokens) == 2
    assert None not in tokens
    assert answers[5:] == [b":0\r\n", NIL[resp]]


def test_of_those_who_wait_the_first_one_gets_the_lease_and_the_others_cost_nothing(
    cache: Cache,
) -> None:
    with ExitStack() as stack:
        holder = stack.enter_context(closing(cache.link()))
        links = [stack.enter_context(closing(cache.link())) for _ in range(50)]
        token = take(holder, "k")
        for number, link in enumerate(links, 1):
            link.send(command("LEASE", "GET", "k", "WAIT", 30_000))
            wait_for(lambda: waiting(holder) == number, 5, "the waiter")  # noqa: B023  # now
        before = scripts_run(cache)

        assert holder.ask("LEASE", "CANCEL", "k", token) == b":1\r\n"
        value, token = pair(links[0].read(1)[0])

        assert (value, token) == (None, cache.server.get("lease:{k}"))
        assert scripts_run(cache) - before <= 3  # CANCEL, the attempt, and the next one's look

        before = scripts_run(cache)
        assert holder.ask("LEASE", "SET", "k", token, "v") == b":1\r\n"
        for link in links[1:]:
            assert pair(link.read(1)[0]) == (b"v", None)
        assert scripts_run(cache) - before <= 3


def waiting(link: Link) -> int:
    """How many requests of the proxy wait for a load or a lease."""
    _, rows = children(link.ask("STATS"))
    names = [payload(row) for row in rows[::2]]
    return int(rows[1::2][names.index(b"waiting")][1:])


def scripts_run(cache: Cache) -> int:
    stats = cache.server.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))
