from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pytest
from nearhit.commands.stats import HELP, MOST, SHOWN, SPEC, Request, What
from nearhit.lua import Script
from nearhit.proxy.custom.spec import Asking, Call, Jobs, Leases, Loads, Locks, Writes
from nearhit.proxy.errors import BadInput, ServerError
from nearhit.proxy.keys.ours import OurKeys
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.resp.requests import encode


class Counts:
    def __init__(self) -> None:
        self.loads = 3

    def add(self, name: str, count: int = 1) -> None:
        self.loads += count

    def read(self, *, hit: bool) -> None:
        pytest.fail("STATS reads no string")

    async def show(self) -> Mapping[str, Value]:
        return {"loads": self.loads}

    async def reset(self) -> None:
        self.loads = 0

    def seen(self, view: str) -> Sequence[tuple[bytes, Mapping[str, Value]]]:
        return [(b"k%d" % n, {view: n}) for n in range(100)]

    def slowest(self) -> Sequence[Mapping[str, Value]]:
        return [{"duration_us": 1000 - n} for n in range(100)]

    def latency(self) -> Sequence[Mapping[str, Value]]:
        return [{"class": "read"}]

    def proxy(self) -> Mapping[str, Value]:
        return {"version": "1"}


class Server:
    """What STATS asks the server: whether INFO, CONFIG RESETSTAT and SLOWLOG GET are permitted, and
    which keys may be read: ``hidden`` may not."""

    def __init__(
        self,
        *,
        info: bool = True,
        may: int | None = 1,
        resetstat: str = "ERR",
        hidden: Sequence[bytes] = (),
    ) -> None:
        self.info = info
        self.may = may
        self.resetstat = resetstat
        self.hidden = hidden

    async def ask(self, *words: bytes) -> Value:
        if words == (b"INFO", b"nearhit"):
            if not self.info:
                raise ServerError(b"-NOPERM info")
            return b""
        assert words in (
            (b"CONFIG", b"RESETSTAT", b"nearhit"),
            (b"SLOWLOG", b"GET", b"nearhit"),
        )
        raise ServerError(b"-%b resetstat" % self.resetstat.encode())

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        assert not keys
        if script.name == "may_read":
            return None if self.may is None else [int(key not in self.hidden) for key in args]
        assert script.name == "may"
        assert list(args) in ([b"config", b"resetstat"], [b"slowlog", b"get"])
        return self.may

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        return [
            ServerError(b"-NOPERM no")
            if any(request == encode([b"EXISTS", key]) for key in self.hidden)
            else 1
            for request in requests
        ]


async def run(counts: Counts, *words: bytes, server: Server | None = None) -> Value:
    nobody = object()
    call = Call(
        request=SPEC.parse(words),
        upstream=cast(Asking, server or Server()),
        bulk=cast(Asking, server or Server()),
        loads=cast(Loads, nobody),
        leases=cast(Leases, nobody),
        writes=cast(Writes, nobody),
        ours=OurKeys(b""),
        locks=cast(Locks, nobody),
        jobs=cast(Jobs, nobody),
        stats=counts,
        views=counts,
        now=lambda: 0.0,
        sleep=lambda seconds: pytest.fail("STATS does not sleep"),
    )
    return await SPEC.run(call)


async def test_stats_shows_the_map() -> None:
    assert await run(Counts(), b"STATS") == {"loads": 3}


@pytest.mark.parametrize("word", [b"RESET", b"reset"])
async def test_reset_starts_from_zero(word: bytes) -> None:
    counts = Counts()

    assert await run(counts, b"STATS", word) == "OK"

    assert counts.loads == 0


async def test_who_may_not_ask_info_sees_nothing() -> None:
    with pytest.raises(ServerError, match=r"^NOPERM info"):
        await run(Counts(), b"STATS", server=Server(info=False))


@pytest.mark.parametrize(
    "server", [Server(may=0), Server(may=None, resetstat="NOPERM")], ids=["redis 7", "redis 6"]
)
async def test_who_may_not_reset_the_servers_statistics_resets_none(server: Server) -> None:
    counts = Counts()

    with pytest.raises(ServerError, match=r"^NOPERM "):
        await run(counts, b"STATS", b"RESET", server=server)

    assert counts.loads == 3


async def test_on_a_server_that_cannot_say_the_arity_error_is_a_yes() -> None:
    counts = Counts()

    assert await run(counts, b"STATS", b"RESET", server=Server(may=None)) == "OK"

    assert counts.loads == 0


