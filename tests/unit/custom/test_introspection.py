"""What COMMAND says of a command of the proxy's own, against what a server says of its like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import hiredis
import pytest
from nearhit.proxy.custom.introspection import (
    SINCE,
    docs,
    facts_of,
    find,
    keys_alone,
    keys_and_flags,
    keys_of,
    row,
)
from nearhit.proxy.custom.spec import Argument, Call, CommandSpec, Subcommand
from nearhit.proxy.errors import BadInput
from nearhit.proxy.resp.replies import Value


async def run(call: Call) -> Value:
    raise AssertionError("facts run nothing")


def even(words: Sequence[bytes]) -> Sequence[bytes]:
    if len(words) % 2:
        raise BadInput("one too many")
    return words[1::2]


KEY = Argument("key", "key")
SWAP = CommandSpec(
    name=b"SWAP",
    arity=3,
    summary="Returns and sets.",
    group="string",
    complexity="O(1)",
    parse=tuple,
    run=run,
    flags=("write", "denyoom", "fast"),
    keys=(1, 1, 1),
    arguments=(KEY, Argument("value", "string")),
)
SPAN = replace(SWAP, name=b"SPAN", arity=-2, keys=(1, -1, 2), flags=("readonly",), group="nearhit")
FILL = replace(SWAP, name=b"FILL", arity=-2, keys=(0, 0, 0), key_names=even)
SHOW = replace(SWAP, name=b"SHOW", arity=-1, keys=(0, 0, 0), arguments=())
GATE = CommandSpec(
    name=b"GATE",
    arity=-3,
    summary="Opens and closes.",
    group="nearhit",
    complexity="O(1)",
    parse=tuple,
    run=run,
    flags=("write",),
    subcommands=(
        Subcommand(
            "OPEN",
            "Opens.",
            -3,
            (2, 2, 1),
            (
                KEY,
                Argument(
                    "expiry",
                    "oneof",
                    flags=("optional",),
                    arguments=(Argument("seconds", "integer", "EX"),),
                ),
                Argument("now", "pure-token", "NOW", ("optional",)),
            ),
        ),
        Subcommand("HELP", "Helps.", 2),
    ),
)
CUSTOMS = {spec.name: spec for spec in (SWAP, SPAN, FILL, SHOW, GATE)}

# What Valkey 9 answers for GETSET, but for its name and its version.
ROW_2 = (
    b"*10\r\n$4\r\nswap\r\n:3\r\n*3\r\n+write\r\n+denyoom\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
    b"*3\r\n+@write\r\n+@string\r\n+@fast\r\n*0\r\n"
    b"*1\r\n*6\r\n$5\r\nflags\r\n*3\r\n+RW\r\n+access\r\n+update\r\n"
    b"$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n"
    b"*2\r\n$5\r\nindex\r\n:1\r\n"
    b"$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n"
    b"*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n"
)
ROW_3 = (
    b"*10\r\n$4\r\nswap\r\n:3\r\n~3\r\n+write\r\n+denyoom\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
    b"~3\r\n+@write\r\n+@string\r\n+@fast\r\n~0\r\n"
    b"~1\r\n%3\r\n$5\r\nflags\r\n~3\r\n+RW\r\n+access\r\n+update\r\n"
    b"$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n"
    b"%1\r\n$5\r\nindex\r\n:1\r\n"
    b"$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n"
    b"%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n"
)


def parsed(frames: bytes) -> object:
    """What a client reads, which must be one whole reply."""
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(frames)
    value = reader.gets()
    assert reader.gets() is False
    return value


@pytest.mark.parametrize(("resp", "frame"), [(2, ROW_2), (3, ROW_3)])
def test_a_row_is_what_a_server_sends_for_such_a_command(resp: int, frame: bytes) -> None:
    assert row(facts_of(SWAP), resp) == frame


@pytest.mark.parametrize(
    ("spec", "categories"),
    [
        (SWAP, ["write", "string", "fast"]),
        (SPAN, ["read", "slow"]),
        (GATE, ["write", "slow"]),
        (
            replace(SHOW, flags=("admin",), group="generic"),
            ["keyspace", "admin", "dangerous", "slow"],
        ),
    ],
)
def test_the_acl_categories_follow_from_flags_and_group(
    spec: CommandSpec, categories: list[str]
) -> None:
    assert facts_of(spec).categories == categories


@pytest.mark.parametrize(
    ("spec", "flags", "begin", "keys"),
    [
        (
            SPAN,
            ["RO", "access"],
            ["type", "index", "spec", ["index", 1]],
            ["type", "range", "spec", ["lastkey", -1, "keystep", 2, "limit", 0]],
        ),
        (
            FILL,
            ["RW", "access", "update", "incomplete"],
            ["type", "unknown", "spec", []],
            ["type", "unknown", "spec", []],
        ),
    ],
)
def test_a_key_spec_says_how_to_find_the_keys(
    spec: CommandSpec, flags: list[str], begin: object, keys: object
) -> None:
    fields = parsed(row(facts_of(spec), 2))

    assert isinstance(fields, list)
    assert fields[8] == [["flags", flags, "begin_search", begin, "find_keys", keys]]


def test_a_command_whose_keys_only_its_words_tell_has_movable_keys() -> None:
    fields = parsed(row(facts_of(FILL), 2))

    assert isinstance(fields, list)
    assert fields[2] == ["write", "denyoom", "fast", "movablekeys"]


def test_a_command_without_keys_has_no_key_spec() -> None:
    fields = parsed(row(facts_of(SHOW), 2))

    assert isinstance(fields, list)
    assert fields[3:6] == [0, 0, 0]
    assert fields[8] == []


def test_subcommands_are_rows_under_their_full_names() -> None:
    fields = parsed(row(facts_of(GATE), 2))

    assert isinstance(fields, list)
    assert [sub[:6] for sub in fields[9]] == [
        ["gate|open", -3, ["write"], 2, 2, 1],
        ["gate|help", 2, ["write"], 0, 0, 0],
    ]


@pytest.mark.parametrize("name", [b"gate", b"GATE|open", b"gate|HELP", b"Span"])
def test_a_row_is_found_by_its_full_name_in_any_case(name: bytes) -> None:
    found = find(CUSTOMS, name)

    assert found is not None
    assert found.name == name.lower()


@pytest.mark.parametrize("name", [b"", b"|", b"get", b"gate|", b"gate|shut", b"gate|open|x", b"|x"])
def test_no_other_name_is_found(name: bytes) -> None:
    assert find(CUSTOMS, name) is None


# --- COMMAND DOCS


def test_the_docs_of_a_command_are_a_map() -> None:
    fields = {"summary": "Returns and sets.", "since": SINCE, "group": "string"}

    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(docs(facts_of(SWAP), 3))
    assert reader.gets() == "swap"
    assert reader.gets() == {
        **fields,
        "complexity": "O(1)",
        "arguments": [
            {"name": "key", "type": "key", "display_text": "key", "key_spec_index": 0},
            {"name": "value", "type": "string", "display_text": "value"},
        ],
    }


def test_in_resp2_the_docs_are_flat() -> None:
    frames = docs(facts_of(SHOW), 2)

    assert frames.startswith(b"$4\r\nshow\r\n*8\r\n$7\r\nsummary\r\n")
    assert b"%" not in frames
    assert b"~" not in frames


def test_the_docs_of_subcommands_stand_in_their_commands() -> None:
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(docs(facts_of(GATE), 3))
    assert reader.gets() == "gate"
    fields = reader.gets()

    assert isinstance(fields, dict)
    opening = fields["subcommands"]["gate|open"]
    assert opening["group"] == "nearhit"
    assert opening["arguments"][1:] == [
        {
            "name": "expiry",
            "type": "oneof",
            "flags": ["optional"],
            "arguments": [
                {"name": "seconds", "type": "integer", "display_text": "seconds", "token": "EX"}
            ],
        },
        {
            "name": "now",
            "type": "pure-token",
            "display_text": "now",
            "token": "NOW",
            "flags": ["optional"],
        },
    ]
    assert "arguments" not in fields["subcommands"]["gate|help"]


def test_flags_are_simple_strings_for_redis_cli_asserts_it() -> None:
    assert b"*1\r\n+optional\r\n" in docs(facts_of(GATE), 2)
    assert b"~1\r\n+optional\r\n" in docs(facts_of(GATE), 3)


def test_a_key_of_a_command_without_key_specs_names_none() -> None:
    assert b"key_spec_index" not in docs(facts_of(replace(SHOW, arguments=(KEY,))), 2)


# --- COMMAND GETKEYS


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (b"swap k v", b"k"),
        (b"span a", b"a"),
        (b"span a 1 b", b"a b"),
        (b"span a 1 b 2", b"a b"),
        (b"fill a 1 b", b"a b"),
        (b"gate open k NOW", b"k"),
        (b"gate OPEN k", b"k"),
    ],
)
def test_the_keys_of_a_request_are_found(words: bytes, keys: bytes) -> None:
    found = keys_of(CUSTOMS[words.split()[0].upper()], words.split())

    assert list(found) == keys.split()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (b"swap k", b"-ERR Invalid number of arguments specified for command\r\n"),
        (b"swap k v w", b"-ERR Invalid number of arguments specified for command\r\n"),
        (b"show", b"-ERR The command has no key arguments\r\n"),
        (b"show it", b"-ERR The command has no key arguments\r\n"),
        (b"gate", b"-ERR The command has no key arguments\r\n"),
        (b"gate help", b"-ERR The command has no key arguments\r\n"),
        (b"gate open", b"-ERR Invalid number of arguments specified for command\r\n"),
        (b"gate shut k", b"-ERR Invalid command specified\r\n"),
        (b"fill a 1", b"-ERR Invalid arguments specified for command\r\n"),
    ],
)
def test_a_request_without_keys_is_refused_in_the_servers_words(words: bytes, line: bytes) -> None:
    with pytest.raises(BadInput) as refused:
        keys_of(CUSTOMS[words.split()[0].upper()], words.split())

    assert refused.value.line == line


def test_a_word_that_is_no_subcommand_has_no_keys_where_its_neighbours_have() -> None:
    with pytest.raises(BadInput, match="Invalid command specified"):
        keys_of(replace(GATE, keys=(2, 2, 1)), [b"gate", b"shut", b"k"])


def test_a_span_that_its_words_do_not_reach_is_refused() -> None:
    far = replace(SPAN, keys=(4, -1, 1))

    with pytest.raises(BadInput, match="Invalid arguments specified for command"):
        keys_of(far, [b"span", b"a"])


def test_keys_and_their_flags_are_frames() -> None:
    words = [b"span", b"a", b"1", b"b"]

    assert keys_alone(SPAN, words) == b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"
    assert keys_and_flags(SPAN, words, 2) == (
        b"*2\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n*2\r\n$1\r\nb\r\n*2\r\n+RO\r\n+access\r\n"
    )
    assert keys_and_flags(GATE, [b"gate", b"open", b"k"], 3) == (
        b"*1\r\n*2\r\n$1\r\nk\r\n~3\r\n+RW\r\n+access\r\n+update\r\n"
    )
