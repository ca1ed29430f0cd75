"""The kernel and its pure twin: one table of cases for both, and any bytes at all."""

from __future__ import annotations

import importlib
import itertools
from array import array
from types import ModuleType
from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearhit.proxy.near.index import Entry, Index
from nearhit.proxy.near.sketch import Sketch
from nearhit.proxy.near.worth import START, Worth
from nearhit.proxy.resp import _kernel_py as twin
from nearhit.proxy.resp import routes
from nearhit.proxy.resp.requests import encode

try:
    compiled: ModuleType | None = importlib.import_module("nearhit.proxy.resp._kernel")
except ImportError:
    compiled = None

needs_compiled = pytest.mark.skipif(compiled is None, reason="the compiled kernel was not built")
KINDS = {b"GET": 1, b"SET": 1, b"PING": 1, b"MULTI": 10, b"A" * 32: 1}
SPLIT = {**KINDS, b"GET": 25}  # as the table has it: GET is a READ
MORE, FULL, ODD, PLAIN, READ = -1, -2, 0, 1, 25
DRY, DONE, PUSH, BROKEN = 0, 1, 2, 3

GET = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
SET = b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$5\r\n\r\n$*0\r\n"
MULTI = b"*1\r\n$5\r\nMULTI\r\n"


@pytest.fixture(params=[pytest.param("compiled", marks=needs_compiled), "twin"])
def kernel(request: pytest.FixtureRequest) -> Any:
    return compiled if request.param == "compiled" else twin


# --- scan


def scan(names: Any, data: bytes, pos: int, limit: int) -> tuple[int, int, int]:
    """(how many, offset behind them, route)."""
    count = names.scan(data, pos, limit)
    return count, names.end, names.route


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", (0, 0, MORE)),
        (GET, (1, len(GET), MORE)),
        (GET * 3, (3, 3 * len(GET), MORE)),
        (SET + GET, (2, len(SET + GET), MORE)),
        (GET.replace(b"GET", b"gEt"), (1, len(GET), MORE)),
        (GET + MULTI + GET, (1, len(GET), 10)),
        (MULTI, (0, 0, 10)),
        (b"*1\r\n$5\r\nMuLtI\r\n", (0, 0, 10)),
        (b"*3\r\n$5\r\nMULTI\r\n$1\r\n", (0, 0, 10)),
        (b"*1\r\n$3\r\nFOO\r\n", (0, 0, ODD)),
        (b"*1\r\n$0\r\n\r\n", (0, 0, ODD)),
        (b"*1\r\n$32\r\n" + b"a" * 32 + b"\r\n", (1, 43, MORE)),
        (b"*1\r\n$33\r\n" + b"a" * 33 + b"\r\n", (0, 0, ODD)),
        (b"*1\r\n$33\r\n", (0, 0, ODD)),
        (b"*1\r\n$32\r\n", (0, 0, MORE)),
        (b"PING\r\n", (0, 0, ODD)),
        (b"\r\n", (0, 0, ODD)),
        (GET + b"PING\r\n", (1, len(GET), ODD)),
        (b"*0\r\n", (0, 0, ODD)),
        (b"*01\r\n$4\r\nPING\r\n", (0, 0, ODD)),
        (b"*+1\r\n$4\r\nPING\r\n", (0, 0, ODD)),
        (b"*-1\r\n", (0, 0, ODD)),
        (b"* 1\r\n", (0, 0, ODD)),
        (b"*\r\n", (0, 0, ODD)),
        (b"*1\n$4\r\nPING\r\n", (0, 0, ODD)),
        (b"*1\rX$4\r\nPING\r\n", (0, 0, ODD)),
        (b"*1\r\n+PING\r\n", (0, 0, ODD)),
        (b"*1\r\n*1\r\n", (0, 0, ODD)),
        (b"*1\r\n$04\r\nPING\r\n", (0, 0, ODD)),
        (b"*1\r\n$-1\r\n", (0, 0, ODD)),
        (b"*1\r\n$+4\r\nPING\r\n", (0, 0, ODD)),
        (b"*1\r\n$4\r\nPINGxx", (0, 0, ODD)),
        (b"*1\r\n$4\r\nPING\rx", (0, 0, ODD)),
        (b"*2\r\n$3\r\nGET\r\n$1\r\nkxx", (0, 0, ODD)),
        (b"*2\r\n$3\r\nGET\r\n$536870912\r\n", (0, 0, MORE)),
        (b"*2\r\n$3\r\nGET\r\n$536870913\r\n", (0, 0, ODD)),
        (b"*2147483647\r\n$3\r\nGET\r\n", (0, 0, MORE)),
        (b"*2147483648\r\n$3\r\nGET\r\n", (0, 0, ODD)),
        (b"*9999999999\r\n", (0, 0, ODD)),
        (b"*99999999999\r\n", (0, 0, ODD)),
        (b"*99999999999", (0, 0, ODD)),
        (b"*9999999999", (0, 0, MORE)),
        (b"*00", (0, 0, ODD)),
        (b"*1\r\n$04", (0, 0, ODD)),
    ],
)
def test_scan_counts_plain_requests_and_says_why_it_stops(
    kernel: Any, data: bytes, answer: tuple[int, int, int]
) -> None:
    names = kernel.RouteMap(KINDS)

    assert scan(names, data, 0, 100) == answer


@pytest.mark.parametrize("request_", [GET, SET], ids=["get", "set"])
def test_scan_asks_for_more_at_every_byte_of_a_request(kernel: Any, request_: bytes) -> None:
    names = kernel.RouteMap(KINDS)

    for end in range(1, len(request_)):
        assert scan(names, request_[:end], 0, 9) == (0, 0, MORE), request_[:end]
        assert scan(names, GET + request_[:end], 0, 9) == (1, len(GET), MORE)


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        (-1, (0, 0, FULL)),
        (0, (0, 0, FULL)),
        (1, (1, len(GET), FULL)),
        (2, (2, 2 * len(GET), MORE)),
    ],
)
def test_scan_stops_at_the_limit(kernel: Any, limit: int, answer: tuple[int, int, int]) -> None:
    assert scan(kernel.RouteMap(KINDS), GET * 2, 0, limit) == answer


@pytest.mark.parametrize(
    ("data", "answer", "reads", "marks"),
    [
        (b"", (0, 0, MORE), 0, None),
        (GET * 3, (3, 3 * len(GET), MORE), 3, None),
        (SET * 3, (3, 3 * len(SET), MORE), 0, None),
        (GET * 2 + SET, (3, len(GET * 2 + SET), MORE), 2, b"\1\1\0"),
        (SET * 2 + GET + SET, (4, len(SET * 3 + GET), MORE), 1, b"\0\0\1\0"),
        (GET * 4 + SET, (4, 4 * len(GET), FULL), 4, None),
        (SET * 3 + GET * 2, (4, len(SET * 3 + GET), FULL), 1, b"\0\0\0\1"),
        (GET + SET + MULTI, (2, len(GET + SET), 10), 1, b"\1\0"),
        (MULTI + GET, (0, 0, 10), 0, None),
        (GET + b"PING\r\n", (1, len(GET), ODD), 1, None),
        (GET + b"*1\r\n$3\r\nFOO\r\n", (1, len(GET), ODD), 1, None),
        (b"*1\r\n$3\r\nFOO\r\n" + GET, (0, 0, ODD), 0, None),
        (GET + SET[:13], (1, len(GET), MORE), 1, None),
        (SET + GET[:-1], (1, len(SET), MORE), 0, None),
        (SET + GET[:-1] + b"x", (1, len(SET), ODD), 0, None),
        (GET[:-1], (0, 0, MORE), 0, None),
    ],
)
def test_scan_says_which_requests_are_reads(
    kernel: Any, data: bytes, answer: tuple[int, int, int], reads: int, marks: bytes | None
) -> None:
    names = kernel.RouteMap(SPLIT)

    assert scan(names, data, 0, 4) == answer
    assert (names.reads, names.marks) == (reads, marks)


