"""What ``nearhit check --upstream`` says, and how it ends."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from nearhit.proxy.cli import look as looking
from nearhit.proxy.cli.look import look
from nearhit.proxy.cli.main import main
from nearhit.proxy.errors import ExitCode
from nearhit.proxy.settings.config import load

from tests.clusters import cluster
from tests.servers import HOST, Process, any_kind, free_port, upstream


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with upstream(
        any_kind(), *["--user", "app", "on", ">pw", "~*", "+@all", "--maxmemory", "1gb"]
    ) as process:
        yield process


def seen(url: str) -> looking.Look:
    return look(load({"upstream": url}, {}, lambda _: ""), url)


def test_what_the_command_line_names_is_dialled(
    server: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["check", "--upstream", f"redis://app:pw@{HOST}:{server.port}"])

    out, err = capsys.readouterr()
    lines = [re.sub(" +", " ", line) for line in out.splitlines()]
    assert (code, err) == (ExitCode.ALL_DONE, "")
    begin = next(at for at, line in enumerate(lines) if line.startswith("server = "))
    assert [line.partition(" # ")[0] for line in lines[begin + 1 : -1]] == [
        "tracking = on",
        "maxmemory_policy = noeviction",
        "rights = enough",
    ]
    assert "pw" not in out


def test_a_wrong_password_ends_it_with_what_to_look_at(
    server: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["check", "--upstream", f"redis://app:wrong@{HOST}:{server.port}"])

    err = capsys.readouterr().err
    assert code == ExitCode.REFUSED
    assert re.fullmatch(r"nearhit: --upstream: .* refused us: .*WRONGPASS.*; see the user.*\n", err)
    assert "wrong@" not in err


def test_a_server_that_is_away_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["check", "--upstream", f"redis://{HOST}:{free_port()}"])

    out, err = capsys.readouterr()
    assert code == ExitCode.UNREACHABLE
    assert "server = " not in out
    assert err.startswith("nearhit: --upstream: ")
    assert "Connect call failed" in err
    assert "see the URL" in err


def test_a_server_that_says_nothing_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "LOOK_S", 0.3)
    with socket.create_server((HOST, 0)) as mute:
        found = seen(f"redis://{HOST}:{mute.getsockname()[1]}")

    assert found.code is ExitCode.UNREACHABLE
    assert "no answer in 0.3 s" in found.why


def test_sentinels_that_do_not_answer_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "LOOK_S", 0.5)

    found = seen(f"redis-sentinel://:secret@{HOST}:1/m")

    assert found.code is ExitCode.UNREACHABLE
    assert "no master m: none of 1 Sentinels names it" in found.why
    assert "secret" not in found.why


def test_a_node_of_a_cluster_is_found_to_be_one() -> None:
    with cluster(any_kind(), 1, 0) as made:
        found = seen(f"redis://{HOST}:{made.nodes[0].port}")

    assert found.code is ExitCode.ALL_DONE
    assert "a cluster of 1 primary" in found.lines[0]
    assert found.lines[1].startswith(f"shard = {HOST}:{made.nodes[0].port} ")


def test_a_server_that_wants_a_login_is_told_so(server: Process) -> None:
    with upstream(any_kind(), "--requirepass", "pw") as locked:
        found = seen(f"redis://{HOST}:{locked.port}")

    assert found.lines[0].startswith("server = wants a login ")
    assert found.code is ExitCode.ALL_DONE
