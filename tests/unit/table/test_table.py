"""What is known about each command, and what the kernel is told of it in each mode."""

from __future__ import annotations

import hiredis
import pytest
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.table.modes import UNSAFE_IN_MULTI
from nearhit.proxy.table.table import OVERLAY, Command, Ours, Table, snapshot, table_from_reply

REDIS_7_GET = [
    b"get", 2, [b"readonly", b"fast"], 1, 1, 1, [b"@read"], [], [[b"flags", [b"RO"]]], [],
]  # fmt: skip
REDIS_7_CLIENT = [
    b"client", -2, [], 0, 0, 0, [b"@slow"], [], [],
    [[b"client|id", 2, [b"noscript"], 0, 0, 0, [], [], [], []], [b"client|no-evict", 3, []]],
]  # fmt: skip
REDIS_6_BLPOP = [b"blpop", -3, [b"write", b"noscript", b"blocking"], 1, -2, 1]


@pytest.fixture(scope="module")
def shipped() -> Table:
    return snapshot()


@pytest.fixture(scope="module")
def table() -> Table:
    return table_from_reply([REDIS_7_GET, REDIS_7_CLIENT, REDIS_6_BLPOP])


# --- COMMAND replies


def test_a_row_becomes_a_command(table: Table) -> None:
    assert table.commands[b"GET"] == Command(
        b"GET", 2, frozenset({b"readonly", b"fast"}), (1, 1, 1)
    )
    assert table.commands[b"CLIENT"].subcommands == {b"ID", b"NO-EVICT"}


def test_a_row_of_redis_6_does(table: Table) -> None:
    assert table.commands[b"BLPOP"].keys == (1, -2, 1)
    assert table.maps[Mode.NEAR].get(b"blpop") == Route.BLOCK


def test_words_may_be_text_as_with_status_replies() -> None:
    table = table_from_reply([["get", 2, {"readonly"}, 1, 1, 1]])

    assert table.commands[b"GET"].flags == {b"readonly"}


def test_a_reply_read_by_hiredis_is_understood() -> None:
    reader = hiredis.Reader()
    reader.feed(b"*1\r\n*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n")

    assert list(table_from_reply(reader.gets()).commands) == [b"GET"]


@pytest.mark.parametrize("rows", [None, [], b"OK", 5, [None], [[b"get", 2]], [[]], "x", [b"get"]])
def test_what_is_no_command_reply_is_refused(rows: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        table_from_reply(rows)


def test_a_name_that_the_kernel_cannot_hold_is_known_all_the_same() -> None:
    name = b"M." + b"x" * 40

    table = table_from_reply([[name, 1, [], 0, 0, 0]])

    assert name.upper() in table.commands
    assert table.maps[Mode.NEAR].get(name) == Route.ODD


@pytest.mark.parametrize(
    ("arity", "count", "accepted"),
    [(2, 2, True), (2, 1, False), (2, 3, False), (-2, 2, True), (-2, 9, True), (-2, 1, False)],
)
def test_arity_counts_the_name(arity: int, count: int, accepted: bool) -> None:
    assert Command(b"X", arity, frozenset(), (0, 0, 0)).accepts(count) is accepted


def test_subcommands_are_known_as_the_server_lists_them(table: Table) -> None:
    assert table.knows(b"CLIENT", b"ID")
    assert not table.knows(b"CLIENT", b"SETINFO")
    assert not table.knows(b"FOO", b"ID")


# --- The snapshot


def test_the_snapshot_knows_both_servers(shipped: Table) -> None:
    assert len(shipped.commands) > 240
    assert {b"GET", b"SET", b"HELLO", b"LPOS", b"FUNCTION"} <= set(shipped.commands)
    assert shipped.knows(b"CLIENT", b"CAPA")  # Valkey's alone
    assert shipped.knows(b"CLIENT", b"NO-TOUCH")
    assert shipped.commands[b"GET"].accepts(2)


# --- Paths in each mode


def test_the_overlay_names_only_commands_that_a_server_has(shipped: Table) -> None:
    assert set(OVERLAY) <= set(shipped.commands)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"GET", Route.READ),
        (b"mget", Route.READ),
        (b"GETEX", Route.READ),
        (b"GETDEL", Route.READ),
        (b"GETSET", Route.PLAIN),  # its reply is no read's: the old value of a write
        (b"PING", Route.PLAIN),
        (b"FLUSHALL", Route.PLAIN),
        (b"BLPOP", Route.BLOCK),
        (b"BZMPOP", Route.BLOCK),
        (b"XREAD", Route.BLOCK_OPTION),
        (b"WAIT", Route.WAIT),
        (b"MULTI", Route.MULTI),
        (b"EVAL", Route.SCRIPTED),
        (b"MONITOR", Route.MONITOR),
        (b"ssubscribe", Route.SUBSCRIBE),
        (b"client", Route.CLIENT),
        (b"NO.SUCH", Route.ODD),
    ],
)
def test_names_have_their_paths(shipped: Table, name: bytes, path: Route) -> None:
    assert shipped.maps[Mode.NEAR].get(name) == path