GROUPS = {b"GET": routes.ASKING, b"SET": routes.WRITING}


@pytest.mark.parametrize(
    ("data", "asking", "writing"),
    [
        (b"", 0, 0),
        (GET * 3, 3, 0),
        (GET.lower() + SET.lower() * 2, 1, 2),
        (b"*1\r\n$4\r\nPING\r\n" + GET, 1, 0),
        (SET + MULTI + GET, 0, 1),
        (GET + SET[:-1], 1, 0),
        (SET * 9, 0, 4),
    ],
)
def test_scan_counts_by_groups(kernel: Any, data: bytes, asking: int, writing: int) -> None:
    names = kernel.RouteMap({**KINDS, b"PING": 1}, GROUPS)

    names.scan(data, 0, 4)

    assert (names.asking, names.writing) == (asking, writing)


def test_a_name_has_the_group_that_was_given(kernel: Any) -> None:
    names = kernel.RouteMap(KINDS, {**GROUPS, b"UNHEARD": 1})

    found = [names.group(name) for name in (b"get", b"SET", b"MULTI", b"UNHEARD", b"A" * 33)]
    assert found == [1, 2, 0, 0, 0]
    assert kernel.RouteMap(KINDS).group(b"GET") == 0


def test_one_scan_walks_at_most_as_many_as_it_can_mark(kernel: Any) -> None:
    names = kernel.RouteMap(SPLIT)

    assert scan(names, GET * 299 + SET, 0, 1000) == (256, 256 * len(GET), FULL)
    assert names.reads == 256


def test_a_scan_of_nothing_forgets_the_reads_before_it(kernel: Any) -> None:
    names = kernel.RouteMap(SPLIT)

    names.scan(GET + SET, 0, 9)
    names.scan(GET[:-1], 0, 9)

    assert (names.reads, names.marks) == (0, None)


def test_scan_starts_where_it_is_told(kernel: Any) -> None:
    names = kernel.RouteMap(KINDS)

    assert scan(names, b"junk" + GET, 4, 9) == (1, 4 + len(GET), MORE)
    assert scan(names, GET, len(GET), 0) == (0, len(GET), MORE)


def test_a_name_is_found_in_any_case_and_alone(kernel: Any) -> None:
    names = kernel.RouteMap(KINDS)

    assert [names.get(name) for name in (b"get", b"GET", b"gEt", b"MULTI")] == [1, 1, 1, 10]
    assert [names.get(name) for name in (b"", b"GE", b"GETS", b"A" * 33, b"[ET")] == [0] * 5


@pytest.mark.parametrize("name", [b"", b"get", b"A" * 33])
def test_names_are_upper_case_and_of_1_to_32_bytes(kernel: Any, name: bytes) -> None:
    with pytest.raises(ValueError, match="not a command name"):
        kernel.RouteMap({name: 1})


def test_many_names_are_kept_apart(kernel: Any) -> None:
    kinds = {b"NAME%d" % number: number for number in range(1, 1000)}
    names = kernel.RouteMap(kinds)

    assert all(names.get(name.lower()) == kind for name, kind in kinds.items())


# --- Cutter

REPLIES = [
    b"+OK\r\n",
    b"+\r\n",
    b"-ERR no\r\n",
    b":-5\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"$5\r\n\r\n+\r\n\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*2\r\n$1\r\na\r\n:1\r\n",
    b"*2\r\n*2\r\n*0\r\n*-1\r\n$-1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",3.5\r\n",
    b"(123456789012345678901234567890\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"!5\r\nERR x\r\n",
    b"%0\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
    b"~2\r\n:1\r\n~0\r\n",
    b"|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n",
    b"|0\r\n+OK\r\n",
    b"*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:1\r\n:2\r\n",
    b"|1\r\n|1\r\n+x\r\n+y\r\n+a\r\n+b\r\n+OK\r\n",
    b"$70000\r\n" + b"x" * 70000 + b"\r\n",
    b"*1000\r\n" + b":1\r\n" * 1000,
]


def counted(kernel: Any, chunks: list[bytes]) -> tuple[int, int]:
    """(strings, nulls) of the whole stream, a cut for each chunk."""
    cutter, bulks, nulls = kernel.Cutter(), 0, 0
    for chunk in chunks:
        cutter.cut(chunk, 0, 10**9, True)
        bulks += cutter.bulks
        nulls += cutter.nulls
    return bulks, nulls


def cut_all(kernel: Any, chunks: list[bytes], want: int = 10**9) -> tuple[list[int], Any]:
    """Offsets in the whole stream at which replies end; a push counts as a reply."""
    cutter, ends, base = kernel.Cutter(), [], 0
    for chunk in chunks:
        pos = 0
        while pos < len(chunk):
            at = cutter.cut(chunk, pos, 1, True)
            assert at > pos or cutter.stop == BROKEN
            pos = at
            if cutter.stop == BROKEN:
                return ends, cutter
            if cutter.done:
                ends.append(base + pos)
        base += len(chunk)
    return ends, cutter


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: repr(reply[:24]))
def test_a_reply_of_each_type_is_one_reply(kernel: Any, reply: bytes) -> None:
    cutter = kernel.Cutter()

    assert cutter.cut(reply, 0, 5) == len(reply)
    assert (cutter.done, cutter.stop, cutter.inside) == (1, DRY, False)
    assert cutter.cut(reply + b"+", 0, 1) == len(reply)
    assert (cutter.done, cutter.stop, cutter.inside) == (1, DONE, False)


@pytest.mark.parametrize("reply", REPLIES[:-2], ids=lambda reply: repr(reply[:24]))
def test_a_reply_cut_anywhere_ends_where_it_ends(kernel: Any, reply: bytes) -> None:
    for at in range(1, len(reply)):
        cutter = kernel.Cutter()

        assert cutter.cut(reply[:at], 0, 1) == at
        assert (cutter.done, cutter.stop, cutter.inside) == (0, DRY, True), at
        assert cutter.cut(reply[at:] + b":1\r\n", 0, 1) == len(reply) - at
        assert (cutter.done, cutter.stop, cutter.inside) == (1, DONE, False), at


def test_all_replies_in_one_row_in_any_chunks(kernel: Any) -> None:
    stream, ends = b"".join(REPLIES), []
    for reply in REPLIES:
        ends.append((ends[-1] if ends else 0) + len(reply))

    for size in (1, 2, 3, 7, 1000, len(stream)):
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert cut_all(kernel, chunks)[0] == ends


