"""docs/loaders.md: its shop is opened, and its session answers as shown."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from tests import test_readme as pages
from tests.servers import HOST, free_port, nearhit, wait_for

PAGE = [fence for fence in pages.fences() if fence.page.name == "loaders.md"]
SETTINGS = next(fence.text for fence in PAGE if fence.kind == "toml")
MODULES = [fence.text for fence in PAGE if fence.kind == "python"]
(SESSION,) = (fence for fence in PAGE if fence.kind == "console")
TOKEN = "s3cret-of-the-shop"


@contextmanager
def shop(folder: Path) -> Iterator[int]:
    """The port of the page's web server."""
    port = free_port()
    for text in MODULES:
        name = pages.MODULE.match(text)[1]  # type: ignore[index]
        (folder / name).write_text(text.replace("8000", str(port)))
    log = (folder / "log").open("w")
    with log, subprocess.Popen([sys.executable, "shop.py"], cwd=folder, stderr=log) as serving:
        try:
            wait_for(lambda: is_open(port), 10, "the shop")
            yield port
        finally:
            serving.terminate()


def is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


@pages.needs("redis-cli")
def test_the_shop_of_the_page_answers_as_shown(tmp_path: Path) -> None:
    with shop(tmp_path) as port:
        (tmp_path / "nearhit.toml").write_text(SETTINGS.replace("8000", str(port)))
        env = {"PYTHONPATH": str(tmp_path), "SHOP_TOKEN": TOKEN}
        flags = ("--config", str(tmp_path / "nearhit.toml"))
        with nearhit(None, *flags, env=env) as proxy, Redis(HOST, proxy.port) as client:
            wait_for(lambda: client.exists("stock:bern:tea", "stock:oslo:tea") == 2, 10, "warm")
            pages.answers_as_shown(SESSION, pages.Ports(proxy.port, 3000))

            assert client.execute_command("STATS")[b"not_modified"] == 2
            assert TOKEN not in proxy.log.read_text()
    asked = [line.split('"')[1:] for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted((words[0].split()[1], words[1].split()[0]) for words in asked) == [
        ("/hours", "200"),
        ("/prices/coffee", "200"),
        ("/prices/coffee", "304"),
        ("/prices/gold", "404"),
        ("/prices/tea", "200"),
        ("/prices/tea", "304"),
    ]
