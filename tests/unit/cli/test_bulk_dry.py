"""What ``nearhit invalidate --dry-run`` finds, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nearhit.proxy.cli.bulk_dry import found_by
from nearhit.proxy.cli.reach import Link, Refused, linked
from nearhit.proxy.keys.ours import lock_key, tag_closed_key, tag_key
from nearhit.proxy.process.embedded import Embedded, find_server


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    with Embedded(find_server()) as started:
        yield started


@pytest.fixture
def link(server: Embedded) -> Iterator[Link]:
    with linked(server.url, "the proxy") as link:
        link.ask(b"FLUSHALL")
        yield link


def found(link: Link, form: bytes, *names: bytes) -> tuple[int, list[bytes]]:
    pages = list(found_by(link, form, names))
    return sum(looked for looked, _ in pages), sorted(key for _, keys in pages for key in keys)


def test_of_keys_those_that_are_there(link: Link) -> None:
    link.ask(b"MSET", b"a", b"1", b"b", b"2")

    assert found(link, b"KEYS", b"a", b"gone", b"a") == (3, [b"a"])
    assert link.ask(b"DBSIZE") == 2


def test_of_a_pattern_what_matches_and_is_not_our_own(link: Link) -> None:
    own = [lock_key(b"r"), b"nearhit:stats"]
    link.ask(b"MSET", b"a", b"1", own[0], b"t", own[1], b"s")

    assert found(link, b"PATTERN", b"*")[1] == [b"a"]
    assert found(link, b"PATTERN", b"lock:{*")[1] == [own[0]]
    assert link.ask(b"DBSIZE") == 3


def test_of_a_tag_the_keys_under_it_that_are_still_there(link: Link) -> None:
    part = tag_closed_key(b"t", b"1f")
    link.ask(b"MSET", b"a", b"1", b"b", b"2")
    link.ask(b"ZADD", tag_key(b"t"), b"1", b"a", b"2", b"dead")
    link.ask(b"ZADD", part, b"1", b"b")
    link.ask(b"SADD", tag_closed_key(b"t"), part)

    assert found(link, b"TAG", b"t") == (3, [b"a", b"b"])
    assert found(link, b"TAG", b"none") == (0, [])


def test_what_may_not_be_asked_is_refused(link: Link) -> None:
    link.ask(b"SET", tag_key(b"t"), b"no sorted set")

    with pytest.raises(Refused, match="WRONGTYPE"):
        found(link, b"TAG", b"t")