def test_the_cutter_stops_after_as_many_as_are_wanted(kernel: Any) -> None:
    cutter = kernel.Cutter()

    assert cutter.cut(b"+a\r\n+b\r\n+c\r\n", 0, 2) == 8
    assert (cutter.done, cutter.stop) == (2, DONE)
    assert cutter.cut(b"+a\r\n+b\r\n+c\r\n", 8, 2) == 12
    assert (cutter.done, cutter.stop) == (1, DRY)


def test_a_push_stops_the_cutter_between_replies_only(kernel: Any) -> None:
    push = b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n"
    cutter = kernel.Cutter()

    assert cutter.cut(b"+a\r\n" + push, 0, 9) == 4
    assert (cutter.done, cutter.stop, cutter.inside) == (1, PUSH, False)
    assert cutter.cut(push + b"+b\r\n", 0, 1, True) == len(push)
    assert (cutter.done, cutter.stop) == (1, DONE)
    assert cutter.cut(b"*1\r\n>1\r\n+x\r\n", 0, 1) == 12
    assert (cutter.done, cutter.stop) == (1, DONE)


STRINGS = [
    (b"$1\r\nv\r\n", (1, 0)),
    (b"$0\r\n\r\n", (1, 0)),
    (b"$-1\r\n", (0, 1)),
    (b"_\r\n", (0, 1)),
    (b"*-1\r\n", (0, 0)),
    (b"*0\r\n", (0, 0)),
    (b"*4\r\n$1\r\na\r\n$-1\r\n_\r\n$3\r\n$-1\r\n", (2, 2)),
    (b"*2\r\n*1\r\n$1\r\na\r\n*1\r\n_\r\n", (1, 1)),
    (b"+OK\r\n", (0, 0)),
    (b"-WRONGTYPE $-1 _\r\n", (0, 0)),
    (b":1\r\n", (0, 0)),
    (b"=7\r\ntxt:abc\r\n", (0, 0)),
    (b"!5\r\nERR x\r\n", (0, 0)),
    (b"!-1\r\n", (0, 0)),
    (b"#t\r\n", (0, 0)),
]


@pytest.mark.parametrize(("reply", "found"), STRINGS, ids=lambda case: repr(case))
def test_strings_and_nulls_are_counted_where_they_are_complete(
    kernel: Any, reply: bytes, found: tuple[int, int]
) -> None:
    cutter = kernel.Cutter()

    cutter.cut(reply * 2, 0, 1)
    assert (cutter.bulks, cutter.nulls) == found
    cutter.cut(b"+", 0, 1)
    assert (cutter.bulks, cutter.nulls) == (0, 0)

    for at in range(1, len(reply)):
        cutter = kernel.Cutter()
        cutter.cut(reply[:at], 0, 1)
        before = (cutter.bulks, cutter.nulls)
        cutter.cut(reply[at:], 0, 1)
        assert (before[0] + cutter.bulks, before[1] + cutter.nulls) == found, at


def test_a_string_that_is_not_whole_is_not_counted_yet(kernel: Any) -> None:
    cutter = kernel.Cutter()

    cutter.cut(b"*2\r\n$1\r\na\r\n$1\r\nb\r", 0, 1)
    assert cutter.bulks == 1
    cutter.cut(b"\n", 0, 1)
    assert (cutter.bulks, cutter.done) == (1, 1)


def test_what_stands_before_broken_bytes_or_a_push_is_counted(kernel: Any) -> None:
    for behind in (b"x", b">1\r\n+x\r\n"):
        cutter = kernel.Cutter()

        cutter.cut(b"$1\r\na\r\n$-1\r\n" + behind, 0, 9)

        assert (cutter.done, cutter.bulks, cutter.nulls) == (2, 1, 1)


@pytest.mark.parametrize("junk", [b"x", b"\r\n", b"@1\r\n", b"*1\r\nx", b"+a\r\n?", b"\x00"])
def test_a_byte_that_begins_no_type_is_broken(kernel: Any, junk: bytes) -> None:
    cutter = kernel.Cutter()

    cutter.cut(junk, 0, 9)

    assert cutter.stop == BROKEN


@pytest.mark.parametrize(
    "line",
    [b"$a", b"$1a", b"*?", b"$9999999999999", b"*9999999999999", b"$ 1", b"%x", b"$+1"],
)
def test_a_count_that_is_none_is_broken(kernel: Any, line: bytes) -> None:
    cutter = kernel.Cutter()

    cutter.cut(line + b"\r\n", 0, 9)

    assert cutter.stop == BROKEN


@pytest.mark.parametrize(
    "line", [b"$1\r2\r\n", b"$\r2\r\n", b"$1-\r\n", b"$1-2\r\n", b"$--1\r\n", b"$-\r\n", b"$1\n"]
)
def test_a_count_is_digits_behind_one_sign_and_nothing_else(kernel: Any, line: bytes) -> None:
    # A server takes "$1\r2\r\n" for a bulk of 1: who reads 12 there loses the thread (uploads).
    cutter = kernel.Cutter()

    cutter.cut(line, 0, 9)

    assert cutter.stop == BROKEN


def test_the_largest_bulk_is_skipped_without_keeping_it(kernel: Any) -> None:
    cutter = kernel.Cutter()
    cutter.cut(b"$536870912\r\n", 0, 1)
    block = b"x" * 2**24

    for _ in range(32):
        assert cutter.cut(block, 0, 1) == len(block)
        assert cutter.done == 0
    assert cutter.cut(b"\r\n+", 0, 1) == 2
    assert cutter.done == 1


# --- Cutter of requests (uploads)


