"""Large values, long replies, many arguments: through the proxy as straight to the server.

Too big for scripts to print: compared by equality, reported by length."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import pytest

from .conftest import Side, Twins
from .link import Link, command

MEGABYTE = 1 << 20


def answers(side: Side, resp: int, requests: Sequence[bytes], count: int) -> list[bytes]:
    """The replies to all requests, sent on one connection one after the other."""
    with closing(Link(side.port)) as link:
        link.ask("HELLO", resp)
        for request in requests:
            link.send(request)
        return link.read(count, seconds=20)


def assert_alike(twins: Twins, resp: int, requests: Sequence[bytes], count: int) -> list[bytes]:
    twins.reset()
    truths, heards = (answers(side, resp, requests, count) for side in twins.sides)
    assert len(truths) == count, "the server gives fewer replies than the test expects"
    sizes = [(len(truth), len(heard)) for truth, heard in zip(truths, heards, strict=False)]
    assert truths == heards, f"lengths of replies, direct and through the proxy: {sizes[:20]}"
    return heards


@pytest.mark.parametrize("size", [16 * 1024, MEGABYTE, 20 * MEGABYTE])
def test_a_large_value_comes_back_whole(size: int, twins: Twins, resp: int) -> None:
    value = bytes(range(256)) * (size // 256)
    requests = [command("SET", "k", value), command("GET", "k"), command("STRLEN", "k")]

    heards = assert_alike(twins, resp, requests, 3)

    assert heards[1] == b"$%d\r\n%b\r\n" % (size, value)


def test_large_values_in_one_pipeline_keep_their_order(twins: Twins, resp: int) -> None:
    values = [bytes([65 + number]) * MEGABYTE for number in range(4)]
    writes = [command("SET", f"k{number}", value) for number, value in enumerate(values)]
    reads = [command("GET", f"k{number}") + command("PING") for number in range(4)]

    assert_alike(twins, resp, [b"".join(writes), b"".join(reads), command("MGET", "k3", "k0")], 13)


def test_a_large_inside_a_transaction_and_a_script(twins: Twins, resp: int) -> None:
    value = b"v" * (2 * MEGABYTE)
    requests = [
        command("MULTI") + command("SET", "k", value) + command("GET", "k") + command("EXEC"),
        command("EVAL", "return {ARGV[1], redis.call('GET', KEYS[1])}", 1, "k", value),
        command("ECHO", value),
        command("PUBLISH", "nobody", value),
    ]

    assert_alike(twins, resp, requests, 7)


def test_a_large_message_reaches_its_subscriber(twins: Twins, resp: int) -> None:
    message = b"m" * (3 * MEGABYTE)
    twins.reset()
    heards: list[list[bytes]] = []
    for side in twins.sides:
        with closing(Link(side.port)) as hearer, closing(Link(side.port)) as teller:
            hearer.ask("HELLO", resp)
            hearer.ask("SUBSCRIBE", "large")
            told = teller.ask("PUBLISH", "large", message)
            heards.append([told, *hearer.read(1, seconds=20)])

    assert heards[0] == heards[1], [[len(frame) for frame in heard] for heard in heards]
    assert len(heards[0]) == 2


def test_commands_of_many_arguments_and_replies_of_many_elements(twins: Twins, resp: int) -> None:
    numbers = [str(number) for number in range(20_000)]
    pairs = [text for number in numbers for text in (f"k{number}", number)]
    requests = [
        command("RPUSH", "l", *numbers),
        command("LRANGE", "l", 0, -1),
        command("MSET", *pairs),
        command("MGET", *pairs[::2]),
        command("DEL", *pairs[::2]),
        command("EVAL", "return #ARGV", 0, *numbers[:5000]),
    ]

    assert_alike(twins, resp, requests, 6)


def test_a_deep_pipeline_of_every_kind_of_command(twins: Twins, resp: int) -> None:
    turn = b"".join(
        [
            *(command("SET", "k", number) for number in range(4)),
            command("GET", "k") * 3,
            b"GET k\r\n",
            command("SELECT", 1) + command("INCR", "n") + command("SELECT", 0),
            command("MULTI") + command("INCR", "m") + command("EXEC"),
            command("NOSUCH") + command("GET"),
            command("EVAL", "return redis.call('INCR', KEYS[1])", 1, "e"),
            command("CLIENT", "SETNAME", "deep") + command("CLIENT", "GETNAME"),
        ]
    )

    assert_alike(twins, resp, [turn * 100], 100 * (8 + 3 + 3 + 2 + 1 + 2))


def test_a_reply_larger_than_what_the_client_reads_is_not_lost(twins: Twins, resp: int) -> None:
    value = b"s" * (4 * MEGABYTE)
    twins.reset()
    heards: list[list[bytes]] = []
    for side in twins.sides:
        with closing(Link(side.port)) as slow, closing(Link(side.port)) as other:
            slow.ask("HELLO", resp)
            slow.ask("SET", "k", value)
            slow.send(command("GET", "k") * 5 + command("PING"))
            between = other.ask("STRLEN", "k")
            heards.append([between, *slow.read(6, seconds=20)])

    assert [len(heard) for heard in heards] == [7, 7]
    assert heards[0] == heards[1], [[len(frame) for frame in heard] for heard in heards]
