"""Without any compiled module the proxy serves all the same: its Python files, as a process."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import HOST, Process, free_port, upstream

PROXY = Path(__file__).parents[1] / "proxy"
# The folder in argv comes before the installed package, compiled or editable: and it is what runs.
SERVE = """
import sys
folder = sys.argv.pop(1)
sys.path.insert(0, folder)
sys.meta_path[:] = [finder for finder in sys.meta_path if "Editable" not in str(finder)]
import nearhit.proxy.hot.session, nearhit.proxy.resp.kernel, nearhit.proxy.near.cache
assert nearhit.proxy.hot.session.__file__ == folder + "/nearhit/proxy/hot/session.py"
assert nearhit.proxy.near.cache.__file__ == folder + "/nearhit/proxy/near/cache.py"
assert nearhit.proxy.resp.kernel.Cutter.__module__ == "nearhit.proxy.resp._kernel_py"
from nearhit.proxy.cli.main import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where the pure proxy listens, in front of a Valkey."""
    with tempfile.TemporaryDirectory(prefix="nearhit-pure-") as name, upstream("valkey") as valkey:
        folder = Path(name)
        package = folder / "nearhit" / "proxy"
        shutil.copytree(PROXY, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        shutil.copy(PROXY.parent / "package" / "__init__.py", package.parent)
        for name_of in ("commands", "lua"):
            shutil.copytree(PROXY.parent / name_of, package.parent / name_of)
        port = free_port()
        process = Process(
            port,
            [
                sys.executable, "-c", SERVE, name, "serve",
                "--listen", f"{HOST}:{port}", "--upstream", f"redis://{HOST}:{valkey.port}",
                "--http", "off",
            ],
            folder,
            {"NEARHIT_ENV": "development"},
        )  # fmt: skip
        process.start()
        yield port
        assert process.stop() == 0


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(port: int, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with redis.Redis(HOST, port, protocol=request.param, socket_timeout=10) as client:
        client.flushall()
        yield client


def test_commands_are_answered(client: redis.Redis) -> None:
    client.set("k", b"\r\n$\0")
    client.rpush("l", *range(100))

    assert client.get("k") == b"\r\n$\0"
    assert client.lrange("l", 0, -1) == [b"%d" % at for at in range(100)]
    assert client.get("none") is None
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.incr("l")


def test_a_pipeline_of_500_keeps_its_order(client: redis.Redis) -> None:
    pipeline = client.pipeline(transaction=False)
    for _ in range(500):
        pipeline.incr("n")

    assert pipeline.execute() == list(range(1, 501))


def test_a_transaction_runs(client: redis.Redis) -> None:
    with client.pipeline() as pipeline:
        pipeline.watch("t")
        pipeline.multi()
        pipeline.set("t", 1)
        pipeline.incr("t")

        assert pipeline.execute() == [True, 2]


def test_a_message_comes(client: redis.Redis, port: int) -> None:
    with client.pubsub() as listener, redis.Redis(HOST, port) as speaker:
        listener.subscribe("a")
        assert (listener.get_message(timeout=10) or {})["type"] == "subscribe"

        speaker.publish("a", "hi")

        assert (listener.get_message(timeout=10) or {})["data"] == b"hi"


def test_a_large_value_goes_both_ways(client: redis.Redis) -> None:
    value = bytes(range(256)) * 8192

    client.set("large", value)

    assert client.get("large") == value


def test_a_blocked_client_is_served(client: redis.Redis, port: int) -> None:
    with redis.Redis(HOST, port) as pusher:
        pusher.rpush("q", "x")

        assert client.blpop("q", timeout=5) in ([b"q", b"x"], (b"q", b"x"))


def test_garbage_is_refused_in_the_words_of_the_server(port: int) -> None:
    with socket.create_connection((HOST, port), timeout=10) as link:
        link.sendall(b"*1\r\n+PING\r\n")

        assert link.recv(100) == b"-ERR Protocol error: expected '$', got '+'\r\n"
        assert link.recv(100) == b""
