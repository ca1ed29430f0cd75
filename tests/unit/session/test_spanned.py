"""What traces are told of a command of the proxy's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nearhit.commands import COMMANDS
from nearhit.proxy.session.spanned import command_span
from nearhit.proxy.spans import UNSEEN

from tests.fakes import World
from tests.seen import Seen


@pytest.fixture
def seen(world: World) -> Iterator[Seen]:
    seen = Seen()
    world.context.traces = seen.traces
    world.context.customs = {spec.name: spec for spec in COMMANDS}
    yield seen
    seen.close()


async def test_without_traces_there_is_no_span(world: World) -> None:
    assert command_span(world.context, [b"GETORSET", b"k"], 0) is UNSEEN


@pytest.mark.parametrize(
    ("words", "name", "text"),
    [
        ([b"getorset", b"k", b"s3cret"], "GETORSET", "getorset k ... (1 more argument)"),
        ([b"lock", b"acquire", b"r"], "LOCK ACQUIRE", "lock acquire r"),
        ([b"LEASE"], "LEASE", "LEASE"),
        ([b"LOCK", b"s3cret", b"r"], "LOCK", "LOCK r ... (1 more argument)"),
        ([b"MGET", b"a", b"b"], "MGET", "MGET a b"),
    ],
)
async def test_it_is_called_by_its_words_that_are_few_and_shows_keys_alone(
    world: World, seen: Seen, words: list[bytes], name: str, text: str
) -> None:
    with command_span(world.context, words, 2):
        pass

    facts = seen.named(name).attributes or {}
    assert (facts["db.operation.name"], facts["db.query.text"]) == (name, text)
    assert facts["db.namespace"] == "2"
