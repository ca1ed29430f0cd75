"""``nearhit check --connect``: all that is named is dialled, and what is not well is told."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from nearhit.proxy.cli import connect
from nearhit.proxy.cli.connect import Dialled, dialled
from nearhit.proxy.cli.main import main
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.settings.config import Config, load

from tests.servers import HOST, Process, any_kind, free_port, upstream

LOADERS = """
[loaders.web]
match = "a:{{id}}"
url = "http://{web}/{{id}}"

[loaders.old]
match = "b:{{id}}"
redis = "redis://{old}"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with upstream(any_kind()) as process:
        yield process


def seen(file: str = "", **given: str) -> Dialled:
    config = load({**given, "config": "n.toml"}, {}, lambda path: file)
    return dialled(config)


def told(found: Dialled, name: str) -> list[str]:
    return [" ".join(line.split()) for line in found.lines if line.startswith(f"{name} = ")]


LOCK_SERVERS = "redis://a,redis://b,redis://c"


def lock_servers_are(monkeypatch: pytest.MonkeyPatch, **states: str) -> None:
    """What asking them comes to; how they are asked: test_check.py."""

    async def found(config: Config) -> Sequence[tuple[str, str]]:
        return [*states.items()]

    monkeypatch.setattr(connect, "lock_servers_of", found)


def test_where_all_are_well_the_code_is_0(server: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    at = f"{HOST}:{server.port}"
    lock_servers_are(monkeypatch, a="answers")

    found = seen(
        LOADERS.format(web=at, old=at), upstream=f"redis://{at}", lock_servers=LOCK_SERVERS
    )

    assert (found.whys, found.code) == ([], ExitCode.ALL_DONE)
    assert told(found, "server")
    assert told(found, "lock server") == ["lock server = a # answers"]
    assert told(found, "loader") == [
        f"loader = web # {at} accepts connections",
        "loader = old # answers",
    ]


def test_each_that_is_away_is_told_with_its_place(
    server: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_servers_are(monkeypatch, a="answers", b="no answer in 3 s")
    at, away = f"{HOST}:{server.port}", f"{HOST}:{free_port()}"

    found = seen(
        LOADERS.format(web=away, old=f":secret@{away}"),
        upstream=f"redis://{at}",
        lock_servers=LOCK_SERVERS,
    )

    lock, web, old = found.whys
    assert lock == "--lock-servers: b: no answer in 3 s"
    assert web == f"[loaders.web]: {away}: Connection refused"
    assert old.startswith("[loaders.old]: redis://:***@")
    assert found.code is ExitCode.UNREACHABLE


def test_an_upstream_out_of_the_environment_is_dialled_too(
    server: Process, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://:secret@{HOST}:{server.port}")

    code = main(["check", "--connect"])

    said = capsys.readouterr()
    assert code == ExitCode.REFUSED
    assert said.err.startswith("nearhit: REDIS_URL: ")
    assert "refused us" in said.err
    assert "secret" not in said.out + said.err


def test_what_speaks_no_tls_is_not_well(server: Process) -> None:
    file = LOADERS.format(web="x", old="x").replace("http://x", f"https://{HOST}:{server.port}")
    file = file.partition("[loaders.old]")[0]

    found = seen(file, upstream=f"redis://{HOST}:{server.port}")

    assert found.code is ExitCode.UNREACHABLE
    assert found.whys[0].startswith(f"[loaders.web]: {HOST}:{server.port}: ")


def test_a_server_that_says_nothing_is_not_waited_for(
    server: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "LOOK_S", 0.2)
    with socket.create_server((HOST, 0)) as mute:
        at = f"{HOST}:{mute.getsockname()[1]}"
        file = LOADERS.format(web=at, old=at)

        found = seen(file, upstream=f"redis://{HOST}:{server.port}")

    assert [why.partition(":")[0] for why in found.whys] == ["[loaders.old]"]
    assert "imeout" in found.whys[0]


def test_a_server_of_its_own_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def find() -> str:
        raise StartError("no server found to start", ExitCode.NO_SERVER)

    assert told(seen(upstream="embedded"), "server")[0].startswith("server = its own # /")
    monkeypatch.setattr(connect, "find_server", find)
    found = seen(upstream="embedded")
    assert (found.whys, found.code) == (
        ["--upstream: no server found to start"],
        ExitCode.NO_SERVER,
    )


def test_serving_has_no_such_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--connect", "--listen", f"unix://{tmp_path}/s"])

    assert ended.value.code == ExitCode.BAD_SETTINGS
    assert "--connect is for check" in capsys.readouterr().err
