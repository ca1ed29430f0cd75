"""What CLIENT LIST shows of a client's doings: the last command, what stands in its buffers, what
went in and out. On a real server (which shows that the test is right) and through the proxy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.servers import wait_for

from .conftest import Side, Twins
from .frames import payload
from .link import Link, command

Connect = Callable[[], Link]


@pytest.fixture
def connect(side: Side) -> Iterator[Connect]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Link(side.port)))


@pytest.fixture
def watcher(connect: Connect) -> Link:
    return connect()


@pytest.fixture
def one(connect: Connect) -> Link:
    return connect()


def shown(asker: Link, *words: str | int) -> list[dict[str, str]]:
    text = payload(asker.ask("CLIENT", "LIST", *words)).decode()
    return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines()]


def number(link: Link) -> int:
    return int(link.ask("CLIENT", "ID")[1:-2])


def seen(watcher: Link, identity: int) -> dict[str, str]:
    (found,) = [one for one in shown(watcher) if one["id"] == str(identity)]
    return found


@pytest.mark.parametrize(
    ("said", "cmd"),
    [
        ("PING", "ping"),
        ("GET k", "get"),
        ("NOPE x", "NULL"),
        ("CLIENT", "client"),
        ("CLIENT NOPE", "NULL"),
        ("GET", "get"),
        ("CONFIG GET port", "config|get"),
        ("XINFO STREAM k", "xinfo|stream"),
        ("CLIENT GETNAME", "client|getname"),
        ("CLIENT SETNAME me", "client|setname"),
        ("CLIENT NO-EVICT on", "client|no-evict"),
        ("CLIENT TRACKING on", "client|tracking"),
        ("COMMAND COUNT", "command|count"),
        ("OBJECT ENCODING k", "object|encoding"),
        ("SCRIPT EXISTS a", "script|exists"),
        ("INFO server", "info"),
        ("MGET k l", "mget"),
        ("SET k v", "set"),
        ("MSET k v l w", "mset"),
        ("DEL k", "del"),
        ("WATCH k", "watch"),
        ("UNWATCH", "unwatch"),
        ("MULTI", "multi"),
        ("EXEC", "exec"),
        ("DISCARD", "discard"),
        ("RESET", "reset"),
        ("HELLO 3", "hello"),
        ("SELECT 2", "select"),
        ("AUTH x", "auth"),
        ("EVAL return(1) 0", "eval"),
        ("SUBSCRIBE a", "subscribe"),
        ("PSUBSCRIBE a*", "psubscribe"),
        ("MONITOR", "monitor"),
        ("WAIT 0 1", "wait"),
        ("LPOP k", "lpop"),
        ("FLUSHALL", "flushall"),
        (f"SET k {'v' * 2000}", "set"),
        (f"MSET k {'v' * 100_000}", "mset"),
    ],
)
def test_cmd_is_the_last_command(watcher: Link, one: Link, said: str, cmd: str) -> None:
    own = number(one)
    one.ask("ECHO", "x")

    one.ask(*said.split())

    assert seen(watcher, own)["cmd"] == cmd


@pytest.mark.parametrize("size", [1, 300, 5000])
def test_cmd_is_the_last_of_what_came_together(watcher: Link, one: Link, size: int) -> None:
    own = number(one)

    for last in ("STRLEN", "GET"):
        one.send(command("SET", "k", "v" * size) * 3 + command("APPEND", "k", "")
                 + command(last, "k"))  # fmt: skip
        one.read(5)
        assert seen(watcher, own)["cmd"] == last.lower()

    one.send(command("MULTI") + command("SET", "k", "v" * size) + command("EXEC"))
    one.read(3)
    assert seen(watcher, own)["cmd"] == "exec"


def test_cmd_is_get_also_where_it_was_answered_near(watcher: Link, one: Link) -> None:
    own = number(one)
    for _ in range(4):
        one.ask("SET", "k", "v")
        one.ask("GET", "k")
        assert seen(watcher, own)["cmd"] == "get"


def test_a_blocked_client_shows_what_blocks_it(watcher: Link, one: Link) -> None:
    own = number(one)

    one.send(command("BLPOP", "q", 0) + command("PING"))

    wait_for(lambda: "b" in seen(watcher, own)["flags"], what="blocked")
    assert seen(watcher, own)["cmd"] == "blpop"
    assert seen(watcher, own)["argv-mem"] == "7"
    watcher.ask("RPUSH", "q", "x")
    one.read(2)
    assert seen(watcher, own)["cmd"] == "ping"


def test_the_one_who_asks_shows_its_request(one: Link, twins: Twins) -> None:
    kind = twins.kind
    me = shown(one, "ID", number(one))[0]
    one.send(b"CLIENT LIST\r\n")
    inline = payload(one.read(1)[0]).decode()

    assert (me["cmd"], me["argv-mem"]) == ("client|list", str(10 + 2 + len(me["id"])))
    assert int(me["tot-mem"]) > 26
    if kind == "redis":
        assert int(me["qbuf"]) == len(command("CLIENT", "LIST", "ID", me["id"]))
        assert int(me["qbuf-free"]) > 0
        assert " qbuf=13 " in inline
    else:  # Valkey's clients share a buffer to read from
        assert me["qbuf"] == "0"
        assert " qbuf=0 " in inline


def test_a_request_that_is_not_whole_is_in_the_buffer(watcher: Link, one: Link) -> None:
    own = number(one)

    one.send(b"*2\r\n$3\r\nGE")

    def buffered() -> bool:
        him = seen(watcher, own)  # Redis takes whole words out of it
        return int(him["qbuf"]) > 0 and int(him["qbuf-free"]) > 0

    wait_for(buffered, what="bytes in qbuf")


def test_what_is_queued_and_watched_is_shown(watcher: Link, one: Link) -> None:
    own = number(one)

    one.ask("WATCH", "k", "k", "l")
    assert seen(watcher, own).get("watch", "2") == "2"
    one.ask("MULTI")
    one.ask("SET", "k", "v")
    him = seen(watcher, own)
    assert him["multi"] == "1"
    assert 0 < int(him["multi-mem"]) < 100
    one.ask("EXEC")
    him = seen(watcher, own)
    assert him["multi-mem"] == "0"
    assert him.get("watch", "0") == "0"


def test_the_flag_of_monitor_goes_with_reset(watcher: Link, one: Link) -> None:
    own = number(one)

    one.ask("MONITOR")
    assert seen(watcher, own)["flags"] == "O"
    one.send(command("RESET"))
    wait_for(lambda: seen(watcher, own)["flags"] == "N", what="no flag")


@pytest.mark.parametrize("said", ["SET k v", "PFCOUNT k", "PUBLISH a b", "EVAL return(1) 0"])
def test_whom_a_pause_holds_up_is_blocked(watcher: Link, one: Link, said: str) -> None:
    own = number(one)
    watcher.ask("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        one.send(command(*said.split()))
        wait_for(lambda: seen(watcher, own)["flags"] == "b", what="the flag of who is blocked")
        assert b"\r\nblocked_clients:1\r\n" in watcher.ask("INFO", "clients")
    finally:
        watcher.ask("CLIENT", "UNPAUSE")
    assert one.read(1)
    assert seen(watcher, own)["flags"] == "N"


def test_a_replica_is_one_in_the_list_and_ends_by_its_type(watcher: Link, one: Link) -> None:
    own = str(number(one))
    one.send(command("SYNC"))
    wait_for(lambda: seen(watcher, int(own))["flags"] == "S", what="the flag of a replica")

    of_types = {
        name: own in [client["id"] for client in shown(watcher, "TYPE", name)]
        for name in ("normal", "pubsub", "replica", "slave")
    }
    assert of_types == {"normal": False, "pubsub": False, "replica": True, "slave": True}
    assert watcher.ask("CLIENT", "KILL", "TYPE", "replica") == b":1\r\n"
    assert one.rest() is not None


def test_who_imports_has_a_flag(watcher: Link, one: Link, twins: Twins) -> None:
    if twins.kind == "redis":
        pytest.skip("Redis knows no IMPORT-SOURCE")
    own = number(one)
    watcher.ask("CONFIG", "SET", "import-mode", "yes")
    try:
        assert one.ask("CLIENT", "IMPORT-SOURCE", "on") == b"+OK\r\n"
        assert seen(watcher, own)["flags"] == "I"
        assert one.ask("CLIENT", "IMPORT-SOURCE", "off") == b"+OK\r\n"
        assert seen(watcher, own)["flags"] == "N"
    finally:
        watcher.ask("CONFIG", "SET", "import-mode", "no")


def test_totals_count_what_went_in_and_out(watcher: Link, one: Link) -> None:
    own = number(one)
    him = seen(watcher, own)
    if "tot-cmds" not in him:
        pytest.skip("this server has no totals")
    assert him["capa"] == ""
    totals = {name: int(him[name]) for name in ("tot-net-in", "tot-net-out", "tot-cmds")}
    asked, got = 0, 0
    for words in (["PING"], ["SET", "k", "v" * 100], ["GET", "k"], ["GET", "k"], ["GET", "k"],
                  ["SUBSCRIBE", "a"]):  # fmt: skip
        asked += len(command(*words))
        got += len(one.ask(*words))

    him = seen(watcher, own)
    assert int(him["tot-net-in"]) - totals["tot-net-in"] == asked
    assert int(him["tot-net-out"]) - totals["tot-net-out"] == got
    assert int(him["tot-cmds"]) - totals["tot-cmds"] == 6


@pytest.mark.parametrize(
    ("words", "both"),
    [
        ("NAME one", "-x"),
        ("NOT-NAME one", "x-"),
        ("DB 3", "-x"),
        ("NOT-DB 3", "x-"),
        ("IP 127.0.0.1", "xx"),
        ("NOT-IP 127.0.0.1", "--"),
        ("FLAGS P", "-x"),
        ("NOT-FLAGS N", "-x"),
        ("NOT-TYPE pubsub", "x-"),
        ("LIB-NAME lib", "-x"),
        ("NOT-LIB-NAME lib", "x-"),
        ("LIB-VER 7", "-x"),
        ("CAPA r", "-x"),
        ("NOT-CAPA r", "x-"),
        ("IDLE 100", "--"),
        ("MAXAGE 100", "--"),
        ("NOT-USER default", "--"),
        ("SKIPME yes", "-x"),
        ("NOT-ID {own} {own}", "x-"),
        ("NOT-ID {own} 99999 DB 0", "x-"),
        ("ID {own} ID {me}", "xx"),
    ],
)
def test_the_newer_filters_choose_as_the_server_does(
    watcher: Link, one: Link, words: str, both: str
) -> None:
    if watcher.ask("CLIENT", "LIST", "DB", 0).startswith(b"-"):
        pytest.skip("this server has none of them")
    me, own = number(watcher), number(one)
    one.ask("CLIENT", "SETNAME", "one")
    one.ask("CLIENT", "SETINFO", "LIB-NAME", "lib")
    one.ask("CLIENT", "SETINFO", "LIB-VER", "7")
    one.ask("CLIENT", "CAPA", "redirect")
    one.ask("SELECT", 3)
    one.ask("SUBSCRIBE", "a")

    ids = {client["id"] for client in shown(watcher, *words.format(own=own, me=me).split())}

    assert "".join("x" if str(one) in ids else "-" for one in (me, own)) == both


def test_kill_takes_the_newer_filters_and_spares_the_rest(
    watcher: Link, one: Link, connect: Connect
) -> None:
    if watcher.ask("CLIENT", "LIST", "DB", 0).startswith(b"-"):
        pytest.skip("this server has none of them")
    spared = connect()
    me, own, other = number(watcher), number(one), number(spared)
    one.ask("SELECT", 3)
    one.ask("CLIENT", "SETNAME", "one")

    assert watcher.ask("CLIENT", "KILL", "NAME", "one", "NOT-ID", me, own) == b":0\r\n"
    assert watcher.ask("CLIENT", "KILL", "DB", 3, "NOT-ID", me, other, "SKIPME", "no") == b":1\r\n"
    assert one.rest(5) == b""
    assert spared.ask("PING") == b"+PONG\r\n"


def test_a_client_is_killed_once(watcher: Link, one: Link) -> None:
    own = number(one)

    watcher.send(command("CLIENT", "KILL", "ID", own) * 2)

    assert watcher.read(2) == [b":1\r\n", b":0\r\n"]


def test_a_bad_filter_is_one_line(watcher: Link) -> None:
    said = watcher.ask("CLIENT", "LIST", "TYPE", "x\r\n+OK")

    assert said == b"-ERR Unknown client type 'x  +OK'\r\n"
    assert watcher.ask("PING") == b"+PONG\r\n"


def figures(link: Link) -> dict[str, str]:
    text = payload(link.ask("INFO", "clients")).decode()
    return dict(row.split(":", 1) for row in text.split("\r\n") if ":" in row)


def test_info_counts_the_clients_that_the_list_shows(watcher: Link, connect: Connect) -> None:
    wait_for(lambda: len(shown(watcher)) == int(figures(watcher)["connected_clients"]),
             what="those of the test before have gone")  # fmt: skip
    before = figures(watcher)
    said = (
        ("BLPOP", "q", "r", 0),
        ("BLPOP", "q", 100),
        ("XREAD", "BLOCK", 0, "STREAMS", "s", "$"),
        ("WAIT", 5, 100_000),
        ("SUBSCRIBE", "a"),
        ("CLIENT", "TRACKING", "on"),
        ("WATCH", "k", "l"),
        ("WATCH", "k"),
    )
    links = [connect() for _ in said]

    for link, words in zip(links, said, strict=True):
        link.send(command(*words))

    grown = {
        "connected_clients": 8,
        "blocked_clients": 4,
        "tracking_clients": 1,
        "pubsub_clients": 1,
        "watching_clients": 2,
        "clients_in_timeout_table": 2,
        "total_watched_keys": 2,
        "total_blocking_keys": 3,
        "total_blocking_keys_on_nokey": 0,
    }

    def growth() -> dict[str, int]:
        now = figures(watcher)
        return {name: int(now[name]) - int(before[name]) for name in grown if name in now}

    wait_for(lambda: growth() == {name: grown[name] for name in growth()}, what="the growth")
    text = watcher.ask("INFO")
    assert b"\r\nblocked_clients:4\r\n" in text
