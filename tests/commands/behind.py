"""What tests of jobs share: asking after one until it has ended, and a proxy with HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from redis import Redis

from tests.servers import HOST, Process, free_port, nearhit, wait_for

from .people import settings, web

SLOW = [f"user:slow{number}" for number in range(200)]  # 0.1 s each


def client_of(port: int, resp: int = 2, **given: Any) -> Redis:
    return Redis(host=HOST, port=port, protocol=resp, **given)


def status(client: Redis, command: str, id: bytes) -> dict[bytes, Any]:
    """STATUS' map, in either protocol."""
    found: Any = client.execute_command(command, "STATUS", id)
    assert found is not None
    return found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))


def ended(client: Redis, command: str, id: bytes) -> dict[bytes, Any]:
    """The same, once the job has ended."""
    wait_for(lambda: status(client, command, id)[b"state"] != b"running")
    return status(client, command, id)


class Proxy:
    """A proxy of its own, with HTTP and the loaders of people.py and more."""

    def __init__(self, folder: Path, process: Process, http: int) -> None:
        self.folder = folder
        self.process = process
        self._http = http

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        with closing(HTTPConnection(HOST, self._http, timeout=10)) as link:
            link.request(method, path, None if body is None else json.dumps(body))
            answer = link.getresponse()
            text = answer.read()
            return answer.status, text.decode() if path == "/metrics" else json.loads(text)

    def warm_up(self, lines: str) -> None:
        """Have a loader ``users`` with these lines."""
        file = self.folder / "nearhit.toml"
        head, _, rest = file.read_text().partition("[loaders.users]\n")
        rest = rest[rest.index("match =") :]
        file.write_text(f"{head}[loaders.users]\n{lines}\n{rest}")

    def jobs(self) -> list[Mapping[str, Any]]:
        code, found = self.ask("GET", "/api/cache/jobs")
        assert code == 200
        return found["jobs"]  # type: ignore[no-any-return]

    def log(self) -> str:
        return self.process.log.read_text()


@contextmanager
def proxy(
    folder: Path, server: Process, *flags: str, users: str = "", more: str = ""
) -> Iterator[Proxy]:
    """``users``: lines of the loader of that name; ``more``: more loaders."""
    http = free_port()
    with web(folder) as origin, client_of(server.port) as direct:
        direct.flushall()
        given, env = settings(folder, origin)
        made = Proxy(folder, Process(0, [], folder), http)
        made.warm_up(users)
        with (folder / "nearhit.toml").open("a") as file:
            file.write(more)
        url = f"redis://{HOST}:{server.port}"
        flags = ("--http", f"{HOST}:{http}", *flags)
        with nearhit(url, *given, *flags, env=env) as process:
            wait_for(lambda: " ready: " in process.log.read_text())
            made.process = process
            yield made
