"""What loaders' ``warm`` fills as a real proxy starts."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Process, upstream, wait_for

from .behind import client_of, proxy, status

OLD = """
[loaders.old]
match = "old:{id}"
redis = "redis://127.0.0.1:%d"
batch = 50
warm = "old:*"
"""


@pytest.fixture(scope="module", params=["valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    with upstream(request.param) as process:
        yield process


@pytest.mark.parametrize("server", ["redis", "valkey"], indirect=True)
def test_keys_of_a_file_are_there_soon_after_the_start(
    server: Process, tmp_path: Path, resp: int
) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("user:1\nuser:2\n\nuser:nobody\nuser:broken\n")

    with (
        proxy(tmp_path, server, users=f'warm = "{file}"') as here,
        client_of(here.process.port, resp) as client,
    ):
        wait_for(lambda: [job["state"] for job in here.jobs()] == ["done"])
        (id,) = client.execute_command("WARM", "JOBS")  # type: ignore[misc]
        found = status(client, "WARM", id)
        counts = [found[name] for name in (b"total", b"loaded", b"not_found", b"failed")]
        assert counts == [None, 2, 1, 1]
        with client_of(server.port) as direct:
            assert direct.mget("user:1", "user:2") == [b"user 1", b"user 2"]


def test_keys_are_looked_up_in_the_server_that_has_them(server: Process, tmp_path: Path) -> None:
    with upstream("valkey") as old, client_of(old.port) as there, client_of(server.port) as direct:
        there.mset({f"old:{number}": "v" for number in range(1200)} | {"new:1": "v"})
        with proxy(tmp_path, server, more=OLD % old.port) as here:
            wait_for(lambda: [job["state"] for job in here.jobs()] == ["done"])

            assert here.jobs()[0]["loaded"] == 1200
            assert len(direct.keys("old:*")) == 1200
            assert direct.exists("new:1") == 0


def test_sighup_begins_what_is_new_and_nothing_twice(server: Process, tmp_path: Path) -> None:
    with proxy(tmp_path, server, "--workers", "2", users='warm = "user:{1..3}"') as here:
        wait_for(lambda: [job["state"] for job in here.jobs()] == ["done"])

        def reloaded(times: int) -> bool:
            # The parent's, and those of both workers.
            return here.log().count('event="settings reloaded"') == 3 * times

        here.warm_up('warm = "user:{1..3}"\nlease = "9s"')
        here.process.signal(signal.SIGHUP)
        wait_for(lambda: reloaded(1))
        assert [job["total"] for job in here.jobs()] == [3]

        here.warm_up('warm = "user:{1..5}"')
        here.process.signal(signal.SIGHUP)
        wait_for(lambda: [job["state"] for job in here.jobs()] == ["done", "done"])
        assert [(job["total"], job["loaded"]) for job in here.jobs()] == [(3, 3), (5, 2)]


def test_a_proxy_is_ready_before_all_is_warm(server: Process, tmp_path: Path) -> None:
    with proxy(tmp_path, server, users='warm = "user:slow{1..5000}"') as here:
        assert here.ask("GET", "/readyz")[0] == 200
        ((state, total),) = [(job["state"], job["total"]) for job in here.jobs()]
        assert (state, total) == ("running", 5000)
        # Live loads go first: no more than three quarters of the places are for it.
        with client_of(here.process.port) as client:
            assert client.execute_command("GETORSET", "user:1") == b"user 1"


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_many_keys_take_no_memory_and_let_live_loads_go_first(
    server: Process, tmp_path: Path
) -> None:
    many = 20_000
    with upstream("valkey") as old, client_of(old.port) as there, client_of(server.port) as direct:
        there.execute_command("DEBUG", "POPULATE", many, "old", 8)
        more = OLD.replace("old:*", "old:*[0-9]") % old.port
        with (
            proxy(tmp_path, server, "--near-cache", "off", more=more) as here,
            client_of(here.process.port) as client,
        ):
            wait_for(lambda: here.jobs()[0]["loaded"] > 10_000)
            before, waits = resident(here.process), list[float]()
            number = 0
            while here.jobs()[0]["state"] == "running":
                began = time.monotonic()
                assert client.execute_command("GETORSET", f"user:{number}")
                waits.append(time.monotonic() - began)
                number += 1
                time.sleep(0.05)

            (job,) = here.jobs()
            grown = resident(here.process) - before
            assert (job["state"], job["loaded"], job["failed"]) == ("done", many, 0)
            assert direct.dbsize() >= many
            assert grown < 32 << 20
            waits.sort()
            seconds = job["elapsed_ms"] / 1000
            print(
                f"{many / seconds:,.0f} keys/s, {grown / 2**20:.1f} MB more, live loads: "
                f"p50 {waits[len(waits) // 2] * 1000:.1f} ms, "
                f"p99 {waits[len(waits) * 99 // 100] * 1000:.1f} ms, most {waits[-1] * 1000:.0f} ms"
            )


def resident(process: Process) -> int:
    """Bytes of memory that it has."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
