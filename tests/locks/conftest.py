"""Two proxies before one server, and clients that use their locks as any client would."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import HOST, Kind, Process, nearhit, server_binary, upstream, wait_for
from tests.wire.link import Link

KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(server_binary(kind) is None, reason=f"no {kind}"))
    for kind in ("redis", "valkey")
]


@dataclass
class Fleet:
    """The processes, and what tests ask of them. Clients are closed with the test."""

    server: Process
    proxies: list[Process]
    stack: ExitStack = field(repr=False)
    threads: ThreadPoolExecutor = field(repr=False)

    def client(self, proxy: int = 0, **options: Any) -> Redis:
        port = self.proxies[proxy].port
        # An ACQUIRE that is sent twice would be granted to nobody.
        once = Retry(NoBackoff(), 0)
        return self.stack.enter_context(Redis(host=HOST, port=port, retry=once, **options))

    def direct(self) -> Redis:
        return self.stack.enter_context(Redis(host=HOST, port=self.server.port))

    def waiting(self, resource: str, *words: object, proxy: int = 0) -> Future[Any]:
        """An ACQUIRE in a thread that has come to wait."""
        asking = self.client(proxy)
        with self._one_more(resource, proxy):
            return self.threads.submit(acquire, asking, resource, "WAIT", 30_000, *words)

    def waiting_socket(self, resource: str, proxy: int = 0) -> socket.socket:
        """The same without a client: for tests that close it."""
        link = socket.create_connection((HOST, self.proxies[proxy].port), timeout=10)
        with self._one_more(resource, proxy):
            link.sendall(f"LOCK ACQUIRE {resource} WAIT 30000\r\n".encode())
        return link

    @contextmanager
    def _one_more(self, resource: str, proxy: int) -> Iterator[None]:
        watching = self.client(proxy)
        before = waiters(watching, resource)
        yield
        wait_for(lambda: waiters(watching, resource) > before, 5, "the waiter")
        # Its first attempt is on the lane by now: whatever is asked there comes behind it.
        info(watching, resource)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def resp(request: pytest.FixtureRequest) -> int:
    """The protocol that a test's clients speak."""
    return int(request.param)


def acquire(client: Redis, resource: str, *words: object) -> Any:
    return client.execute_command("LOCK", "ACQUIRE", resource, *words)


def release(client: Redis, resource: str, token: bytes) -> int:
    return int(client.execute_command("LOCK", "RELEASE", resource, token))


def extend(client: Redis, resource: str, token: bytes, ms: int) -> int:
    return int(client.execute_command("LOCK", "EXTEND", resource, token, "PX", ms))


def info(client: Redis, resource: str) -> dict[str, Any]:
    flat = client.execute_command("LOCK", "INFO", resource)
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): value for name, value in pairs}


def waiters(client: Redis, resource: str) -> int:
    return int(info(client, resource)["waiters"])


def scripts_run(direct: Redis) -> int:
    """How often the server was asked to run one: an attempt, a release, a look."""
    stats = direct.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))


def loss_told(link: Link, resp: int) -> None:
    """That it has lost the lock r."""
    if resp == 3:
        (push,) = link.read(1, 10)
        assert push.startswith(b">3\r\n$9\r\nlock-lost\r\n$1\r\nr\r\n:")
        return
    said = b""

    def lost() -> bool:
        nonlocal said
        said = link.ask("LOCK", "INFO", "r")
        return said.startswith(b"-")

    wait_for(lost, 10, "the loss")
    assert said == b"-LOCKLOST the lock 'r' is not yours any more; this command was not done\r\n"


def _fleet(kind: Kind, *options: str) -> Iterator[Callable[[], Fleet]]:
    with ExitStack() as processes:
        server = processes.enter_context(upstream(kind, *options))
        url = f"redis://{HOST}:{server.port}"
        proxies = [processes.enter_context(nearhit(url)) for _ in range(2)]
        threads = processes.enter_context(ThreadPoolExecutor(32))
        yield lambda: Fleet(server, proxies, processes.enter_context(ExitStack()), threads)


@pytest.fixture(scope="module", params=KINDS)
def steady(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """For tests that leave the processes as they found them."""
    for make in _fleet(request.param):
        yield make()


@pytest.fixture
def fleet(steady: Fleet) -> Iterator[Fleet]:
    """The steady one, empty."""
    with ExitStack() as stack:
        fresh = Fleet(steady.server, steady.proxies, stack, steady.threads)
        fresh.direct().flushall()
        yield fresh


@pytest.fixture
def doomed() -> Iterator[Fleet]:
    """For tests that stop, cut or kill."""
    for make in _fleet("redis" if server_binary("redis") else "valkey"):
        yield make()