@pytest.mark.parametrize("request_", [GET, SET, MULTI, b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n"])
def test_a_canonical_request_cut_anywhere_ends_where_it_ends(kernel: Any, request_: bytes) -> None:
    for at in range(len(request_)):
        cutter = kernel.Cutter(True)

        assert cutter.cut(request_[:at], 0, 1) == at
        assert (cutter.done, cutter.stop, cutter.inside) == (0, DRY, at > 0), at
        assert cutter.cut(request_[at:] + GET, 0, 1) == len(request_) - at
        assert (cutter.done, cutter.stop) == (1, DONE), at


@pytest.mark.parametrize(
    "data",
    [
        b"PING\r\n",
        b"+OK\r\n",
        b">1\r\n",
        b"*-1\r\n",
        b"*01\r\n",
        b"*1\r\n*1\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$04\r\n",
        b"*1\r\n$012\r\n",
        b"*1\r\n$1\r2\r\n",
        b"*1\r\n$1\n",
        b"*1\r\n$1\r\nx\n\r",
        b"*1\r\n$1\r\nx\rx",
        b"*2\r\n$1\r\nx\r\n+OK\r\n",
    ],
)
def test_what_a_server_might_frame_otherwise_is_broken(kernel: Any, data: bytes) -> None:
    for size in (1, 2, 3, len(data)):
        cutter = kernel.Cutter(True)
        for at in range(0, len(data), size):
            cutter.cut(data[at : at + size], 0, 1, True)
            if cutter.stop == BROKEN:
                break

        assert cutter.stop == BROKEN, size


# --- Both alike, whatever comes

fragments = st.sampled_from(
    [
        b"*1\r\n", b"*2\r\n", b"*3\r\n", b"*0\r\n", b"*-1\r\n", b"*01\r\n", b"*+1\r\n", b"*", b"$",
        b"$3\r\nGET\r\n", b"$3\r\nset\r\n", b"$5\r\nMULTI\r\n", b"$1\r\nk\r\n", b"$0\r\n\r\n",
        b"$4\r\nPING\r\n", b"$33\r\n", b"$536870913\r\n", b"PING\r\n", b"\r\n", b"\r", b"\n", b"0",
        b"00", b"1", b"9999999999", GET, SET, MULTI,
    ]
)  # fmt: skip
streams = st.lists(st.one_of(fragments, st.binary(max_size=6)), max_size=12).map(b"".join)


@needs_compiled
@settings(max_examples=500)
@given(data=streams, pos=st.integers(0, 4), limit=st.integers(0, 4))
def test_any_bytes_are_scanned_alike(data: bytes, pos: int, limit: int) -> None:
    assert compiled is not None
    for kinds in (KINDS, SPLIT):
        our_names, their_names = compiled.RouteMap(kinds), twin.RouteMap(kinds)

        ours = scan(our_names, data, pos, limit)
        theirs = scan(their_names, data, pos, limit)

        assert ours == theirs
        assert our_names.reads == their_names.reads
        assert our_names.marks == their_names.marks


def _number(text: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(-(2**63), 2**63 - 1).map(lambda value: text + b"%d\r\n" % value)


def _bulk(kind: bytes) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=20).map(lambda value: kind + b"%d\r\n%b\r\n" % (len(value), value))


def _many(kind: bytes, parts: list[bytes], each: int) -> bytes:
    parts = parts[: len(parts) // each * each]
    return kind + b"%d\r\n" % (len(parts) // each) + b"".join(parts)


words = st.text("abc XYZ0", max_size=10).map(str.encode)
leaves = st.one_of(
    words.map(lambda word: b"+%b\r\n" % word),
    words.map(lambda word: b"-ERR %b\r\n" % word),
    _number(b":"),
    _number(b"("),
    _bulk(b"$"),
    st.binary(max_size=9).map(lambda value: b"=%d\r\ntxt:%b\r\n" % (len(value) + 4, value)),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b"#f\r\n", b",1.5\r\n"]),
    st.sampled_from([b",inf\r\n", b"*0\r\n", b"%0\r\n", b"~0\r\n"]),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: _many(b"*", parts, 1)),
        st.lists(inner, max_size=4).map(lambda parts: _many(b"~", parts, 1)),
        # hiredis wants keys that Python can hash.
        st.lists(st.tuples(_number(b":"), inner), max_size=3).map(
            lambda pairs: _many(b"%", [part for pair in pairs for part in pair], 2)
        ),
    ),
    max_leaves=12,
)
# hiredis reads neither attributes nor bulk errors: the cutters alone do.
attributes = st.one_of(
    st.just(b""),
    st.tuples(leaves, _bulk(b"!")).map(lambda pair: b"|1\r\n" + b"".join(pair)),
)


