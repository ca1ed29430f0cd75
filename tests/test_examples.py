"""docs/examples: what is there is on its page and can be read; on demand (``-m soak``) each example
gets its packages, from PyPI or npm and in a folder of the test's own, and answers as its page shows
in front of a Nearhit."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns, which

import pytest
import yaml
from nearhit.commands import COMMANDS
from nearhit.proxy.settings.config import load

from tests.servers import HOST, free_port, nearhit, wait_for
from tests.test_container import environment
from tests.test_loaders_page import is_open
from tests.test_readme import blocks, needs

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PAGE = EXAMPLES / "README.md"
TEXT_ALONE = {"compose"}
WORDS = {spec.name.decode() for spec in COMMANDS}


@dataclass(frozen=True, slots=True)
class Example:
    """One section of the page that shows how to run it."""

    folder: Path
    setup: tuple[str, ...]
    serve: str
    session: str

    def __str__(self) -> str:
        return self.folder.name


def examples() -> Iterator[Example]:
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        found = dict(re.findall(r"^```(sh|console)\n(.*?)^```$", section, re.M | re.S))
        if not found:
            continue
        (folder,) = re.findall(r"\]\((\w+)/", section.partition("```")[0])
        *setup, serve = found["sh"].splitlines()
        yield Example(EXAMPLES / folder, tuple(setup), serve, found["console"])


ALL = list(examples())
SOURCES = [
    path
    for path in sorted(EXAMPLES.rglob("*"))
    if path.is_file() and not {".venv", "node_modules", "dist", "__pycache__"} & set(path.parts)
]


def test_each_folder_is_an_example_of_the_page() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}

    assert folders == {example.folder.name for example in ALL} | TEXT_ALONE
    assert all(f"]({folder}/" in PAGE.read_text() for folder in folders)


def test_each_file_can_be_read() -> None:
    readers: dict[str, Callable[[str], object]] = {
        ".py": ast.parse,
        ".json": json.loads,
        ".yml": yaml.safe_load,
    }
    for path in SOURCES:
        readers.get(path.suffix, str)(path.read_text())

    assert {path.suffix for path in SOURCES} == {*readers, ".md", ".ts", ".txt", ""}


@pytest.mark.parametrize("example", ALL, ids=str)
def test_the_lines_of_the_page_name_what_is_there(example: Example) -> None:
    words = shlex.split(" ".join((*example.setup, example.serve)))

    files = {word for word in words if word.endswith((".txt", ".py"))}
    modules = {f"{word.partition(':')[0]}.py" for word in words if word in ("app:app", "tasks")}
    assert all((example.folder / name).is_file() for name in files | modules)
    if "npm" in words:
        scripts = json.loads((example.folder / "package.json").read_text())["scripts"]
        assert {words[i + 2] for i, word in enumerate(words) if word == "run"} <= set(scripts)


def test_the_commands_that_examples_send_are_ours() -> None:
    sent: set[str] = set()
    for path in SOURCES:
        sent.update(re.findall(r'(?:execute_command|\.call)\(\s*"(\w+)"', path.read_text()))
        sent.update(re.findall(r"Nearhit\.([A-Z]+)", path.read_text()))

    assert sent == {"GETORSET", "INVALIDATE", "LEASE", "LOCK"}
    assert sent <= WORDS


def test_the_sidecar_is_for_its_service_alone() -> None:
    services = yaml.safe_load((EXAMPLES / "compose/docker-compose.yml").read_text())["services"]
    sidecar, app = services["nearhit"], services["app"]

    config = load({}, {**environment(), **sidecar["environment"]}, lambda path: "")
    assert sidecar["network_mode"] == "service:app"
    assert [str(one) for one in config.listen] == [f"{HOST}:6380"]
    assert app["environment"]["CACHE_URL"] == f"redis://{config.listen[0]}"
    assert all(str(one).startswith(f"{HOST}:") for one in config.http)
    assert config.protected_mode
    assert (EXAMPLES / "compose" / app["build"] / "Dockerfile").is_file()
    assert (EXAMPLES / "compose" / sidecar["build"] / "Dockerfile").is_file()


# --- On demand --------------------------------------------------------------------------------


@contextmanager
def served(line: str, folder: Path, env: dict[str, str]) -> Iterator[Callable[[], str]]:
    """The line's program while it runs, and what it has logged."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["sh", "-c", f"exec env {line}"], cwd=folder, env=env, stdout=log, stderr=log
        )
    try:
        yield (folder / "log").read_text
        assert process.poll() is None, (folder / "log").read_text()
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.soak
@pytest.mark.timeout(600)
@needs("curl")
@pytest.mark.parametrize("example", ALL, ids=str)
def test_an_example_answers_as_its_page_shows(example: Example, tmp_path: Path) -> None:
    if any("npm " in line for line in example.setup) and which("npm") is None:
        pytest.skip("no npm on PATH")
    folder, port = tmp_path / "example", free_port()
    generated = ignore_patterns(".venv", "node_modules", "dist", "__pycache__")
    copytree(example.folder, folder, ignore=generated)
    with nearhit(None) as proxy:
        env = {**os.environ, "CACHE_URL": f"redis://{HOST}:{proxy.port}"}
        for line in example.setup:
            subprocess.run(["sh", "-c", line], cwd=folder, env=env, check=True)
        line = example.serve.replace("8000", str(port))
        with served(line, folder, env) as log:
            if line != example.serve:
                wait_for(lambda: is_open(port), 60, f"{example} on port {port}: {log()}")
            for block in blocks(example.session, re.compile(r"\$ (.+)")):
                (command,) = block.commands
                done = subprocess.run(
                    ["sh", "-c", command.replace("8000", str(port))],
                    cwd=folder, env=env, capture_output=True, text=True, timeout=60,
                )  # fmt: skip
                assert done.stdout.splitlines() == block.output, (command, done.stderr, log())
