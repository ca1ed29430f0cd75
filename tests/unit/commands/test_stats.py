from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import pytest
from nearhit.commands.stats import HELP, SPEC, Request
from nearhit.lua import Script
from nearhit.proxy.custom.spec import Asking, Call, Jobs, Leases, Loads, Locks, Writes
from nearhit.proxy.errors import BadInput, ServerError
from nearhit.proxy.keys.ours import OurKeys
from nearhit.proxy.resp.replies import Value


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


class Server:
    """What STATS asks the server: whether INFO and CONFIG RESETSTAT are permitted."""

    def __init__(self, *, info: bool = True, may: int | None = 1, resetstat: str = "ERR") -> None:
        self.info = info
        self.may = may
        self.resetstat = resetstat

    async def ask(self, *words: bytes) -> Value:
        if words == (b"INFO", b"nearhit"):
            if not self.info:
                raise ServerError(b"-NOPERM info")
            return b""
        assert words == (b"CONFIG", b"RESETSTAT", b"nearhit")
        raise ServerError(b"-%b resetstat" % self.resetstat.encode())

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        assert (script.name, keys, args) == ("may", (), (b"config", b"resetstat"))
        return self.may


async def run(counts: Counts, *words: bytes, server: Server | None = None) -> Value:
    nobody = object()
    call = Call(
        request=SPEC.parse(words),
        upstream=cast(Asking, server or Server()),
        bulk=cast(Asking, nobody),
        loads=cast(Loads, nobody),
        leases=cast(Leases, nobody),
        writes=cast(Writes, nobody),
        ours=OurKeys(b""),
        locks=cast(Locks, nobody),
        jobs=cast(Jobs, nobody),
        stats=counts,
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
    ],
)
def test_wrong_words_are_refused_as_redis_refuses_them(words: list[bytes], error: str) -> None:
    with pytest.raises(BadInput) as caught:
        SPEC.parse([b"STATS", *words])

    assert caught.value.line == f"-ERR {error}\r\n".encode()


def test_the_facts_name_every_subcommand() -> None:
    assert SPEC.parse([b"STATS"]) is Request.SHOW
    assert [one.name for one in SPEC.subcommands] == ["RESET", "HELP"]
    assert all(SPEC.accepts(count) for count in (1, 2, 3))