@st.composite
def chunked(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    cuts = sorted(draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


def hiredis_count(stream: bytes) -> int:
    reader = hiredis.Reader(notEnoughData=Ellipsis, replyError=str, errors="replace")
    reader.feed(stream)
    count = 0
    while reader.gets() is not Ellipsis:
        count += 1
    return count


@settings(max_examples=200)
@given(replies=st.lists(trees, max_size=5), data=st.data())
def test_any_replies_in_any_chunks_end_at_the_same_places(
    replies: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(replies)
    chunks = data.draw(chunked(stream))
    ends = [sum(map(len, replies[: at + 1])) for at in range(len(replies))]

    for kernel in [twin, compiled] if compiled else [twin]:
        assert cut_all(kernel, chunks)[0] == ends
        assert counted(kernel, chunks) == counted(twin, [stream])
    assert hiredis_count(stream) == len(replies)


@needs_compiled
@settings(max_examples=100)
@given(parts=st.lists(st.tuples(attributes, trees), max_size=4), data=st.data())
def test_replies_with_attributes_end_at_the_same_places(
    parts: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    replies = [b"".join(part) for part in parts]
    chunks = data.draw(chunked(b"".join(replies)))
    ends = [sum(map(len, replies[: at + 1])) for at in range(len(replies))]

    assert cut_all(compiled, chunks)[0] == cut_all(twin, chunks)[0] == ends


pieces = st.one_of(
    trees,
    st.binary(max_size=3),
    st.sampled_from([b"$1\r2\r\n", b"*", b"$-", b"1\r", b"\n", b">1\r\n", b"|1\r\n", b"*1\r\n"]),
)


@needs_compiled
@settings(max_examples=300)
@given(parts=st.lists(pieces, max_size=6), data=st.data())
def test_any_bytes_are_cut_alike(parts: list[bytes], data: st.DataObject) -> None:
    # Where one finds the bytes broken sooner than the other is of no account: the end is the same.
    stream = b"".join(parts) + b"\r\n\n"
    chunks = data.draw(chunked(stream))

    ours, our_cutter = cut_all(compiled, chunks)
    theirs, their_cutter = cut_all(twin, chunks)

    assert ours == theirs
    assert (our_cutter.stop == BROKEN) == (their_cutter.stop == BROKEN)


@st.composite
def mutated_requests(draw: st.DrawFn) -> bytes:
    args = [b"GET", *draw(st.lists(st.binary(max_size=12), min_size=1, max_size=3))]
    words = [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
    stream = bytearray(b"*%d\r\n" % len(args) + b"".join(words))
    at = draw(st.integers(13, len(stream)))
    stream[at : at + draw(st.integers(0, 2))] = draw(
        st.sampled_from([b"", b"\r", b"\n", b"\r9", b"0", b"1", b"-", b"+", b"*1\r\n", b"$0"])
    )
    return bytes(stream)


@settings(max_examples=300)
@given(stream=mutated_requests(), data=st.data())
def test_what_is_cut_as_a_request_is_one_for_the_scanner_too(
    stream: bytes, data: st.DataObject
) -> None:
    chunks = data.draw(chunked(stream))
    found = []
    for kernel in [twin, compiled] if compiled else [twin]:
        cutter, base, end = kernel.Cutter(True), 0, -1
        for chunk in chunks:
            at = cutter.cut(chunk, 0, 1)
            if cutter.stop != DRY:
                end = base + at if cutter.done else -2
                break
            base += len(chunk)
        found.append(end)
        if end >= 0:
            assert scan(kernel.RouteMap(KINDS), stream[:end], 0, 9) == (1, end, MORE)
    assert len({max(end, -1) for end in found}) == 1  # one may see a break a line sooner


# --- key, absent, part, flat: what the near cache asks

NEARS = {**KINDS, b"GET": 32, b"SET": 33}


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (GET, (b"k", len(GET), 2, 32)),
        (SET, (b"k", len(SET), 3, 33)),
        (GET.replace(b"GET", b"get") + SET, (b"k", len(GET), 2, 32)),
        (b"*2\r\n$3\r\nFOO\r\n$0\r\n\r\n", (b"", 19, 2, ODD)),
        *[(GET[:end], None) for end in range(len(GET))],
        (MULTI, None),
        (b"*0\r\n", None),
        (b"GET k\r\n", None),
        (GET.replace(b"$1\r\nk", b"$2\r\nk"), None),
        (GET.replace(b"$1", b"$01"), None),
        (GET.replace(b"*2", b"*02"), None),
    ],
)
def test_the_key_of_a_request_is_found(
    kernel: Any, data: bytes, answer: tuple[bytes, int, int, int] | None
) -> None:
    names = kernel.RouteMap(NEARS)

    key = names.key(data, 0)

    if answer is None:
        assert key is None
    else:
        assert (key, names.end, names.words, names.route) == answer


def bulk(word: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word), word)


def get(key: bytes) -> bytes:
    return b"*2\r\n$3\r\nGET\r\n" + bulk(key)


class Near:
    """What a walk is given: entries, sights and the time."""

    def __init__(self, salt: int = 7) -> None:
        # So many slots that no two of some keys have one.
        self.index, self.sketch = Index(salt), Sketch(1 << 16)

    def put(self, key: bytes, reply: bytes | None, deadline: float = 10.0) -> Entry:
        entry = Entry.__new__(Entry)
        entry.key, entry.mixed = key, hash(key) ^ self.index.salt
        entry.reply, entry.deadline, entry.freq = reply, deadline, 0
        self.index.put(entry)
        return entry

    def walk(
        self,
        names: Any,
        data: bytes,
        pos: int = 0,
        limit: int = 10,
        flat: bool = True,
        mixed: bool = False,
    ) -> Any:
        """(how many, the offset behind them, the replies, nils among them)"""
        count = names.near(data, pos, limit, self.index, self.sketch, 5.0, flat, mixed)
        return count, names.end, names.told, names.nils


def test_what_is_absent_and_was_not_seen_is_walked_and_noted(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    data = get(b"a") + get(b"b") + SET

    assert near.walk(names, data) == (2, len(get(b"a") + get(b"b")), None, 0)
    assert sum(map(bool, near.sketch.sights)) >= 1
    # Seen before: it is for the slow way, which may keep it.
    assert near.walk(names, get(b"b")) == (0, 0, None, 0)


@pytest.mark.parametrize(("flat", "nil"), [(True, b"$-1\r\n"), (False, b"_\r\n")])
def test_what_is_there_is_told_in_one_piece(kernel: Any, flat: bool, nil: bytes) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    one, none = near.put(b"a", b"$1\r\n1\r\n"), near.put(b"none", None)
    data = get(b"a") + get(b"none") + get(b"a").replace(b"GET", b"gEt")

    told = (3, len(data), b"$1\r\n1\r\n" + nil + b"$1\r\n1\r\n", 1)
    assert near.walk(names, data + get(b"other"), flat=flat) == told
    assert near.walk(names, get(b"none"), flat=flat) == (1, len(get(b"none")), nil, 1)
    assert (one.freq, none.freq) == (2, 2)
    assert not any(near.sketch.sights)


def test_a_hit_counts_up_to_seven(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    entry = near.put(b"a", b"$1\r\n1\r\n")

    for _ in range(4):
        near.walk(names, get(b"a"))
        near.walk(names, get(b"a") * 3)

    assert entry.freq == 7


def test_a_walk_ends_where_the_kind_changes(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    near.put(b"a", b"$1\r\n1\r\n")
    data = get(b"a") + get(b"b") + get(b"a")

    assert near.walk(names, data) == (1, len(get(b"a")), b"$1\r\n1\r\n", 0)
    assert near.walk(names, data, names.end) == (1, len(get(b"a") * 2), None, 0)
    assert near.walk(names, data, names.end) == (1, len(data), b"$1\r\n1\r\n", 0)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_walk_of_hits_ends_at_a_miss(kernel: Any, mixed: bool) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    near.put(b"a", b"$1\r\n1\r\n")

    assert near.walk(names, get(b"a") + get(b"b"), mixed=mixed)[::2] == (1, b"$1\r\n1\r\n")
    assert names.missing == 0


def test_a_mixed_walk_from_a_miss_on_is_of_all(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    one, nil = near.put(b"a", b"$1\r\n1\r\n"), near.put(b"nil", None)
    near.put(b"over", b"$1\r\n1\r\n", deadline=5.0)
    near.sketch.see(hash(b"seen") ^ near.index.salt)
    keys = [b"new", b"a", b"nil", b"over", b"seen", b"a"]
    data = b"".join(map(get, keys))

    assert near.walk(names, data + SET, mixed=True) == (
        6,
        len(data),
        b"$1\r\n1\r\n$-1\r\n$1\r\n1\r\n",
        1,
    )
    assert names.missing == 3
    assert names.gaps == [0, 12, 12]
    assert names.asked == get(b"new") + get(b"over") + get(b"seen")
    assert names.doubts == [(1, b"over"), (2, b"seen")]
    assert names.sampled == []
    assert (one.freq, nil.freq) == (2, 1)


def test_a_mixed_walk_of_misses_that_were_not_seen_is_of_them_alone(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    data = get(b"a") + get(b"b")

    assert near.walk(names, data, mixed=True) == (2, len(data), None, 0)
    assert names.missing == 2
    # Both are seen for the second time now.
    assert near.walk(names, data, mixed=True) == (2, len(data), b"", 0)
    assert (names.gaps, names.asked, names.doubts) == ([0, 0], data, [(0, b"a"), (1, b"b")])


def test_one_miss_alone_that_was_seen_is_not_walked_mixed_either(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    near.walk(names, get(b"a"), mixed=True)

    assert near.walk(names, get(b"a") + SET, mixed=True) == (0, 0, None, 0)


def of_the_sample(key: bytes, near: Near) -> bool:
    return not (hash(key) ^ near.index.salt) >> 20 & 63


def test_a_mixed_walk_tells_what_is_of_the_sample(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near(salt=hash(b"a") ^ 64 << 20)
    near.put(b"a", b"$1\r\n1\r\n")
    near.sketch.sampled = True
    # A miss of the sample would end the walk, and one key of 64 is of it.
    new = next(key for key in (b"new", b"newer", b"newest") if not of_the_sample(key, near))
    data = get(new) + get(b"a")

    assert near.walk(names, get(b"a"), mixed=True)[0] == 0  # of the sample, behind no miss
    assert near.walk(names, data, mixed=True)[0] == 2
    assert names.sampled == [64 << 20]


def test_a_mixed_walk_ends_before_more_than_64_kb(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    large = b"$65530\r\n" + b"x" * 65530 + b"\r\n"
    near.put(b"l", large)

    assert near.walk(names, get(b"new") + get(b"l"), mixed=True)[::2] == (1, None)


def test_what_the_cache_must_look_at_itself_is_not_walked(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near(salt=hash(b"a") ^ 64 << 20)
    near.put(b"old", b"$1\r\n1\r\n", deadline=5.0)
    near.put(b"a", b"$1\r\n1\r\n")
    near.sketch.sampled = True

    assert near.walk(names, get(b"old"))[0] == 0
    assert near.walk(names, get(b"a"))[0] == 0  # of the sample
    near.sketch.sampled = False
    assert near.walk(names, get(b"a"))[0] == 1


def test_many_replies_are_told_by_64_kb_and_a_larger_one_alone(kernel: Any) -> None:
    names, near = kernel.RouteMap(NEARS), Near()
    large = b"$65530\r\n" + b"x" * 65530 + b"\r\n"
    near.put(b"s", b"$1\r\n1\r\n")
    near.put(b"l", large)
    data = get(b"s") + get(b"l") + get(b"s")

    assert near.walk(names, data)[::2] == (1, b"$1\r\n1\r\n")
    assert near.walk(names, data, names.end)[::2] == (1, large)
    assert near.walk(names, data, names.end)[::2] == (1, b"$1\r\n1\r\n")


@pytest.mark.parametrize("data", [get(b"k")[:end] for end in range(len(get(b"k")))])
def test_what_is_not_whole_is_not_walked(kernel: Any, data: bytes) -> None:
    names, near = kernel.RouteMap(NEARS), Near()

    assert near.walk(names, data)[0] == 0
    assert near.walk(names, get(b"a") + data)[0] == 1
    assert near.walk(names, get(b"x"), limit=0)[0] == 0


@needs_compiled
@given(
    keys=st.lists(st.binary(max_size=2), max_size=60),
    there=st.sets(st.binary(max_size=2), max_size=20),
    salt=st.integers(-(2**60), 2**60),
)
def test_both_kernels_see_and_note_the_same(
    keys: list[bytes], there: set[bytes], salt: int
) -> None:
    data = b"".join(map(get, keys))
    seen = []
    for module in (compiled, twin):
        assert module is not None
        names, near = module.RouteMap(NEARS), Near(salt)
        entries = [near.put(key, None if b"\0" in key else b"$1\r\n1\r\n") for key in sorted(there)]
        pos, steps = 0, []
        while pos < len(data):
            steps.append(near.walk(names, data, pos, 5))
            pos = names.end
            if not steps[-1][0]:
                names.key(data, pos)
                pos = names.end
        seen.append((steps, list(near.sketch.sights), [entry.freq for entry in entries]))

    assert seen[0] == seen[1]


# --- mix, and what a walk tells of the keys that are read


@needs_compiled
@given(st.binary(max_size=40))
def test_both_kernels_mix_a_key_alike(key: bytes) -> None:
    assert compiled is not None
    assert compiled.mix(key) == twin.mix(key) < 1 << 64


def test_mixed_keys_are_spread(kernel: Any) -> None:
    for form in (b"key:%012d", b"%d", b"user:%d:profile:of:somebody", b"%08d-aaaa"):
        sample = [key for key in range(64000) if not kernel.mix(form % key) >> 58]

        assert 800 < len(sample) < 1200, form


def test_a_walk_tells_of_the_keys_that_are_read(kernel: Any) -> None:
    names = kernel.RouteMap({**KINDS, b"GET": 25, b"MGET": 25, b"GETEX": 25})
    names.worth = worth = Worth()
    worth.look(0, START + 1, 0, 0, 0)
    keys = [b"k%d" % key for key in range(1000)]
    requests = [get(key) for key in keys[:600]]
    requests += [b"*3\r\n$5\r\nGETEX\r\n" + bulk(key) + bulk(b"EX") for key in keys[600:700]]
    requests += [b"*101\r\n$4\r\nmget\r\n" + b"".join(map(bulk, keys[700:800]))]
    requests += [b"*101\r\n$4\r\nMGET\r\n" + b"".join(map(bulk, keys[800:900]))]
    data = b"".join(requests)

    pos = 0
    while pos < len(data):
        names.scan(data, pos, 256)
        pos = names.end

    assert worth.reads == 900


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_walk_tells_which_keys_are_read(kernel: Any, at_once: int) -> None:
    """As if each were told by its hash: those that differ in their last byte alone are others."""
    names = kernel.RouteMap({b"GET": 25, b"MGET": 25})
    names.worth = told = Worth()
    by_hash = Worth()
    for worth in (told, by_hash):
        worth.look(0, START + 1, 0, 0, 100_000)
    keys = [b"key:%d" % number for number in range(2000)]

    for number in range(60_000):
        some = [keys[(7919 * number + 31 * at) % len(keys)] for at in range(at_once)]
        mget = b"*3\r\n$4\r\nMGET\r\n" + b"".join(map(bulk, some))
        names.scan(get(some[0]) if at_once == 1 else mget, 0, 256)
        for key in some:
            by_hash.note(kernel.mix(key), at_once)
        assert repr(told) == repr(by_hash)
        if told.pays:
            break

    assert told.pays


@pytest.mark.parametrize("at_once", [1, 5])
def test_a_walk_tells_how_many_keys_a_request_reads(kernel: Any, at_once: int) -> None:
    """Three of five keys are always the same: GETs of them would be saved, MGETs of all never."""
    names = kernel.RouteMap({b"GET": 25, b"MGET": 25})
    names.worth = worth = Worth()
    worth.look(0, START + 1, 0, 0, 0)

    for number in range(4000):
        keys = [b"a", b"b", b"c", b"cold:%d" % number, b"colder:%d" % number]
        if at_once == 5:
            data = b"*6\r\n$4\r\nMGET\r\n" + b"".join(map(bulk, keys))
        else:
            data = b"".join(map(get, keys))
        names.scan(data, 0, 256)

    assert worth.pays is (at_once == 1)


def test_a_walk_tells_of_keys_when_their_request_is_whole(kernel: Any) -> None:
    names = kernel.RouteMap({b"MGET": 25})
    names.worth = worth = Worth()
    worth.look(0, START + 1, 0, 0, 0)
    data = b"*101\r\n$4\r\nMGET\r\n" + b"".join(bulk(b"%d" % key) for key in range(100))

    for end in range(0, len(data) + 1, 7):
        names.scan(data[:end], 0, 256)
    names.scan(data, 0, 256)

    assert worth.reads == 100


@pytest.mark.parametrize(
    ("data", "flat"),
    [
        (b"_\r\n", b"$-1\r\n"),
        (b"$2\r\n_\n\r\n_\r\n+OK\r\n", b"$2\r\n_\n\r\n$-1\r\n+OK\r\n"),
        (b"*3\r\n_\r\n$1\r\n_\r\n_\r\n", b"*3\r\n$-1\r\n$1\r\n_\r\n$-1\r\n"),
        (b":1\r\n", b":1\r\n"),
    ],
)
def test_nulls_become_those_of_resp2(kernel: Any, data: bytes, flat: bytes) -> None:
    for begin in (0, 4):
        cutter = kernel.Cutter()
        cutter.places = []
        whole = b"#" * begin + data
        at = cutter.cut(whole, begin, 9)

        assert cutter.flat(whole, begin, at) == flat
        assert cutter.part(whole, begin, at) == data


# --- split, pack_keys, pack_sets


SPLIT_OF_ONE = (
    (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", ([b"GET", b"k"], 20)),
    (b"*1\r\n$0\r\n\r\n*1", ([b""], 10)),
    (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r", (None, 20)),
    (b"*2\r\n$3\r\nGET\r\n$1", (None, 16)),
    (b"*3\r\n$3\r\nGET\r\n", (None, 13 + 6)),
    (b"*2147483647\r\n", (None, 13 + 6 * 2147483646)),
    (b"", (None, 0)),
    (b"*", (None, 0)),
    (b"*0\r\n", (None, 0)),
    (b"*-1\r\n", (None, 0)),
    (b"*01\r\n$1\r\na\r\n", (None, 0)),
    (b"PING\r\n", (None, 0)),
    (b"*1\r\n+OK\r\n", (None, 0)),
    (b"*1\r\n$-1\r\n", (None, 0)),
    (b"*1\r\n$01\r\na\r\n", (None, 0)),
    (b"*1\r\n$1\r\nabc", (None, 0)),
    (b"*1\r\n$536870913\r\n", (None, 0)),
)


@pytest.mark.parametrize(("data", "answer"), SPLIT_OF_ONE)
@pytest.mark.parametrize("pos", [0, 3])
def test_the_words_of_a_canonical_request_are_read(
    kernel: Any, data: bytes, answer: tuple[list[bytes] | None, int], pos: int
) -> None:
    words, at = kernel.split(b"xxx"[:pos] + data, pos)

    assert (words, at if words is None else at - pos) == answer


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=5), st.data())
def test_no_part_of_a_request_needs_more_than_the_whole(
    words: list[bytes], data: st.DataObject
) -> None:
    whole = encode(words)
    part = whole[: data.draw(st.integers(4, len(whole) - 1))]

    for each in filter(None, (compiled, twin)):
        found, need = each.split(part, 0)
        assert found is None
        assert len(part) < need <= len(whole)
        assert each.split(whole, 0) == (words, len(whole))


PIECES = (
    *(b"*2\r\n", b"$3\r\nGET\r\n", b"$1\r\n", b"\r\n", b"*", b"$"),
    *(b"0", b"1", b"9999999999", b"-1", b"a", b"\0"),
)


@needs_compiled
@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=7).map(b"".join), st.integers(0, 3))
def test_any_bytes_are_split_alike(data: bytes, pos: int) -> None:
    assert compiled is not None
    assert compiled.split(data, pos) == twin.split(data, pos)


@given(st.lists(st.binary(max_size=200), max_size=9), st.binary(max_size=9), st.binary(max_size=9))
def test_keys_are_packed_as_one_request(keys: list[bytes], before: bytes, behind: bytes) -> None:
    request = encode([b"DEL", *(before + key + behind for key in keys)])

    for each in filter(None, (compiled, twin)):
        assert each.pack_keys(b"DEL", keys, before, behind) == request


@given(st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=200)), max_size=9))
def test_pairs_are_packed_as_requests(pairs: list[tuple[bytes, bytes]]) -> None:
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    tails = [b"$2\r\nPX\r\n$%d\r\n%b\r\n" % (at, b"1" * at) for at in range(1, 1 + len(pairs))]
    requests = [
        encode([b"SET", key, value, b"PX", b"1" * at])
        for at, (key, value) in enumerate(pairs, start=1)
    ]

    for each in filter(None, (compiled, twin)):
        packed = each.pack_sets(b"*5\r\n$3\r\nSET\r\n", keys, values, tails)
        assert packed == b"".join(requests)


@pytest.mark.parametrize("lists", [([b"k"], [], [b"t"]), ([b"k"], [b"v"], [])])
def test_sets_that_do_not_fit_are_not_packed(kernel: Any, lists: tuple[list[bytes], ...]) -> None:
    with pytest.raises(ValueError, match="not as many"):
        kernel.pack_sets(b"", *lists)


@pytest.mark.parametrize("word", [None, "text", bytearray(b"k"), 1])
def test_what_is_not_bytes_is_not_packed(kernel: Any, word: Any) -> None:
    with pytest.raises(TypeError, match="a word is bytes"):
        kernel.pack_keys(b"DEL", [word], b"", b"")
    for lists in (([word], [b"v"]), ([b"k"], [word])):
        with pytest.raises(TypeError, match="a word is bytes"):
            kernel.pack_sets(b"", *lists, [b""])


# --- many


MANY = {**NEARS, b"MGET": 34}


def mget(*keys: bytes) -> bytes:
    return encode([b"MGET", *keys])


def looked_up(names: Any, near: Near, data: bytes, pos: int = 0, flat: bool = True) -> Any:
    """(how many, the offset behind them), and where they are more than none what was found"""
    count = names.many(data, pos, near.index, near.sketch, 5.0, flat)
    if not count:
        return count, names.end
    found = names.told, names.nils, names.gaps, names.asked, names.doubts, names.sampled
    return count, names.end, *found


@pytest.mark.parametrize(("flat", "nil"), [(True, b"$-1\r\n"), (False, b"_\r\n")])
def test_of_many_keys_what_is_there_is_told_in_one_piece(
    kernel: Any, flat: bool, nil: bytes
) -> None:
    names, near = kernel.RouteMap(MANY), Near()
    one, none = near.put(b"a", b"$1\r\n1\r\n"), near.put(b"none", None)
    data = mget(b"a", b"none", b"a").replace(b"MGET", b"mGet")

    told = b"*3\r\n$1\r\n1\r\n" + nil + b"$1\r\n1\r\n"
    assert looked_up(names, near, b"12" + data + SET, 2, flat) == (
        3, len(data) + 2, told, 1, [], None, [], [],
    )  # fmt: skip
    assert (one.freq, none.freq) == (2, 1)


def test_of_many_keys_what_is_missing_is_asked_for_and_has_its_place(kernel: Any) -> None:
    names, near = kernel.RouteMap(MANY), Near()
    near.put(b"a", b"$1\r\n1\r\n")
    near.put(b"old", b"$1\r\n0\r\n", deadline=5.0)  # its time is over: it may be kept again
    data = mget(b"x", b"a", b"old", b"y", b"x")

    assert looked_up(names, near, data)[2:] == (
        b"*5\r\n$1\r\n1\r\n", 0, [4, 11, 11, 11], mget(b"x", b"old", b"y", b"x"),
        [(1, b"old"), (3, b"x")], [],
    )  # fmt: skip


def test_of_many_keys_none_of_which_is_there_nothing_is_told(kernel: Any) -> None:
    names, near = kernel.RouteMap(MANY), Near()
    data = mget(b"x", b"y")

    assert looked_up(names, near, data)[2] is None
    # Seen before: the cache may keep them.
    again = looked_up(names, near, data)
    assert again[2:4] == (b"*2\r\n", 0)
    assert again[5:7] == (data, [(0, b"x"), (1, b"y")])


def test_of_many_keys_those_of_the_sample_are_told(kernel: Any) -> None:
    names, near = kernel.RouteMap(MANY), Near(salt=hash(b"a") ^ 64 << 20)
    near.put(b"a", b"$1\r\n1\r\n")
    near.sketch.sampled = True

    assert looked_up(names, near, mget(b"a", b"a"))[-1] == [64 << 20] * 2


@pytest.mark.parametrize(
    "data",
    [
        *[mget(b"a", b"b")[:end] for end in range(len(mget(b"a", b"b")))],
        encode([b"MGET"]),
        mget(*[b"a"] * 1025),
        GET,
        SET,
        mget(b"a").replace(b"$1", b"$01"),
        mget(b"a").replace(b"\na\r", b"\naa"),
        mget(b"l" * 9, *[b"large"] * 5),
    ],
)
def test_what_is_no_mget_or_too_much_is_not_looked_up(kernel: Any, data: bytes) -> None:
    names, near = kernel.RouteMap(MANY), Near()
    entry = near.put(b"large", b"$999991\r\n" + bytes(999991) + b"\r\n")

    assert looked_up(names, near, data) == (0, 0)
    assert not any(near.sketch.sights)
    assert not entry.freq


@needs_compiled
@given(
    asked=st.lists(st.lists(st.binary(max_size=2), min_size=1, max_size=12), max_size=9),
    there=st.sets(st.binary(max_size=2), max_size=20),
    salt=st.integers(-(2**60), 2**60),
    sampled=st.booleans(),
    flat=st.booleans(),
)
def test_both_kernels_look_up_many_alike(
    asked: list[list[bytes]], there: set[bytes], salt: int, sampled: bool, flat: bool
) -> None:
    seen = []
    for module in (compiled, twin):
        assert module is not None
        names, near = module.RouteMap(MANY), Near(salt)
        near.sketch.sampled = sampled
        entries = [
            near.put(key, None if b"\0" in key else b"$1\r\n1\r\n", 5.0 if b"\1" in key else 10.0)
            for key in sorted(there)
        ]
        steps = [looked_up(names, near, mget(*keys), 0, flat) for keys in asked]
        seen.append((steps, list(near.sketch.sights), [entry.freq for entry in entries]))

    assert seen[0] == seen[1]


# --- hash slots, errors


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"", 0),
        (b"foo", 12182),
        (b"123456789", 12739),
        (b"{user1000}.following", 3443),
        (b"{user1000}.followers", 3443),
        (b"foo{}{bar}", 8363),
        (b"foo{{bar}}zap", 4015),
        (b"foo{bar}{zap}", 5061),
        (b"{", 4092),
    ],
)
def test_keys_hash_as_servers_hash_them(kernel: Any, key: bytes, slot: int) -> None:
    assert kernel.hash_slot(key) == slot
    routes = kernel.RouteMap({b"GET": PLAIN})
    request = get(key)
    assert routes.hash_slot(b"x" + request, 1) == slot
    assert routes.end == 1 + len(request)


@pytest.mark.parametrize("data", [MULTI, b"*2\r\n$4\r\nEVAL\r\n$1\r\ns\r\n", get(b"k")[:-3]])
def test_other_requests_have_no_slot_here(kernel: Any, data: bytes) -> None:
    assert kernel.RouteMap({b"GET": PLAIN}).hash_slot(data, 0) < 0


# --- spread and weave


def owners(**nodes: int) -> array[int]:
    """Which node each key belongs to; nobody has the other slots."""
    made = array("h", [-1] * 16384)
    for key, node in nodes.items():
        made[twin.hash_slot(key.encode())] = node
    return made


def test_a_run_is_parted_by_the_nodes_that_own_its_slots(kernel: Any) -> None:
    routes, whose = kernel.RouteMap(KINDS), owners(a=7, b=0, c=7)
    run = [get(b"a"), get(b"b"), encode([b"set", b"a", b"\r\n$*"]), get(b"c"), get(b"b")]

    assert kernel.spread(routes, b"".join(run), whose, 5) == [
        b"\0\1\0\0\1",
        *(7, 3, run[0] + run[2] + run[3]),
        *(0, 2, get(b"b") * 2),
    ]
    assert kernel.spread(routes, get(b"b") * 256, whose, 256) == [None, 0, 256, get(b"b") * 256]


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (get(b"a") + get(b"x"), 2),  # whose slot nobody has
        (get(b"a") + MULTI, 2),
        (get(b"a") + get(b"b")[:-1], 2),
        (get(b"a") * 2, 3),
        (get(b"a") * 3, 2),
        (get(b"a") * 257, 257),
    ],
)
def test_what_is_no_run_of_known_slots_is_not_parted(kernel: Any, data: bytes, count: int) -> None:
    assert kernel.spread(kernel.RouteMap(KINDS), data, owners(a=0, b=1), count) is None


WOVEN = [
    b"+OK\r\n",
    b"-MOVED 1 h:1\r\n",
    b":-12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$12\r\n\r\n$1\r\nx\r\n*3\r\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*1\r\n$1\r\na\r\n:1\r\n",
    b"%1\r\n+k\r\n*1\r\n_\r\n",
    b"|1\r\n+k\r\n+v\r\n+OK\r\n",
    b"~1\r\n#t\r\n",
    b"=5\r\ntxt:a\r\n",
    b"!3\r\nERR\r\n",
    b",1.5\r\n",
    b"(12345678901234567890\r\n",
    b"_\r\n",
]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(WOVEN)), min_size=1, max_size=256))
def test_replies_are_woven_as_requests_were_parted(replies: list[tuple[int, bytes]]) -> None:
    order = bytes(piece for piece, _ in replies)
    texts = [b"".join(reply for at, reply in replies if at == piece) for piece in range(4)]

    for kernel in filter(None, (compiled, twin)):
        assert kernel.weave(order, texts) == b"".join(reply for _, reply in replies)


