"""Jobs and the processes that run them: HTTP, several workers, the end of one and of all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.servers import Process, upstream, wait_for

from .behind import SLOW, client_of, ended, proxy, status


@pytest.fixture(scope="module", params=["valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    with upstream(request.param) as process:
        yield process


def test_the_end_of_the_process_ends_them_and_the_log_says_so(
    server: Process, tmp_path: Path
) -> None:
    with proxy(tmp_path, server, "--drain-timeout", "5s") as here:
        with client_of(here.process.port) as client:
            id: Any = client.execute_command("WARM", "ASYNC", "CONCURRENCY", "1", "KEYS", *SLOW)
            wait_for(lambda: status(client, "WARM", id)[b"loaded"] >= 1)

        assert here.process.stop() == 0

        (line,) = [line for line in here.log().splitlines() if 'event="job ended"' in line]
        assert f"job={id.decode()} command=WARM state=cancelled" in line
        assert "level=error" not in here.log()


@pytest.mark.parametrize("server", ["redis", "valkey"], indirect=True)
def test_http_begins_shows_and_ends_them(server: Process, tmp_path: Path) -> None:
    with proxy(tmp_path, server) as here:
        code, begun = here.ask(
            "POST", "/api/cache/warm", {"keys": ["user:1", "user:broken"], "async": True}
        )
        assert code == 202
        path = f"/api/cache/jobs/{begun['id']}"
        wait_for(lambda: here.ask("GET", path)[1]["state"] == "done")
        code, shown = here.ask("GET", path)
        assert (code, shown["id"], shown["command"]) == (200, begun["id"], "WARM")
        assert (shown["total"], shown["loaded"], shown["failed"]) == (2, 1, 1)
        assert shown["errors"][0][0] == "user:broken"

        code, removal = here.ask(
            "POST", "/api/cache/invalidate", {"pattern": "user:*", "async": True}
        )
        assert code == 202
        path = f"/api/cache/jobs/{removal['id']}"
        wait_for(lambda: here.ask("GET", path)[1]["state"] == "done")
        assert here.ask("GET", path)[1]["removed"] == 1

        code, long = here.ask("POST", "/api/cache/warm", {"keys": SLOW, "async": True})
        path = f"/api/cache/jobs/{long['id']}"
        assert here.ask("DELETE", path) == (200, {"cancelled": True})
        wait_for(lambda: here.ask("GET", path)[1]["state"] == "cancelled")
        assert here.ask("DELETE", path) == (200, {"cancelled": False})

        ids = [begun["id"], long["id"], removal["id"]]
        assert [job["id"] for job in here.jobs()] == ids
        assert here.ask("GET", "/api/cache/jobs/nobody")[0] == 404
        stats = here.ask("GET", "/api/cache/stats")[1]
        names = ("jobs_running", "jobs_done", "jobs_failed", "jobs_cancelled")
        assert [stats[name] for name in names] == [0, 2, 0, 1]
        assert "nearhit_jobs_done_total 2.0" in here.ask("GET", "/metrics")[1]


def test_any_worker_tells_of_a_job_and_ends_it(server: Process, tmp_path: Path) -> None:
    with proxy(tmp_path, server, "--workers", "2") as here, ExitStack() as stack:
        port = here.process.port
        clients = [stack.enter_context(client_of(port, 3)) for _ in range(24)]
        id: Any = clients[0].execute_command("WARM", "ASYNC", "CONCURRENCY", "1", "KEYS", *SLOW)

        def runs_it(client: Redis) -> bool:
            stats: Any = client.execute_command("STATS")
            return bool(stats[b"jobs_running"])

        others = [client for client in clients if not runs_it(client)]
        assert 0 < len(others) < len(clients)
        for client in clients:
            assert status(client, "WARM", id)[b"state"] == b"running"
            assert client.execute_command("WARM", "JOBS") == [id]
        assert others[0].execute_command("WARM", "CANCEL", id) == 1
        for client in clients:
            assert ended(client, "WARM", id)[b"state"] == b"cancelled"


def test_a_job_of_a_worker_that_is_killed_has_failed(server: Process, tmp_path: Path) -> None:
    with proxy(tmp_path, server, "--workers", "2", users='warm = "user:slow{1..5000}"') as here:
        with client_of(here.process.port, 3) as client:
            wait_for(lambda: client.execute_command("WARM", "JOBS"))
            (id,) = client.execute_command("WARM", "JOBS")  # type: ignore[misc]
        pids = Path(f"/proc/{here.process.pid}/task/{here.process.pid}/children").read_text()

        os.kill(min(map(int, pids.split())), signal.SIGKILL)  # worker 0, which does it alone
        wait_for(lambda: 'event="worker ready"' in here.log())

        with client_of(here.process.port, 3) as client:
            found = status(client, "WARM", id)
            assert found[b"error"] == b"ERR the worker that ran it has ended"
            assert client.execute_command("WARM", "JOBS") == [id]
