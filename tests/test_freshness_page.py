"""docs/freshness.md: what it shows of values that grow old, and of a server that takes no writes or
is away, is so, in its order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from redis import Redis

from tests import test_readme as pages
from tests.servers import HOST, any_kind, free_port, nearhit, upstream, wait_for

PAGE = [fence for fence in pages.fences() if fence.page.name == "freshness.md"]
SETTINGS = "\n".join(fence.text for fence in PAGE if fence.kind == "toml")
SHOWN = [fence for fence in pages.CONSOLES if fence in PAGE]


@pages.needs("curl")
@pages.needs("redis-cli")
def test_the_page_shows_what_is_so(tmp_path: Path) -> None:
    nobody, http = free_port(), free_port()

    def here(text: str) -> str:
        return text.replace("6379", str(server.port)).replace("8000", str(nobody))

    config = tmp_path / "nearhit.toml"
    config.write_text('stale_if_down = "30s"\n' + SETTINGS.replace("8000", str(nobody)))
    flags = ("--config", str(config), "--http", f"{HOST}:{http}")
    with upstream(any_kind()) as server, nearhit(f"redis://{HOST}:{server.port}", *flags) as proxy:
        ports = pages.Ports(proxy.port, http)

        for fence in SHOWN:
            if "SHUTDOWN" in fence.text:
                have_near(proxy.port, "town:1")
            does = pages.answers_as_shown if fence in pages.TALKS else pages.does_as_shown
            does(replace(fence, text=here(fence.text)), ports)

        server.end()
        server.start()
        with Redis(HOST, proxy.port) as client:
            wait_for(lambda: pages.ping((HOST, proxy.port)) == b"+PONG\r\n")
            told = client.info("nearhit")
            assert told["early_refreshes"] >= 1
            assert told["refreshes"] >= 2
            assert told["near_hits_down"] >= 1
            assert told["unstored"] == 2


def have_near(port: int, key: str) -> None:
    with Redis(HOST, port) as client:

        def is_near() -> bool:
            before = client.info("nearhit")["near_hits"]
            client.get(key)
            client.get(key)
            return bool(client.info("nearhit")["near_hits"] > before)

        wait_for(is_near)
