"""The container files, read as text: there is no Docker where the tests run.

What the image is built from must be in the checkout and let through by .dockerignore."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from nearhit.proxy.settings.address import Unix
from nearhit.proxy.settings.config import ROWS, Config, load

from tests.servers import free_port, upstream

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
COMPOSE = (ROOT / "docker-compose.yml").read_text()
LET_THROUGH = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

BUILD, FINAL = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]


def instruction(stage: str, name: str) -> list[str]:
    """The arguments of each such instruction of a stage."""
    return re.findall(rf"^{name} (.+)$", stage, re.MULTILINE)


def environment() -> dict[str, str]:
    pairs = (pair.split("=", 1) for text in instruction(FINAL, "ENV") for pair in text.split())
    return dict(pairs)


def test_what_the_wheel_is_built_from_is_let_through() -> None:
    package_dirs = {
        folder.split("/")[0] for folder in PROJECT["tool"]["setuptools"]["package-dir"].values()
    }
    needed = {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    needed |= set(PROJECT["build-system"]["backend-path"])

    assert package_dirs | needed <= set(LET_THROUGH)


def test_what_the_wheel_is_built_from_is_there() -> None:
    missing = [
        name
        for name in (PROJECT["project"]["readme"], *PROJECT["project"]["license-files"])
        if not (ROOT / name).exists()
    ]

    assert missing == []


def test_the_final_stage_has_no_compiler_and_copies_only_what_was_built() -> None:
    assert "apt-get" not in FINAL
    assert instruction(FINAL, "COPY") == ["--from=build /opt/nearhit /opt/nearhit"]


def test_the_build_fails_where_a_module_was_not_compiled() -> None:
    (build,) = (text for text in instruction(BUILD, "RUN") if "pip wheel" in text)

    # What that does: tests/test_build.py.
    assert build.startswith("BUILD_NEARHIT=compiled pip wheel ")


def test_it_runs_as_somebody_else_than_root_by_number() -> None:
    assert instruction(FINAL, "USER") == ["10001"]
    assert "--uid 10001" in FINAL
    assert FINAL.index("USER 10001") < FINAL.index("ENTRYPOINT")


def test_nothing_to_install_with_is_left() -> None:
    assert "venv --without-pip" in BUILD
    assert "rm -rf /usr/local/bin/pip*" in FINAL


def test_it_serves_when_started_without_arguments() -> None:
    script = PROJECT["project"]["scripts"]

    assert [json.loads(text) for text in instruction(FINAL, "ENTRYPOINT")] == [["nearhit"]]
    assert "nearhit" in script
    assert json.loads(instruction(FINAL, "CMD")[-1]) == ["serve"]


def exposed() -> list[str]:
    (ports,) = instruction(FINAL, "EXPOSE")
    return ports.split()


def image_settings(**more: str) -> Config:
    return load(
        {}, {**environment(), **more}, lambda path: 'listen = "unix:///s"\nenv = "development"'
    )


def test_the_exposed_ports_are_those_it_listens_on() -> None:
    config = image_settings()

    assert [*map(str, (*config.listen, *config.http))] == [f"0.0.0.0:{port}" for port in exposed()]
    assert config.env == "production"


def test_a_settings_file_beats_what_the_image_says() -> None:
    config = image_settings(NEARHIT_CONFIG="/mounted/nearhit.toml")

    assert config.listen == (Unix("/s"),)
    assert config.env == "development"
    assert str(config.http[0]) == "0.0.0.0:3000"


def test_the_health_check_asks_where_the_settings_say_that_it_listens(tmp_path: Path) -> None:
    (text,) = instruction(FINAL, "HEALTHCHECK")
    command, *arguments = json.loads(text.partition("CMD ")[2])

    def healthy(listen: str) -> bool:
        environ = {**os.environ, **environment(), "NEARHIT_LISTEN": listen, "NEARHIT_HTTP": "off"}
        run = [sys.executable, "-m", "nearhit.proxy", *arguments]
        done = subprocess.run(run, env=environ, capture_output=True)
        assert done.returncode in (0, 1)  # all that Docker knows
        return done.returncode == 0

    assert (command, arguments) == ("nearhit", ["health"])
    assert not healthy(f"0.0.0.0:{free_port()}")
    with upstream("valkey", "--unixsocket", str(tmp_path / "s")) as answering:
        assert healthy(f"0.0.0.0:{answering.port}")
        assert healthy(f"unix://{tmp_path}/s")


def test_compose_publishes_on_this_machine_alone_and_waits_for_a_healthy_redis() -> None:
    assert [line for line in COMPOSE.splitlines() if re.search(r'"[\d.:]+:\d+"', line)] == [
        f'      - "127.0.0.1:{port}:{port}"' for port in exposed()
    ]
    assert "REDIS_URL: ${REDIS_URL:-redis://redis:6379}" in COMPOSE
    assert COMPOSE.count("restart: unless-stopped") == 2
    assert re.search(r"depends_on:\s+redis:\s+condition: service_healthy", COMPOSE)
    assert 'test: ["CMD", "redis-cli", "ping"]' in COMPOSE


def test_the_example_of_an_environment_has_no_mistake() -> None:
    lines = re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    known = {name for row in ROWS.values() for name in (row.env, row.port_env)}

    config = load({}, dict(lines), lambda path: "")

    assert {name for name, _ in lines} == known - {None}
    assert config.listen != config.http


def test_the_redis_of_compose_is_a_bounded_cache() -> None:
    assert "redis:7-alpine" in COMPOSE
    assert "--maxmemory 128mb --maxmemory-policy allkeys-lru" in COMPOSE
