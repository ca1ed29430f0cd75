"""Where each command of the servers goes in a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import redis
from nearhit.proxy.cluster.table import (
    UNKNOWN,
    Merger,
    Row,
    Splitter,
    Target,
    Trait,
    facts,
    known_under,
    one_key,
    refusal,
    row,
    row_of,
)
from nearhit.proxy.table.table import Command, snapshot, table_from_reply

from tests.make_snapshot import command_reply
from tests.servers import Kind, Process, upstream

SHIPPED = snapshot().commands
# Those that go nowhere because nobody knows how: a new one here wants a line of OVERRIDES.
UNKNOWN_ONES: frozenset[bytes] = frozenset()


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    kind: Kind = request.param
    with upstream(kind) as process:
        yield process


@pytest.fixture(scope="module")
def commands(server: Process) -> Mapping[bytes, Command]:
    return table_from_reply(command_reply(f"redis://127.0.0.1:{server.port}")).commands


def every(commands: Mapping[bytes, Command]) -> Iterator[tuple[bytes, ...]]:
    """Each command and each subcommand, as the words of a request."""
    for name, command in commands.items():
        yield (name,)
        for sub in command.subcommands:
            yield name, sub


def at(text: str, commands: Mapping[bytes, Command] = SHIPPED) -> Row:
    return row(text.encode().split(), commands)


# --- Every command


def test_each_command_of_a_server_has_a_row_that_somebody_chose(
    commands: Mapping[bytes, Command],
) -> None:
    rows = {words: row(words, commands) for words in every(commands)}
    unknown = {b" ".join(words) for words, found in rows.items() if found.why == UNKNOWN}

    assert len(rows) > 300
    assert unknown == UNKNOWN_ONES


def test_what_is_refused_says_why(commands: Mapping[bytes, Command]) -> None:
    refused = [words for words in every(commands) if row(words, commands).target is Target.REFUSE]

    assert len(refused) > 20
    for words in refused:
        line = refusal(words, row(words, commands).why).line
        assert line.startswith(b"-ERR " + b" ".join(words) + b" is not possible in cluster mode: ")
        assert line.endswith(b"\r\n")
        assert len(line) < 140


def test_a_write_without_keys_goes_to_all_or_nowhere(commands: Mapping[bytes, Command]) -> None:
    for words in every(commands):
        command = facts(words, commands)
        assert command is not None
        if b"write" in command.flags and not command.keys[0] and not command.specs:
            target = row(words, commands).target
            local = words[0] == b"CLUSTER"
            assert local or target in (Target.ALL_PRIMARIES, Target.REFUSE, Target.KEYED), words


def test_several_replies_have_a_merger(commands: Mapping[bytes, Command]) -> None:
    for words in every(commands):
        found = row(words, commands)
        if found.target in (Target.ALL_NODES, Target.ALL_PRIMARIES):
            assert found.merger is not Merger.ONE, words
        if found.splitter is not Splitter.NONE:
            assert found.target is Target.KEYED
            assert found.merger is not Merger.ONE, words


def test_each_command_with_keys_is_keyed_unless_it_is_refused(
    commands: Mapping[bytes, Command],
) -> None:
    for words in every(commands):
        command = facts(words, commands)
        assert command is not None
        if command.keys[0] or b"movablekeys" in command.flags:
            target = row(words, commands).target
            assert target in (Target.KEYED, Target.SUBSCRIBE, Target.REFUSE), words


# --- Single ones


@pytest.mark.parametrize(
    ("text", "target", "merger"),
    [
        ("GET k", Target.KEYED, Merger.ONE),
        ("get k", Target.KEYED, Merger.ONE),
        ("PING", Target.LOCAL, Merger.ONE),
        ("CLIENT SETNAME x", Target.LOCAL, Merger.ONE),
        ("CLIENT PAUSE 1", Target.REFUSE, Merger.ONE),
        ("client nonesuch", Target.LOCAL, Merger.ONE),
        ("COMMAND", Target.LOCAL, Merger.ONE),
        ("COMMAND DOCS get", Target.LOCAL, Merger.ONE),
        ("CLUSTER INFO", Target.LOCAL, Merger.ONE),
        ("CLUSTER FLUSHSLOTS", Target.LOCAL, Merger.ONE),
        ("CLUSTERSCAN 0", Target.REFUSE, Merger.ONE),
        ("CONFIG", Target.ANY_PRIMARY, Merger.ONE),
        ("CONFIG NONESUCH", Target.ANY_PRIMARY, Merger.ONE),
        ("CONFIG GET x", Target.ANY_PRIMARY, Merger.ONE),
        ("CONFIG SET x y", Target.ALL_NODES, Merger.ALL_OK),
        ("CONFIG HELP", Target.ANY_PRIMARY, Merger.ONE),
        ("LATENCY RESET", Target.ALL_NODES, Merger.SUM),
        ("LATENCY LATEST", Target.REFUSE, Merger.ONE),
        ("LATENCY HELP", Target.ANY_PRIMARY, Merger.ONE),
        ("MEMORY USAGE k", Target.KEYED, Merger.ONE),
        ("MEMORY STATS", Target.REFUSE, Merger.ONE),
        ("XGROUP CREATE k g 0", Target.KEYED, Merger.ONE),
        ("XGROUP HELP", Target.ANY_PRIMARY, Merger.ONE),
        ("DBSIZE", Target.ALL_PRIMARIES, Merger.SUM),
        ("RANDOMKEY", Target.ALL_PRIMARIES, Merger.RANDOM),
        ("SCAN 0", Target.SCAN, Merger.ONE),
        ("HSCAN k 0", Target.KEYED, Merger.ONE),
        ("SCRIPT LOAD x", Target.ALL_NODES, Merger.SAME),
        ("SCRIPT EXISTS x", Target.ALL_PRIMARIES, Merger.AND),
        ("FUNCTION LOAD x", Target.ALL_PRIMARIES, Merger.SAME),
        ("FUNCTION KILL", Target.ALL_PRIMARIES, Merger.ONE_OK),
        ("EVAL x 0", Target.KEYED, Merger.ONE),
        ("MSETNX k v", Target.KEYED, Merger.ONE),
        ("MGET a b", Target.KEYED, Merger.KEYED),
        ("SPUBLISH c m", Target.KEYED, Merger.ONE),
        ("PUBLISH c m", Target.ANY_PRIMARY, Merger.ONE),
        ("SWAPDB 0 1", Target.REFUSE, Merger.ONE),
        ("DEBUG SLEEP 1", Target.REFUSE, Merger.ONE),
        ("NONESUCH a", Target.ANY_PRIMARY, Merger.ONE),
    ],
)
def test_a_command_goes_where_the_design_says(text: str, target: Target, merger: Merger) -> None:
    found = at(text)

    assert (found.target, found.merger) == (target, merger)


def test_a_server_that_tells_neither_tips_nor_subcommands_gets_the_shipped_ones() -> None:
    old = table_from_reply(
        [[b"config", -2, [b"admin"], 0, 0, 0], [b"xinfo", -2, [b"readonly"], 2, 2, 1]]
    ).commands

    assert at("CONFIG SET x y", old) == at("CONFIG SET x y")
    assert at("XINFO STREAM k", old).target is Target.KEYED


def test_a_subcommand_that_a_server_only_names_goes_by_what_is_known_of_it() -> None:
    named = table_from_reply([[b"acl", -2, [], 0, 0, 0, [], [], [], [[b"acl|whoami"]]]]).commands

    assert at("ACL WHOAMI", named).target is Target.ANY_PRIMARY


def module(flags: frozenset[bytes] = frozenset(), tips: frozenset[bytes] = frozenset()) -> Command:
    return Command(b"MOD.X", -1, flags, (0, 0, 0), tips=tips)


def test_tips_of_unknown_commands_are_followed() -> None:
    summed = frozenset({b"request_policy:all_shards", b"response_policy:agg_sum"})

    assert row_of(module(tips=summed)) == Row(Target.ALL_PRIMARIES, Merger.SUM)


def test_what_nobody_can_merge_is_refused() -> None:
    special = frozenset({b"request_policy:all_shards", b"response_policy:special"})

    assert row_of(module(tips=special)).why == UNKNOWN
    assert row_of(module(tips=frozenset({b"request_policy:all_nodes"}))).why == UNKNOWN


def test_of_unknown_commands_without_keys_only_reads_go_on() -> None:
    assert row_of(module(frozenset({b"readonly"}))).target is Target.ANY_PRIMARY
    assert row_of(module(frozenset({b"write"}))).why == UNKNOWN
    assert row_of(module()).target is Target.REFUSE


def test_traits_are_the_flags_of_the_server_and_what_is_known_by_hand() -> None:
    assert at("SET k v").traits == Trait.WRITE
    assert at("GET k").traits == Trait.READ
    assert at("BLPOP k 0").traits == Trait.WRITE | Trait.BLOCK
    assert at("FLUSHALL").traits == Trait.WRITE | Trait.FLUSH
    assert at("CONFIG SET x y").traits == Trait.ADMIN
    assert at("WATCH k").traits == Trait.PIN


def test_a_refusal_names_no_more_than_a_name() -> None:
    assert refusal([b"debug", b"sleep"], "no").line == (
        b"-ERR DEBUG is not possible in cluster mode: no\r\n"
    )
    assert refusal([b"slowlog", b"get"], "no").line.startswith(b"-ERR SLOWLOG GET is")
    assert len(refusal([b"\xff\r\n" * 100], "no").line) < 300


# --- The hot path


def test_commands_of_one_key_go_the_short_way(commands: Mapping[bytes, Command]) -> None:
    short = one_key(commands)

    assert {b"GET", b"SET", b"INCR", b"HGETALL", b"XADD", b"SPUBLISH", b"ZADD"} <= short
    assert not short & {b"DEL", b"MGET", b"SORT", b"WATCH", b"EXISTS", b"BLPOP", b"OBJECT"}
    assert not short & {b"GEORADIUS", b"RESTORE-ASKING", b"CLUSTERSCAN", b"BZPOPMIN", b"MIGRATE"}
    for name in short:
        assert row([name, b"k"], commands).target is Target.KEYED
        assert not known_under(commands[name])


def test_a_command_with_subcommands_does_not() -> None:
    rows = [[b"mod.x", -2, [], 1, 1, 1, [], [], [], [[b"mod.x|a", 3, [], 2, 2, 1]]]]

    assert one_key(table_from_reply(rows).commands) == frozenset()


def test_the_server_agrees_that_their_key_is_the_first_word(
    server: Process, commands: Mapping[bytes, Command]
) -> None:
    with redis.Redis(port=server.port) as client:
        client.response_callbacks.clear()  # or COMMAND's replies are turned into something else
        for name in sorted(one_key(commands) - {b"SPUBLISH"}):  # a channel is no key to it
            words = [name, *(b"w%d" % at for at in range(1, abs(commands[name].arity)))]
            assert client.execute_command("COMMAND", "GETKEYS", *words) == [b"w1"], name
