"""Who is told of which keys, by a server that is a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from nearhit.lua import Script
from nearhit.proxy.custom.visible import visible
from nearhit.proxy.errors import ServerError
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.resp.requests import encode

ROWS: list[tuple[bytes, Mapping[str, Value]]] = [(b"a", {"n": 1}), (b"b", {"n": 2})]


class Server:
    """``knows``: whether it can say who may read what, as Redis 7 can."""

    def __init__(self, *, knows: bool) -> None:
        self.knows = knows
        self.asked = 0

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        assert (script.name, keys) == ("may_read", ())
        self.asked += 1
        return [int(key != b"a") for key in args] if self.knows else None

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        may_not = encode([b"EXISTS", b"a"])
        return [ServerError(b"-NOPERM no") if one == may_not else 0 for one in requests]


def call(server: Server) -> Any:
    return SimpleNamespace(upstream=server, bulk=server)


@pytest.mark.parametrize("knows", [True, False], ids=["redis 7", "redis 6"])
async def test_rows_are_told_whose_keys_may_be_read(knows: bool) -> None:
    assert await visible(call(Server(knows=knows)), ROWS) == [{"n": 2}]


async def test_for_no_rows_nobody_is_asked() -> None:
    server = Server(knows=True)

    assert await visible(call(server), []) == []
    assert server.asked == 0
