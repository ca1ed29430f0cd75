"""README and docs: every command line is run or parsed, every table is compared with the code.

Port 6380 becomes a free port, port 6379 a server started here; ``.venv/bin/`` becomes the
environment that runs the tests. A fence of a kind that no test here knows is a failure."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nearhit.proxy import errors
from nearhit.proxy.config import ROWS, VERSION, variable
from nearhit.proxy.terminal import EXIT_CODES

from tests.bench import __main__ as bench
from tests.servers import HOST, Process, free_port, upstream
from tests.test_cli import environment, ping, serving, started, until_ready

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
README = ROOT / "README.md"
OPERATING = ROOT / "docs" / "operating.md"
PAGES = [README, *sorted(ROOT.glob("docs/**/*.md"))]

START = "python3 -m venv .venv && .venv/bin/pip install -q '.[embedded]' && .venv/bin/nearhit"
TESTS = (
    "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/python -m pytest"
)


@dataclass(frozen=True, slots=True)
class Fence:
    """One fenced block."""

    page: Path
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}: {self.text.splitlines()[0][:40]}"


def fences() -> Iterator[Fence]:
    for page in PAGES:
        found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for kind, text in found:
            yield Fence(page, kind, text)


def lines() -> list[str]:
    """Every command line of every page."""
    return [line for fence in fences() if fence.kind == "sh" for line in fence.text.splitlines()]


def table(page: Path, *head: str) -> list[list[str]]:
    """The rows of the table with that head."""
    top = f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n"
    _, found, rest = page.read_text().partition(top)
    assert found, f"{page.name} has no table {head}"
    body = rest.partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in body]


DOCKERS = [line for line in lines() if line.startswith("docker ")]
COMMANDS = [
    line
    for line in lines()
    if re.search(r"(^|[ /])nearhit($| --)", line) and line not in (START, *DOCKERS)
]
CHECKS = [line for line in lines() if re.search(r"(^|[ /])nearhit check\b", line)]
BENCHES = [line for line in lines() if "-m tests.bench" in line]
PINGS = [line for line in lines() if line.startswith("redis-cli ")]
SESSIONS = [fence for fence in fences() if fence.kind == "console"]
FILES = [fence for fence in fences() if fence.kind == "toml"]


def test_every_fence_is_of_a_kind_that_is_tested() -> None:
    assert {fence.kind for fence in fences()} <= {"sh", "console", "toml", "text"}
    tested = {START, TESTS, *COMMANDS, *CHECKS, *BENCHES, *DOCKERS, *PINGS}
    assert set(lines()) == tested


# --- The two commands


def test_the_two_commands_stand_in_readme_each_on_its_own() -> None:
    alone = [fence.text for fence in fences() if fence.page == README and "&&" in fence.text]

    assert alone == [f"{START}\n", f"{TESTS}\n"]


def test_the_test_command_is_the_one_that_ci_runs() -> None:
    run = (ROOT / ".ci" / "run").read_text()

    assert [line.strip() for line in run.splitlines() if "-m pytest" in line] == [TESTS]


def test_the_extras_that_the_commands_name_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    named = set(re.findall(r"'\.\[(\w+)\]'", START + TESTS))
    assert named == {"embedded", "test"}
    assert named <= set(project["optional-dependencies"])
    assert project["requires-python"] == ">=3.11"


def test_the_start_command_serves_on_the_embedded_default(tmp_path: Path) -> None:
    port = free_port()
    entry_point = BIN / START.rpartition("/")[2]
    command = ["sh", "-c", f'exec "{entry_point}" 2>"$TMPDIR/log"']

    with started(command, TMPDIR=str(tmp_path), PORT=str(port)) as process:
        *_, ready = until_ready(process, tmp_path / "log")
        assert ready.startswith(f"nearhit {VERSION} ready: redis://{HOST}:{port} -> embedded ")
        assert ping((HOST, port)) == b"+PONG\r\n"
        process.terminate()
        process.communicate(timeout=15)
    assert process.returncode == 0
    assert ROWS["listen"].default == f"{HOST}:6380"


# --- Command lines


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with upstream("valkey") as process:
        yield process


@pytest.fixture
def folder(tmp_path: Path, server: Process) -> Path:
    """A folder with README's nearhit.toml in it."""
    (text,) = (fence.text for fence in FILES if fence.page == README)
    (tmp_path / "nearhit.toml").write_text(text.replace(":6379", f":{server.port}"))
    return tmp_path


