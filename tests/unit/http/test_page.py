"""The status page's files and JSON, of a proxy by script; a browser looks in tests/commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession
from nearhit.proxy.errors import ProxyError, ServerError
from nearhit.proxy.http.api import Api
from nearhit.proxy.http.files import FILES, text_of
from nearhit.proxy.http.page import Page
from nearhit.proxy.resp.replies import Value
from yarl import URL

from tests.unit.http.serving import Proxy, serving

Client = ClientSession


class Shown:
    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.error: ProxyError | None = None

    def __repr__(self) -> str:
        return "<Shown>"

    async def show(self) -> Mapping[str, Value]:
        return {"down": None, "history": {"at": [-1.0]}}

    async def key(self, key: bytes) -> Mapping[str, Value]:
        self.asked.append(key)
        if self.error is not None:
            raise self.error
        return {"type": "string", "value": b"\xff<b>"}


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
async def client(shown: Shown) -> AsyncIterator[Client]:
    api: Api = replace(Proxy().api, status=shown)
    async with serving(api) as (_, port), ClientSession(f"http://127.0.0.1:{port}") as opened:
        yield opened


async def get(client: Client, path: str) -> tuple[int, Any]:
    async with client.get(URL(path, encoded=True)) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(("path", "kind"), [(path, kind) for path, (_, kind) in FILES.items()])
async def test_files_come_with_their_types_and_may_load_nothing_else(
    path: str, kind: str, client: Client
) -> None:
    async with client.get(path) as answer:
        text = await answer.text()

    assert (answer.status, answer.content_type) == (200, kind)
    assert text == text_of(FILES[path][0])
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Server"] == "nearhit"


async def test_the_status_is_what_is_shown(client: Client, shown: Shown) -> None:
    assert await get(client, "/api/status") == (200, {"down": None, "history": {"at": [-1.0]}})
    assert repr(Page(shown)) == "<Page of <Shown>>"


@pytest.mark.parametrize(
    ("query", "key"),
    [("a", b"a"), ("a%26b%3D%2B+c", b"a&b=+ c"), ("a=b", b"a=b"), ("%ff%00", b"\xff\x00")],
)
async def test_a_key_is_percent_encoded(
    query: str, key: bytes, client: Client, shown: Shown
) -> None:
    expected = {"type": "string", "value": "\\xff<b>"}

    assert await get(client, f"/api/status/key?key={query}") == (200, expected)
    assert shown.asked == [key]


@pytest.mark.parametrize("query", ["", "?", "?key=", "?key", "?name=a", "?key=a&key=b"])
async def test_another_query_is_400(query: str, client: Client, shown: Shown) -> None:
    status, body = await get(client, f"/api/status/key{query}")

    assert status == 400
    assert "?key=NAME" in body["error"]
    assert shown.asked == []


async def test_a_key_that_may_not_be_seen_is_the_servers_error(
    client: Client, shown: Shown
) -> None:
    shown.error = ServerError(b"-NOPERM no\r\n")

    assert await get(client, "/api/status/key?key=a") == (403, {"error": "NOPERM no"})