def test_every_blocking_command_leaves_the_shared_lane(shipped: Table) -> None:
    blocking = [c.name for c in shipped.commands.values() if b"blocking" in c.flags]

    assert len(blocking) > 8
    assert all(shipped.maps[Mode.NEAR].get(name) != Route.PLAIN for name in blocking)


def test_inside_multi_all_is_queued_but_what_ends_it_or_changes_the_connection(
    shipped: Table,
) -> None:
    seen = {Route(shipped.maps[Mode.QUEUEING].get(name)) for name in shipped.commands}
    never = {Route.DISCARD, Route.EXEC, Route.MULTI, Route.QUIT, Route.RESET, Route.WATCH}

    own = {Route.CUSTOM, Route.GETORSET}  # commands that this server does not have
    assert seen == (UNSAFE_IN_MULTI - own) | never | {Route.PLAIN, Route.WRITE}
    assert shipped.maps[Mode.QUEUEING].get(b"GET") == Route.PLAIN
    # Queued too, and its keys are noted.
    assert shipped.maps[Mode.QUEUEING].get(b"BLPOP") == Route.WRITE
    assert shipped.maps[Mode.QUEUEING].get(b"EVAL") == Route.WRITE
    assert shipped.maps[Mode.QUEUEING].get(b"SELECT") == Route.SELECT
    assert shipped.maps[Mode.QUEUEING].get(b"NO.SUCH") == Route.ODD


def test_in_resp2_subscribe_mode_the_server_refuses_the_rest_itself(shipped: Table) -> None:
    seen = {Route(shipped.maps[Mode.SUBSCRIBED].get(name)) for name in shipped.commands}

    assert seen == {Route.SUBSCRIBE, Route.UNSUBSCRIBE, Route.QUIT, Route.RESET, Route.PLAIN}


def test_among_scripts_only_scripts_are_plain_in_addition(shipped: Table) -> None:
    assert shipped.maps[Mode.SCRIPTING].get(b"EVAL") == Route.PLAIN
    for name in shipped.commands:
        if shipped.maps[Mode.NEAR].get(name) != Route.SCRIPTED:
            assert shipped.maps[Mode.SCRIPTING].get(name) == shipped.maps[Mode.NEAR].get(name)


def test_of_strangers_every_request_is_looked_at(shipped: Table) -> None:
    assert {shipped.maps[Mode.LOCKED].get(name) for name in shipped.commands} == {Route.ODD}


def test_a_table_says_how_much_it_knows(table: Table) -> None:
    assert repr(table) == "<Table 3 commands>"


@pytest.mark.parametrize("voids", [False, True])
def test_a_count_that_is_kept_in_its_key_is_a_write_for_the_near_cache(voids: bool) -> None:
    table = snapshot(Ours(near=True, voids=voids))

    assert table.maps[Mode.NEAR].get(b"PFCOUNT") == Route.WRITE
    assert table.written([b"pfcount", b"a", b"b"]) == [b"a", b"b"]
    assert snapshot(Ours()).maps[Mode.NEAR].get(b"PFCOUNT") == Route.PLAIN


@pytest.mark.parametrize(
    ("name", "flags", "may"),
    [
        (b"GET", {b"readonly", b"fast"}, True),
        (b"SOMETHING", {b"readonly"}, True),
        (b"SET", {b"write"}, False),
        (b"PING", {b"fast"}, False),
        (b"ODD", {b"readonly", b"write"}, False),
        (b"COUNTS", {b"readonly", b"may_replicate"}, False),
        (b"FT.CURSOR", {b"readonly", b"module"}, False),
        (b"XREAD", {b"readonly", b"blocking"}, False),
        (b"EVAL_RO", {b"readonly", b"noscript"}, False),
        (b"TOUCH", {b"readonly", b"fast"}, False),
        (b"PFCOUNT", {b"readonly"}, False),
    ],
)
def test_only_mere_reads_may_be_asked_again(name: bytes, flags: set[bytes], may: bool) -> None:
    table = Table({name: Command(name, -2, frozenset(flags), (1, 1, 1))}, Ours())
    request = b"*2\r\n$%d\r\n%b\r\n$1\r\nk\r\n" % (len(name), name)

    assert table.repeatable.scan(request, 0, 9) == may
    assert table.repeatable.scan(b"*1\r\n$4\r\nNONE\r\n", 0, 9) == 0