def here(line: str, server: Process) -> str:
    """The line as it runs in the tests."""
    line = line.replace(f"{HOST}:6379", f"{HOST}:{server.port}")
    return re.sub(r"(^| )(?:\.venv/bin/)?nearhit( |$)", rf"\1exec {BIN}/nearhit\2", line, count=1)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_serves(line: str, folder: Path, server: Process) -> None:
    port = free_port()
    # ``A=b nearhit`` cannot be exec'd as it stands, and without exec the shell gets the signal.
    assigned, _, command = here(line, server).rpartition("exec ")
    exported = f"export {assigned}" if assigned else "true"
    script = f"cd {shlex.quote(str(folder))} && {exported} && exec {command} 2>log"

    with started(["sh", "-c", script], PORT=str(port)) as process:
        *_, ready = until_ready(process, folder / "log")
        assert f"redis://{HOST}:{port} -> redis://{HOST}:{server.port}" in ready
        assert ping((HOST, port)) == b"+PONG\r\n"
        process.terminate()
        process.communicate(timeout=15)
    assert process.returncode == 0


@pytest.mark.parametrize("line", CHECKS)
def test_a_check_line_finds_no_mistake(line: str, folder: Path, server: Process) -> None:
    script = here(line, server).replace("exec ", "")

    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment(), capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(ROWS)
    assert "p%40ss" not in done.stdout


