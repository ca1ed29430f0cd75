"""The files of docs/deploy: what they name is there. Nothing here runs them.

On demand they are held against the schemas that Kubernetes and compose publish."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from nearhit.proxy.cli import main
from nearhit.proxy.http.gate import FREE
from nearhit.proxy.settings.config import Config, load

from tests.test_container import environment

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "docs/deploy"
FILES = sorted(DEPLOY.glob("*.yaml"))
COMPOSES = [ROOT / "docker-compose.yml", ROOT / "docs/examples/compose/docker-compose.yml"]
UNIT = (DEPLOY / "nearhit.service").read_text()
KUBERNETES = "1.31"
SECRETS = {"redis-url": "redis://app:password@redis:6379", "http-token": 32 * "0"}
ENDING_S = 3  # what a process takes to end, besides what it waits for

Manifest = Mapping[str, Any]


def nearhits() -> Iterator[Any]:
    """The pod and the container of each Nearhit in the files."""
    for file in FILES:
        for one in yaml.safe_load_all(file.read_text()):
            if one["kind"] == "Deployment":
                pod = one["spec"]["template"]["spec"]
                for container in (*pod.get("initContainers", ()), *pod["containers"]):
                    if "/nearhit:" in container["image"]:
                        yield pytest.param(pod, container, id=file.stem)


def config_of(container: Manifest) -> Config:
    """The settings that it would have in the image. StartError for a mistake."""
    given = {
        one["name"]: one["value"]
        if "value" in one
        else SECRETS[one["valueFrom"]["secretKeyRef"]["key"]]
        for one in container["env"]
    }
    return load({}, {**environment(), **given}, lambda path: "")


NEARHITS = pytest.mark.parametrize(("pod", "container"), list(nearhits()))


def test_both_ways_are_shown() -> None:
    assert [param.id for param in nearhits()] == ["deployment", "sidecar"]


@NEARHITS
def test_its_settings_have_no_mistake_and_each_is_used(pod: Manifest, container: Manifest) -> None:
    config = config_of(container)

    names = {one["name"] for one in container["env"]} - {"REDIS_URL"}
    assert all(hasattr(config, name.removeprefix("NEARHIT_").lower()) for name in names)
    assert config.url is not None
    assert config.http_token


@NEARHITS
def test_its_ports_are_those_it_listens_on_beyond_the_pod(
    pod: Manifest, container: Manifest
) -> None:
    config = config_of(container)

    listens = [str(one) for one in (*config.listen, *config.http)]
    beyond = [int(one.rpartition(":")[2]) for one in listens if not one.startswith("127.")]
    assert sorted(port["containerPort"] for port in container["ports"]) == sorted(beyond)


@NEARHITS
def test_its_probes_ask_what_needs_no_token(pod: Manifest, container: Manifest) -> None:
    ports = {port["name"] for port in container["ports"]}
    probes = [container[name]["httpGet"] for name in container if name.endswith("Probe")]

    assert len(probes) == 2
    assert {probe["path"] for probe in probes} <= FREE
    assert {probe["port"] for probe in probes} <= ports


@NEARHITS
def test_it_has_time_to_drain(pod: Manifest, container: Manifest) -> None:
    config = config_of(container)

    needed = config.drain_delay + config.drain_timeout + ENDING_S
    assert pod["terminationGracePeriodSeconds"] >= needed


@NEARHITS
def test_it_may_do_no_more_than_it_must(pod: Manifest, container: Manifest) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@NEARHITS
def test_its_memory_has_room_for_the_near_cache(pod: Manifest, container: Manifest) -> None:
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi")) << 20

    assert limit >= config_of(container).near_cache + (96 << 20)


def unit(name: str) -> list[str]:
    """The values of a directive."""
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def test_the_unit_starts_what_the_command_line_takes() -> None:
    (line,) = unit("ExecStart")
    program, *words = shlex.split(line)

    assert Path(program).name == "nearhit"
    assert main._parser().parse_args(words).config == "/etc/nearhit/nearhit.toml"


def test_the_unit_gives_time_to_drain() -> None:
    config = load({}, {}, lambda path: "")

    (seconds,) = unit("TimeoutStopSec")
    assert int(seconds.removesuffix("s")) >= config.drain_delay + config.drain_timeout + ENDING_S


def test_every_file_is_told_of() -> None:
    page = (ROOT / "docs/deploying.md").read_text()

    assert {f"(deploy/{path.name})" for path in DEPLOY.iterdir()} <= set(
        re.findall(r"\(deploy/[^)]+\)", page)
    )


# --- On demand --------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_kubernetes_schemas_find_nothing(file: Path, tmp_path: Path) -> None:
    """kubernetes-validate has the schemas with it; it comes from PyPI, for this test alone."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    python = tmp_path / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "kubernetes-validate>=1.31"], check=True)

    subprocess.run(
        [tmp_path / "bin/kubernetes-validate", "-k", KUBERNETES, "--strict", file], check=True
    )


@pytest.mark.soak
@pytest.mark.parametrize("file", COMPOSES, ids=lambda file: file.parent.name)
def test_the_schema_of_compose_finds_nothing(file: Path, tmp_path: Path) -> None:
    """Of docker-compose 1.29, the last that was a Python package, and carries it."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    python = tmp_path / "bin/python"
    install = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*install, "--no-deps", "docker-compose==1.29.2"], check=True)
    subprocess.run([*install, "jsonschema", "pyyaml"], check=True)
    look = (
        "import json, pathlib, sys, jsonschema, yaml, importlib.util as u\n"
        "root = pathlib.Path(u.find_spec('compose').origin).parent\n"
        "schema = json.loads((root / 'config/compose_spec.json').read_text())\n"
        "jsonschema.validate(yaml.safe_load(open(sys.argv[1])), schema)\n"
    )

    subprocess.run([python, "-c", look, file], check=True)
