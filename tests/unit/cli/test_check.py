"""What ``nearhit check`` finds beyond the settings' own text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from nearhit.proxy.cli.check import found_by, mistakes_in
from nearhit.proxy.settings.config import load

from tests.clusters import cluster
from tests.servers import HOST, any_kind, upstream

FILE = """
[loaders.gone]
match = "a:{id}"
call = "no_such_module:load"

[loaders.short]
match = "b:{id}"
call = "json:loads"

[loaders.old]
match = "c:{id}"
redis = "rediss://h?ssl_ca_certs=/nope.pem"

[loaders.good]
match = "d:{id}"
url = "http://h/{id}?token=secret"
"""


def mistakes(flags: Mapping[str, str], file: str = "") -> list[str]:
    return mistakes_in(load({**flags, "config": "n.toml"}, {}, lambda path: file))


def test_a_file_of_the_upstream_that_cannot_be_used_is_a_mistake() -> None:
    assert mistakes({"upstream": "rediss://h?ssl_ca_certs=/nope.pem"}) == [
        "--upstream: ssl_ca_certs: cannot use /nope.pem: no such file or directory"
    ]


@pytest.mark.parametrize("url", ["redis://h", "rediss://h", "unix:///s"])
def test_an_upstream_without_files_is_not_looked_at(url: str) -> None:
    assert mistakes({"upstream": url}) == []


def test_functions_and_files_of_loaders_are_looked_at() -> None:
    found = mistakes({}, FILE)

    assert [line.partition(": ")[0] for line in found] == ["n.toml:4", "n.toml:8", "n.toml:12"]
    assert "[loaders.gone] call: cannot import no_such_module: " in found[0]
    assert "json:loads cannot be called with id" in found[1]
    assert "ssl_ca_certs: cannot use /nope.pem" in found[2]


def test_traces_want_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mistakes({"traces": "otlp"}) == []

    monkeypatch.delitem(sys.modules, "nearhit.proxy.stats.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    (line,) = mistakes({"traces": "otlp"})
    assert line.startswith(
        "--traces: traces = otlp needs OpenTelemetry: pip install 'nearhit[otel]'"
    )


@pytest.mark.parametrize("command", ["check", "serve"])
def test_both_commands_tell_the_mistake_and_end_with_2(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "nearhit.proxy", command, "--http", "off"),
            *("--listen", f"unix://{tmp_path}/s"),
            *("--upstream", "rediss://h?ssl_ca_certs=/nope.pem"),
        ],
        env={**os.environ, "NEARHIT_ENV": "development"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "ssl_ca_certs: cannot use /nope.pem: no such file or directory" in done.stderr


def test_where_no_sentinel_answers_that_is_said_and_no_mistake() -> None:
    config = load({"upstream": "redis-sentinel://:secret@127.0.0.1:1/m"}, {}, lambda _: "")

    assert mistakes_in(config) == []
    (line,) = found_by(config)
    assert line.startswith("master = unknown ")
    assert "# no master m: none of 1 Sentinels names it" in line
    assert "secret" not in line


@pytest.mark.parametrize("url", ["redis://h", "unix:///s"])
def test_of_one_server_nothing_is_to_be_found(url: str) -> None:
    assert list(found_by(load({"upstream": url}, {}, lambda _: ""))) == []


def test_what_a_server_is_is_asked() -> None:
    with upstream(any_kind()) as server:
        (line,) = found_by(load({"upstream": f"redis://{HOST}:{server.port}"}, {}, lambda _: ""))

    assert re.fullmatch(r"server = (Redis|Valkey) \S+ +# asked", line)


def test_a_node_is_found_to_be_a_cluster_unless_that_is_off() -> None:
    with cluster(any_kind(), 1, 0) as made:
        url = f"redis://{HOST}:{made.nodes[0].port}"
        (line,) = found_by(load({"upstream": url}, {}, lambda _: ""))
        (off,) = found_by(load({"upstream": url, "cluster": "off"}, {}, lambda _: ""))

    assert "a cluster of 1 primary and 0 replicas" in line
    assert "cluster" not in off


def test_a_certificate_that_cannot_be_used_is_a_mistake() -> None:
    given = {"tls_listen": f"{HOST}:1", "tls_cert": "/nope.pem", "tls_key": "/nope.pem"}

    (mistake,) = mistakes(given)

    assert "tls_cert: cannot use /nope.pem" in mistake


def test_lock_servers_are_asked_and_shown_without_passwords() -> None:
    kind = any_kind()
    with (
        upstream(kind) as server,
        upstream(kind, "--requirepass", "secret") as first,
        upstream(kind, "--requirepass", "other") as second,
    ):
        urls = [
            f"redis://:secret@{HOST}:{first.port}",
            f"redis://:secret@{HOST}:{second.port}",
            f"redis://:secret@{HOST}:1",
        ]
        given = {"upstream": f"redis://{HOST}:{server.port}", "lock_servers": ",".join(urls)}
        config = load(given, {}, lambda _: "")
        _, *found = found_by(config)

    assert [line.split("#")[0].strip() for line in found] == [
        f"lock server = {HOST}:{port}" for port in (first.port, second.port, 1)
    ]
    assert found[0].endswith("# answers")
    assert "# WRONGPASS " in found[1]
    assert "# UPSTREAM no connection to the server: " in found[2]
    told = "\n".join([*found, *config.describe()])
    assert "secret" not in told
    assert f"lock_servers = redis://:***@{HOST}:{first.port},redis://:***@" in told


def test_files_of_lock_servers_that_cannot_be_used_are_mistakes() -> None:
    servers = "redis://a,rediss://b,rediss://c:7?ssl_ca_certs=/nope.pem"

    assert mistakes({"upstream": "redis://h", "lock_servers": servers}) == [
        "--lock-servers: c:7: ssl_ca_certs: cannot use /nope.pem: no such file or directory"
    ]