@pytest.mark.parametrize("fence", FILES, ids=str)
def test_a_toml_example_has_no_mistake(fence: Fence, tmp_path: Path) -> None:
    file = tmp_path / "nearhit.toml"
    file.write_text(fence.text)

    done = subprocess.run(
        [sys.executable, "-m", "nearhit.proxy", "check", "--config", str(file)],
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    for name in tomllib.loads(fence.text):
        assert re.search(rf"^{name} = .*# {re.escape(str(file))}:\d+$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("line", BENCHES)
def test_a_benchmark_line_names_a_benchmark_and_its_flags(line: str) -> None:
    python, dash_m, module, *flags = shlex.split(line)

    assert (python, dash_m) == (".venv/bin/python", "-m")
    assert importlib.util.find_spec(module) is not None
    if module == "tests.bench":
        bench.parse(flags)
    else:
        assert flags == []


@pytest.mark.parametrize("line", DOCKERS)
def test_a_docker_line_fits_the_image_and_the_compose_file(line: str) -> None:
    words = shlex.split(line)
    if words[1] == "compose":
        assert words[2:] == ["up", "--build"]
        assert "build: ." in (ROOT / "docker-compose.yml").read_text()
        return
    if words[1] == "build":
        assert words[2:] == ["-t", "nearhit", "."]
        return
    port = re.findall(r"^EXPOSE (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    options = dict(zip(words[3:-1:2], words[4:-1:2], strict=True))
    assert (words[1], words[2], words[-1]) == ("run", "--rm", "nearhit")
    assert options["-p"] == f"{port}:{port}"
    assert options["-e"].partition("=")[0] == ROWS["upstream"].env


# --- redis-cli


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a proxy as the first command starts it."""
    port = free_port()
    with serving(tmp_path_factory.mktemp("proxy"), PORT=str(port)):
        yield port


needs_redis_cli = pytest.mark.skipif(
    shutil.which("redis-cli") is None, reason="no redis-cli on PATH"
)
PROMPT = re.compile(r"^127\.0\.0\.1:6380(?:\(TX\))?> (.+)$")
PROMPT_ALONE = re.compile(r"^127\.0\.0\.1:6380> ", re.MULTILINE)


@dataclass(slots=True)
class Block:
    """A command with what it printed; a transaction is one block."""

    commands: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    def masked(self, output: list[str]) -> list[str]:
        """Without what differs from run to run."""
        if self.commands == ["CLIENT ID"]:
            return [re.sub(r"\d+", "N", line) for line in output]
        return output


def blocks(shown: list[str]) -> Iterator[Block]:
    block = Block()
    for line, after in zip(shown, [*shown[1:], "127.0.0.1:6380> "], strict=True):
        if (prompt := PROMPT.match(line)) is not None:
            block.commands.append(prompt[1])
        else:
            block.output.append(line)
            if after.startswith("127.0.0.1:6380> "):
                yield block
                block = Block()


@needs_redis_cli
@pytest.mark.parametrize("fence", SESSIONS, ids=str)
def test_a_redis_cli_session_answers_as_shown(fence: Fence, port: int) -> None:
    first, *rest = fence.text.splitlines()
    shown = list(blocks(rest))
    # ECHO tells where the output of one block ends.
    script = "".join("\n".join([*block.commands, "ECHO ----\n"]) for block in shown)

    done = subprocess.run(
        ["redis-cli", "--no-raw", "-p", str(port)],
        input=script, capture_output=True, text=True, timeout=15,
    )  # fmt: skip

    answers = [answer.splitlines() for answer in done.stdout.split('"----"\n')[:-1]]
    assert first == "$ redis-cli -p 6380"
    assert len(answers) == len(shown) == len(PROMPT_ALONE.findall(fence.text))
    for block, answer in zip(shown, answers, strict=True):
        assert block.masked(answer) == block.masked(block.output), block.commands


@needs_redis_cli
@pytest.mark.parametrize("line", PINGS)
def test_the_health_check_answers(line: str, port: int) -> None:
    def healthy(port: int) -> tuple[bool, str]:
        words = shlex.split(line.replace("6380", str(port)))
        done = subprocess.run(words, capture_output=True, text=True)
        return done.returncode == 0, done.stdout

    assert healthy(port) == (True, "PONG\n")
    assert not healthy(free_port())[0]


# --- Tables


def test_the_settings_table_is_that_of_the_code() -> None:
    rows = table(README, "setting", "environment", "default", "meaning")

    assert rows == [
        [
            f"`{name}`",
            ", ".join(f"`{env}`" for env in (variable(name), row.env, row.port_env) if env),
            row.unset if row.default is None else f"`{row.default}`",
            row.meaning,
        ]
        for name, row in ROWS.items()
    ]


@pytest.mark.parametrize("page", [README, OPERATING], ids=lambda page: page.name)
def test_the_exit_codes_are_those_of_the_code(page: Path) -> None:
    assert table(page, "code", "meaning") == [[str(code), text] for code, text in EXIT_CODES]


def test_every_event_is_explained() -> None:
    rows = table(OPERATING, "event", "level", "meaning", "what to do")

    assert sorted(row[0].strip("`") for row in rows) == sorted(logged())


def logged() -> set[str]:
    """The names of all events that the code logs."""
    names: set[str] = set()
    for file in ROOT.glob("proxy/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "event":
                names.add(ast.literal_eval(node.args[2]))
            elif called in ("log.error", "log.exception", "log.warning"):
                names.add(ast.literal_eval(node.args[0]))
    return names


def test_every_error_of_the_proxy_is_explained() -> None:
    rows = table(OPERATING, "error", "meaning", "may it be repeated")
    shown = {row[0].strip("`") for row in rows}

    ours = [
        errors.UpstreamDown("...").line,
        errors.UpstreamLost("...").line,
        errors.ProtocolError("...").line,
        errors.ProtocolError("request too large for a command of the proxy").line,
        errors.MAX_CLIENTS,
    ]
    assert {line.decode().strip("-\r\n") for line in ours} <= shown


# --- The rest


def test_links_and_paths_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text()
        for path in re.findall(r"`((?:\.ci|docs|proxy|tests)/[\w./*-]*)`", text):
            assert list(ROOT.glob(path)), f"{page.name}: {path}"


def test_the_changelog_names_this_version() -> None:
    assert f"## [Unreleased]: {VERSION}" in (ROOT / "CHANGELOG.md").read_text()
