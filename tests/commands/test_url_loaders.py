"""url loaders through real proxies: their headers, and values that are confirmed, not sent again.

Before one server of each kind, a cluster and a master that Sentinels name; RESP2 and RESP3."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clusters import cluster
from tests.sentinel.trio import trio
from tests.servers import HOST, Process, nearhit, server_binary, upstream, wait_for
from tests.wire.link import Link

from .origin import Origin, origin

SETTINGS = """
[loaders.page]
match = "page:{{id}}"
url = "http://127.0.0.1:{port}/{{id}}"
ttl = "100s"
headers = {{ Authorization = "Bearer ${{PAGE_TOKEN}}", X-Key = "${{file:{folder}/key}}" }}

[loaders.many]
match = "many:{{id}}"
url = "http://127.0.0.1:{port}/{{id}}"
batch_url = "http://127.0.0.1:{port}/many"

[loaders.many.headers]
X-Key = "l1teral"
"""
SECRETS = ("t0ken", "k3y", "n3w", "l1teral")


@dataclass
class Pages:
    """A proxy whose loaders ask a web server."""

    origin: Origin
    proxy: Process
    folder: Path

    def link(self, resp: int) -> Link:
        link = Link(self.proxy.port)
        if resp == 3:
            link.ask("HELLO", 3)
        return link

    def count(self, link: Link, name: str) -> int:
        stats = link.ask("STATS")
        return int(stats.split(b"%b\r\n:" % name.encode(), 1)[1].split(b"\r\n", 1)[0])


@pytest.fixture(scope="module", params=["redis", "valkey", "cluster", "sentinel"])
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("pages")
    with ExitStack() as stack:
        web = stack.enter_context(origin())
        if request.param == "cluster":
            url = stack.enter_context(cluster("valkey", 3, 0)).url
        elif request.param == "sentinel":
            url = stack.enter_context(trio("valkey")).url
        elif server_binary(request.param) is None:
            pytest.skip(f"no {request.param} server binary on this machine")
        else:
            url = f"redis://{HOST}:{stack.enter_context(upstream(request.param)).port}"
        (folder / "key").write_text("k3y\n")
        config = folder / "nearhit.toml"
        config.write_text(SETTINGS.format(port=web.port, folder=folder))
        flags = ("--config", str(config), "--log-level", "debug", "--stats-key", "off")
        proxy = stack.enter_context(nearhit(url, *flags, env={"PAGE_TOKEN": "t0ken"}))
        yield Pages(web, proxy, folder)


@pytest.fixture
def pages(kept: Pages) -> Pages:
    kept.origin.texts = {"/1": "one", "/2": "two", "/3": "three", "/no": "denied", "/many": "{}"}
    kept.origin.asked.clear()
    with closing(kept.link(2)) as link:
        for id in kept.origin.texts:
            link.ask("INVALIDATE", f"page:{id[1:]}", f"many:{id[1:]}")
    return kept


def warm(link: Link, *words: str) -> bytes:
    """WARM REFRESH; the reply but for its time."""
    return link.ask("WARM", "REFRESH", "KEYS", *words)


def sent(pages: Pages, name: str) -> list[str | None]:
    return [one.headers.get(name) for one in pages.origin.asked]


# --- Headers


def test_headers_come_from_the_environment_and_from_files(pages: Pages, resp: int) -> None:
    with closing(pages.link(resp)) as link:
        assert link.ask("GETORSET", "page:1") == b"$3\r\none\r\n"
        assert sent(pages, "Authorization") == ["Bearer t0ken"]
        assert sent(pages, "X-Key") == ["k3y"]

        link.ask("MGETORSET", 3, "many:1", "many:2", "page:2")

    assert {one.path: one.headers["X-Key"] for one in pages.origin.asked[1:]} == {
        "/many": "l1teral",
        "/2": "k3y",
    }


def test_a_file_is_read_again_at_sighup_and_a_missing_one_changes_nothing(pages: Pages) -> None:
    file, log = pages.folder / "key", pages.proxy.log

    def told(event: str) -> None:
        before = log.read_text().count(f'event="{event}"')
        pages.proxy.signal(signal.SIGHUP)
        wait_for(lambda: log.read_text().count(f'event="{event}"') > before, 10, event)

    with closing(pages.link(2)) as link:
        try:
            file.write_text("n3w")
            told("settings reloaded")
            link.ask("GETORSET", "page:1")
            file.unlink()
            told("settings not reloaded")
            link.ask("GETORSET", "page:2")
        finally:
            file.write_text("k3y\n")
            told("settings reloaded")
        link.ask("GETORSET", "page:3")

    assert sent(pages, "X-Key") == ["n3w", "n3w", "k3y"]
    assert f"[loaders.page] headers.X-Key: cannot read {file}: No such file" in log.read_text()


def test_no_value_of_a_header_is_seen_anywhere(pages: Pages, resp: int) -> None:
    with closing(pages.link(resp)) as link:
        denied = link.ask("GETORSET", "page:no")
        warmed = warm(link, "page:no")
    done = subprocess.run(
        [sys.executable, "-m", "nearhit.proxy", "check", "--config",
         str(pages.folder / "nearhit.toml")],
        capture_output=True, text=True, timeout=20, env={"PAGE_TOKEN": "t0ken"},
        check=False,
    )  # fmt: skip

    assert denied.startswith(b"-LOADERR loader 'page': HTTP 403 from 127.0.0.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "loaders.page.headers = Authorization, X-Key" in done.stdout
    log = pages.proxy.log.read_text()
    assert "loader fails" in log
    for text in (denied.decode(), warmed.decode(), done.stdout, log):
        assert not [secret for secret in SECRETS if secret in text]


def test_a_variable_that_is_not_set_ends_check_and_names_the_header(pages: Pages) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nearhit.proxy", "check", "--config",
         str(pages.folder / "nearhit.toml")],
        capture_output=True, text=True, timeout=20, env={}, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "[loaders.page] headers.Authorization: the variable PAGE_TOKEN is not set" in (
        done.stdout + done.stderr
    )


# --- Confirmed values


def test_a_refresh_of_what_still_holds_gets_no_body_and_begins_the_ttl_anew(
    pages: Pages, resp: int
) -> None:
    with closing(pages.link(resp)) as link:
        link.ask("GETORSET", "page:1")
        link.ask("PEXPIRE", "page:1", 50_000)
        before = pages.count(link, "not_modified")
        pages.origin.statuses()

        reply = warm(link, "page:1", "page:2")

        assert sorted(pages.origin.statuses()) == [200, 304]
        assert b"loaded\r\n:2\r\n" in reply
        assert pages.count(link, "not_modified") - before == 1
        assert link.ask("GETORSET", "page:1") == b"$3\r\none\r\n"
        assert int(link.ask("PTTL", "page:1")[1:]) > 80_000
        assert pages.origin.statuses() == []


def test_what_has_changed_comes_whole(pages: Pages, resp: int) -> None:
    with closing(pages.link(resp)) as link:
        link.ask("GETORSET", "page:1")
        pages.origin.texts["/1"] = "new"

        warm(link, "page:1")
        assert link.ask("GET", "page:1") == b"$3\r\nnew\r\n"
        warm(link, "page:1")

        assert pages.origin.statuses() == [200, 200, 304]
        assert link.ask("GET", "page:1") == b"$3\r\nnew\r\n"


@pytest.mark.parametrize("how", ["SET", "INVALIDATE", "DEL", "APPEND"])
def test_another_value_than_the_loaders_is_never_confirmed(
    pages: Pages, resp: int, how: str
) -> None:
    """What others have made of the key is not what the tag is of: the page comes whole."""
    with closing(pages.link(resp)) as link:
        link.ask("GETORSET", "page:1")
        link.ask(how, "page:1", *(["other"] if how in ("SET", "APPEND") else []))

        warm(link, "page:1")

        assert pages.origin.statuses() == [200, 200]
        assert link.ask("GET", "page:1") == b"$3\r\none\r\n"


def test_a_loader_with_a_batch_url_asks_for_nothing_conditionally(pages: Pages) -> None:
    with closing(pages.link(2)) as link:
        link.ask("GETORSET", "many:1")
        warm(link, "many:1")

    assert pages.origin.statuses() == [200, 200]