async def test_help_is_lines_of_text_in_the_form_of_redis() -> None:
    reply = await run(Counts(), b"stats", b"help")

    assert reply == HELP
    assert HELP[0] == "STATS <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    assert HELP[-2:] == ("HELP", "    Print this help.")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([b"nonsense"], "unknown subcommand 'nonsense'. Try STATS HELP."),
        ([b"No", b"x"], "unknown subcommand 'No'. Try STATS HELP."),
        ([b""], "unknown subcommand ''. Try STATS HELP."),
        ([b"RESET", b"x"], "wrong number of arguments for 'stats|reset' command"),
        ([b"help", b"x"], "wrong number of arguments for 'stats|help' command"),
        ([b"LATENCY", b"1"], "wrong number of arguments for 'stats|latency' command"),
        ([b"PROXY", b"1"], "wrong number of arguments for 'stats|proxy' command"),
        ([b"hotkeys", b"1", b"2"], "wrong number of arguments for 'stats|hotkeys' command"),
        ([b"HOTKEYS", b"x"], "value is not an integer or out of range"),
        ([b"SLOWLOG", b"0"], "count should be from 1 to 128"),
        ([b"PREFIXES", b"129"], "count should be from 1 to 128"),
    ],
)
def test_wrong_words_are_refused_as_redis_refuses_them(words: list[bytes], error: str) -> None:
    with pytest.raises(BadInput) as caught:
        SPEC.parse([b"STATS", *words])

    assert caught.value.line == f"-ERR {error}\r\n".encode()


@pytest.mark.parametrize("view", ["HOTKEYS", "BIGKEYS", "PREFIXES"])
async def test_keys_are_told_of_as_many_as_are_asked_for(view: str) -> None:
    rows = await run(Counts(), b"STATS", view.encode())
    few = await run(Counts(), b"stats", view.lower().encode(), b"2")

    assert rows == [{view.lower(): n} for n in range(SHOWN)]
    assert few == [{view.lower(): n} for n in range(2)]


@pytest.mark.parametrize("may", [1, None], ids=["redis 7", "redis 6"])
async def test_nobody_is_told_of_a_key_that_he_may_not_read(may: int | None) -> None:
    server = Server(may=may, hidden=[b"k0", b"k2"])

    rows = await run(Counts(), b"STATS", b"HOTKEYS", b"2", server=server)

    assert rows == [{"hotkeys": 1}, {"hotkeys": 3}]


async def test_where_nothing_was_seen_nothing_is_asked() -> None:
    class Nothing(Counts):
        def seen(self, view: str) -> Sequence[tuple[bytes, Mapping[str, Value]]]:
            return []

    assert await run(Nothing(), b"STATS", b"BIGKEYS") == []


async def test_slow_commands_are_told_of_to_who_may_see_the_servers() -> None:
    assert await run(Counts(), b"STATS", b"SLOWLOG", b"2") == [
        {"duration_us": 1000},
        {"duration_us": 999},
    ]
    for server in (Server(may=0), Server(may=None, resetstat="NOPERM")):
        with pytest.raises(ServerError, match=r"^NOPERM "):
            await run(Counts(), b"STATS", b"SLOWLOG", server=server)


async def test_latency_is_told() -> None:
    assert await run(Counts(), b"STATS", b"LATENCY") == [{"class": "read"}]


async def test_the_proxy_is_told_as_it_is_now() -> None:
    assert await run(Counts(), b"STATS", b"proxy") == {"version": "1"}


@pytest.mark.parametrize("what", ["HOTKEYS", "SLOWLOG", "LATENCY", "PROXY"])
async def test_who_may_not_ask_info_sees_none_of_it(what: str) -> None:
    with pytest.raises(ServerError, match=r"^NOPERM info"):
        await run(Counts(), b"STATS", what.encode(), server=Server(info=False))


def test_the_facts_name_every_subcommand() -> None:
    assert SPEC.parse([b"STATS"]) == Request(What.SHOW)
    assert SPEC.parse([b"STATS", b"SLOWLOG", b"%d" % MOST]) == Request(What.SLOWLOG, MOST)
    assert {one.name for one in SPEC.subcommands} == {what.name for what in What} - {"SHOW"}
    assert all(SPEC.accepts(count) for count in (1, 2, 3))
