"""The status page of a real proxy with clients at work: over HTTP, and in a headless Chromium."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.browser import CHROMIUM, tab
from tests.servers import HOST, any_kind, free_port, nearhit, upstream, wait_for

TOKEN = "0123456789abcdef"
# All keys but those of others.
PAGE_MAY = "~user:* ~plain ~lease:* ~tag* ~*nearhit* &* +@all"
# How many tables have to be moved sideways, where latencies are as long as they get.
CUT_OFF = """(() => {
  for (const cell of document.querySelectorAll("#latencies td")) cell.textContent = "67.1 ms";
  const tables = [...document.querySelectorAll(".scroll")];
  return tables.filter((one) => one.scrollWidth > one.clientWidth).length;
})()"""
LOADER = """
[loaders.users]
match = "user:{id}"
demo = true
tags = ["user:{id}"]
"""


class Proxy:
    def __init__(self, port: int, http: int) -> None:
        self.port, self.http = port, http
        self.url = f"http://{HOST}:{http}/"

    def ask(self, path: str, token: str | None = TOKEN) -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with closing(HTTPConnection(HOST, self.http, timeout=10)) as link:
            link.request("GET", path, headers=headers)
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

    def status(self) -> Any:
        status, body = self.ask("/api/status")
        assert status == 200
        return body

    def read(self, *keys: str) -> None:
        """Until they are among the hot keys: one read in 1024 is looked at."""

        def seen() -> bool:
            for _ in range(1000):
                for key in keys:
                    boss.get(key)
            found = boss.execute_command("STATS", "HOTKEYS", 128)
            return {row[b"key"].decode() for row in found} >= set(keys)

        with Redis(host=HOST, port=self.port, username="boss", password="pw", protocol=3) as boss:
            wait_for(seen, seconds=30.0)

    @contextmanager
    def load(self) -> Iterator[None]:
        """A client that reads and writes all the while."""
        ended = threading.Event()

        def work() -> None:
            with Redis(host=HOST, port=self.port) as client:
                while not ended.wait(0.01):
                    pipe = client.pipeline(transaction=False)
                    for number in range(50):
                        pipe.execute_command("GETORSET", f"user:{number % 7}")
                        pipe.set("plain", "v")
                        pipe.get("plain")
                    pipe.execute()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder: Path = tmp_path_factory.mktemp("status")
    (folder / "nearhit.toml").write_text(LOADER)
    http = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(upstream(any_kind()))
        with Redis(host=HOST, port=server.port) as boss:
            for user in ("page " + PAGE_MAY, "boss ~* &* +@all"):
                boss.execute_command("ACL", "SETUSER", *user.split(), "on", ">pw")
        process = stack.enter_context(
            nearhit(
                f"redis://page:pw@{HOST}:{server.port}",
                *("--http", f"{HOST}:{http}", "--config", f"{folder}/nearhit.toml"),
                *("--http-token", TOKEN),
            )
        )
        yield Proxy(process.port, http)


@pytest.fixture(scope="module")
def busy(proxy: Proxy) -> Iterator[Proxy]:
    with proxy.load():
        proxy.read("plain", "secret")
        yield proxy


def test_the_page_is_everybodys_and_the_numbers_are_not(proxy: Proxy) -> None:
    for path in ("/", "/status.js", "/status.css"):
        with closing(HTTPConnection(HOST, proxy.http, timeout=10)) as link:
            link.request("GET", path)
            assert link.getresponse().status == 200
    assert proxy.ask("/api/status", token=None)[0] == 401
    assert proxy.ask("/api/status/key?key=a", token=None)[0] == 401


def test_looking_counts_nothing_and_leaves_nothing_in_the_server(proxy: Proxy) -> None:
    with Redis(host=HOST, port=proxy.port) as client:
        client.set("plain", "v")
        before = proxy.status()["stats"]
        assert proxy.ask("/api/status/key?key=plain")[1]["value"] == "v"
        after = proxy.status()["stats"]
        assert {name: after[name] for name in ("hits", "misses", "commands")} == {
            name: before[name] for name in ("hits", "misses", "commands")
        }
        assert client.keys("*nearhit*") == []


def test_the_numbers_are_those_of_stats_and_of_the_last_seconds(busy: Proxy) -> None:
    wait_for(lambda: len(busy.status()["history"]["at"]) >= 2, seconds=10.0)
    wait_for(lambda: busy.status()["history"]["commands"][-1] > 0, seconds=10.0)

    with Redis(host=HOST, port=busy.port, protocol=3) as client:
        first = client.execute_command("STATS")
        shown = busy.status()["stats"]
        second = client.execute_command("STATS")

    for name in ("commands", "near_hits", "loads"):
        assert first[name.encode()] <= shown[name] <= second[name.encode()]


def test_hot_keys_are_told_of_but_for_those_that_the_proxys_user_may_not_read(
    proxy: Proxy,
) -> None:
    proxy.read("plain", "secret")

    keys = {row["key"]: row for row in proxy.status()["hot_keys"]}

    assert keys["plain"]["reads"] > 0
    assert "secret" not in keys


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
async def test_a_browser_shows_it(width: int, dark: bool, busy: Proxy, tmp_path: Path) -> None:
    text = "document.getElementById('{}').textContent"
    async with tab(tmp_path) as page:
        await page.open(busy.url, width=width, dark=dark)
        # The token is asked for, and typed, by the keyboard alone.
        await page.become("document.activeElement?.id === 'token'")
        await page.write(TOKEN)
        await page.press("Enter")
        await page.become("document.getElementById('main')?.hidden === false")
        await page.become(f"{text.format('tile-ratio')}.endsWith('%')")
        await page.become("document.querySelectorAll('#nodes tr').length === 1")
        assert await page.value(text.format("state")) == "serving"
        await page.become(f"{text.format('hot-keys')}.includes('plain')")
        assert "secret" not in await page.value("document.body.textContent")
        # The plots have lines, and the arrow keys go through them.
        await page.become(
            "document.querySelector('#plot-throughput path.one').getTotalLength() > 1"
        )
        await page.value("document.querySelector('#plot-throughput svg').focus()")
        await page.press("ArrowLeft")
        await page.become("!!document.querySelector('#plot-throughput .cross')")
        said = await page.value("document.querySelector('#plot-throughput output').textContent")
        assert "ago: requests" in said
        # A key is looked at; what it holds is text.
        with Redis(host=HOST, port=busy.port) as client:
            client.set("user:<b>", "<img src=x>" + "y" * 600, px=60_000)
        await page.value("document.getElementById('key').focus()")
        await page.write("user:<b>")
        await page.press("Enter")
        await page.become(f"{text.format('found')}.includes('users (demo)')")
        found = await page.value(text.format("found"))
        assert "<img src=x>y" in found
        assert found.endswith("…")
        assert await page.value("document.querySelectorAll('#found img').length") == 0
        # Nothing is cut off at the side, nothing lacks a name, and no script has failed.
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.value(wide) == 0
        assert await page.value(CUT_OFF) == 0
        unnamed = "[...document.querySelectorAll('input')].filter((i) => !i.labels.length).length"
        assert await page.value(unnamed) == 0
        assert [one for one in page.complaints if "401" not in one] == []
        await page.picture(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000
