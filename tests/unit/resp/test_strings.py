"""Strings: the bytes that came, with values in the places of nulls; and nothing that is odd."""

from __future__ import annotations

import random

import pytest
from nearhit.proxy.errors import OddReply
from nearhit.proxy.resp.replies import bulk, parsed, reply
from nearhit.proxy.resp.strings import Known, Strings

NILS = {2: b"$-1\r\n", 3: b"_\r\n"}


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def resp(request: pytest.FixtureRequest) -> int:
    """The protocol of the server."""
    return int(request.param)


def strings(resp: int, *values: bytes | None) -> Strings:
    return Strings.of(reply(list(values), resp), len(values))


@pytest.mark.parametrize(
    "values",
    [
        [b"a"],
        [None],
        [None, None, b"a", b"", None, b"_\r\n", b"$-1\r\n", b"\r\n_\r\n$-1\r\n", None],
        [b"\r\n$-1", b"x" * 100_000, None, None],
    ],
)
def test_it_is_what_came_in_either_protocol(resp: int, values: list[bytes | None]) -> None:
    found = strings(resp, *values)

    assert list(found) == values
    assert len(found) == len(values)
    assert [found[at] for at in range(len(values))] == values
    assert found.absent == [at for at, value in enumerate(values) if value is None]
    for other in (2, 3):
        assert reply(found, other) == reply(values, other)


def test_values_take_the_places_of_nulls(resp: int) -> None:
    found = strings(resp, b"a", None, None, b"d", None)
    assert list(found)[1] is None

    found.fill([b"2", None, b"5"])

    assert list(found) == [b"a", b"2", None, b"d", b"5"]
    assert found[1:3] == [b"2", None]
    assert reply(found, 2) == reply([b"a", b"2", None, b"d", b"5"], 2)
    assert repr(found) == "<Strings absent=3>"


def test_any_values_in_any_places(resp: int) -> None:
    dice = random.Random(7)
    alphabet = [None, None, b"", b"_", b"_\r\n", b"$-1\r\n", b"\r\n", b"*1\r\n", b"x" * 70]
    for _ in range(300):
        values = dice.choices(alphabet, k=dice.randrange(1, 40))
        found = strings(resp, *values)
        loaded = [dice.choice(alphabet) for _ in found.absent]
        found.fill(loaded)

        rest = iter(loaded)
        wanted = [next(rest) if value is None else value for value in values]
        assert list(found) == wanted
        assert parsed(reply(found, 2)) == wanted


def test_what_is_known_stands_about_what_was_asked(resp: int) -> None:
    told, near = b"*5\r\n", bulk(b"near")
    known = Known(told + near + near, [4, 4 + len(near), 4 + len(near)], [b"a", b"c", b"d"])

    found = Strings.of(reply([None, b"3", None], resp), 3, known)
    found.fill([b"1", None])

    assert list(found) == [b"1", b"near", b"3", None, b"near"]
    assert len(found) == 5
    for other in (2, 3):
        assert reply(found, other) == reply([b"1", b"near", b"3", None, b"near"], other)


def test_all_may_be_known() -> None:
    found = Strings.near(Known(b"*2\r\n" + bulk(b"a") + bulk(b"b")))

    assert list(found) == [b"a", b"b"]
    assert reply(found, 2) == reply([b"a", b"b"], 2)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"*2\r\n",
        b"*1\r\n$1\r\na\r\n",
        b"*2\r\n$1\r\na\r\n",
        b"*2\r\n$1\r\na\r\n$5\r\nab",
        b"*2\r\n$1\r\na\r\n:1\r\n",
        b"*2\r\n$1\r\na\r\n$1\r\nb\r\n_\r\n",
        b"*3\r\n_\r\n_\r\n_\r\n",
        b"%2\r\n_\r\n_\r\n",
        b"_\r\n",
        b"+OK\r\n",
        b"*2\r\n$1\r\na\r\n-ERR no\r\n",
    ],
)
def test_whatever_is_no_array_of_so_many_strings_is_refused(text: bytes) -> None:
    with pytest.raises(OddReply):
        Strings.of(text, 2)