@pytest.mark.parametrize("reply", WOVEN)
def test_replies_that_are_no_such_number_are_not_woven(kernel: Any, reply: bytes) -> None:
    for order, texts in [
        (b"\0\1\1", [reply, reply]),
        (b"\0\1", [reply, reply[:-1]]),
        (b"\0\1", [reply, reply * 2]),
        (b"\0\2", [reply, reply]),
    ]:
        with pytest.raises(ValueError, match="replies than requests"):
            kernel.weave(order, texts)


def test_replies_that_are_errors_are_counted_where_they_are_whole(kernel: Any) -> None:
    cutter = kernel.Cutter()
    data = b"+OK\r\n-ERR a\r\n*2\r\n-ERR inside\r\n:1\r\n-MOVED 1 x:1\r\n"
    assert cutter.cut(data, 0, 4, False) == len(data)
    assert cutter.errors == 2
    cutter.cut(b":1\r\n", 0, 1, False)
    assert cutter.errors == 0


# --- fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("nil", [b"$-1\r\n", b"_\r\n"])
def test_replies_are_fitted_into_their_gaps(kernel: Any, nil: bytes) -> None:
    there, fill = bulk(b"A") + bulk(b"B"), object()
    replies = [bulk(b"1"), b"_\r\n", b"-WRONGTYPE x\r\n", bulk(b""), b"_\r\n"]
    gaps = [0, 0, 7, 14, 14]
    out = bulk(b"1") + nil + bulk(b"A") + b"-WRONGTYPE x\r\n" + bulk(b"B") + bulk(b"") + nil

    assert kernel.fit(there, gaps, b"told" + b"".join(replies), 4, nil, []) == (out, 2, 2, [])
    fills = [fill, fill, fill, None, None]
    kept = [bulk(b"1"), None, b"-WRONGTYPE x\r\n"]
    assert kernel.fit(there, gaps, b"".join(replies), 0, nil, fills) == (out, 2, 2, kept)


@pytest.mark.parametrize("replies", [b"", bulk(b"1"), bulk(b"1")[:-1], bulk(b"1") * 3, b"$5\r\n1"])
def test_other_than_as_many_replies_as_gaps_are_refused(kernel: Any, replies: bytes) -> None:
    with pytest.raises(ValueError, match="replies than gaps"):
        kernel.fit(b"", [0, 0], replies, 0, b"$-1\r\n", [])
