"""README and docs: every example is run, every command line is run or parsed, every table is
compared with the code. (docs/examples: test_examples.py. Links, headings: test_docs.py.)

Port 6380 becomes a free port, and so does 3000; port 6379 a server started here; ``.venv/bin/`` the
environment that runs the tests. What differs from run to run (tokens, times) is masked, and a token
that is shown stands for the one that was given. A fence of a kind that no test here knows is a
failure."""

from __future__ import annotations

import ast
import http.server
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from nearhit.proxy import errors
from nearhit.proxy.cli import top
from nearhit.proxy.http.api import Api, routes_of
from nearhit.proxy.http.hosts import Hosts
from nearhit.proxy.http.page import Shown
from nearhit.proxy.settings.config import ROWS, VERSION
from nearhit.proxy.settings.loaders import LOADER_ROWS
from nearhit.proxy.stats.counters import ROWS as STATS_ROWS
from redis import Redis

from tests import clusters, make_tables
from tests.bench import __main__ as bench
from tests.certificates import self_signed
from tests.clients import conftest as clients
from tests.sentinel.trio import trio
from tests.servers import HOST, Process, free_port, nearhit, upstream
from tests.unit.cli.test_main import environment, ping, serving, started, until_ready

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
OPERATING = DOCS / "operating.md"
STARTING = DOCS / "getting-started.md"
CONFIGURATION = DOCS / "configuration.md"
PAGES = [README, *sorted(set(DOCS.rglob("*.md")) - set(DOCS.glob("examples/**/*.md")))]

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
WITH_SENTINELS = sorted({line for line in COMMANDS if "redis-sentinel://" in line})
WITH_CLUSTER = sorted({line for line in COMMANDS if "redis-cluster://" in line})
OWN_CLUSTER = sorted({line for line in COMMANDS if "--embedded-cluster" in line})
COMMANDS = [
    line
    for line in dict.fromkeys(COMMANDS)
    if line not in (*WITH_SENTINELS, *WITH_CLUSTER, *OWN_CLUSTER)
]
CHECKS = [line for line in lines() if re.search(r"(^|[ /])nearhit check\b", line)]
TOPS = [line for line in lines() if re.search(r"\bnearhit top\b", line)]
BENCHES = [line for line in lines() if "-m tests.bench" in line]
EXTRAS = [line for line in lines() if line.startswith(".venv/bin/pip install ")]
PINGS = [line for line in lines() if line.startswith("redis-cli ")]
CONSOLES = [fence for fence in fences() if fence.kind == "console"]
# With loaders of their own: test_freshness_page.py, test_loaders_page.py.
APART = ("freshness.md", "loaders.md")
TALKS = [fence for fence in CONSOLES if re.match(r"\$ redis-cli .+\n127\.0\.0\.1:", fence.text)]
SESSIONS = [fence for fence in TALKS if fence.page.name not in APART]
SHELLS = [fence for fence in CONSOLES if fence not in TALKS and fence.page.name not in APART]
FILES = [fence for fence in fences() if fence.kind == "toml"]
MODULE = re.compile(r"# (\w+\.py)\n")  # the first line of what is no program, but a module
PYTHON = [fence for fence in fences() if fence.kind == "python" and not MODULE.match(fence.text)]
MODULES = [fence for fence in fences() if fence.kind == "python" and MODULE.match(fence.text)]
JAVASCRIPT = [fence for fence in fences() if fence.kind == "javascript"]


def test_every_fence_is_of_a_kind_that_is_tested() -> None:
    kinds = {"sh", "console", "toml", "python", "javascript", "text"}
    assert {fence.kind for fence in fences()} <= kinds
    tested = {START, TESTS, *COMMANDS, *WITH_SENTINELS, *WITH_CLUSTER, *OWN_CLUSTER}
    tested |= {*CHECKS, *TOPS, *BENCHES, *DOCKERS, *EXTRAS, *PINGS}
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

    named = set(re.findall(r"'(?:\.|nearhit)\[(\w+)\]'", START + TESTS + "".join(EXTRAS)))
    assert named == {"embedded", "test", "cli"}
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
    """A folder with the nearhit.toml of docs/configuration.md in it."""
    text = next(fence.text for fence in FILES if fence.page == CONFIGURATION)
    (tmp_path / "nearhit.toml").write_text(text.replace(":6379", f":{server.port}"))
    return tmp_path


def here(line: str, server: Process | None = None) -> str:
    """The line as it runs in the tests."""
    if server is not None:
        line = line.replace(f"{HOST}:6379", f"{HOST}:{server.port}")
    return re.sub(r"(^| )(?:\.venv/bin/)?nearhit( |$)", rf"\1exec {BIN}/nearhit\2", line, count=1)


@pytest.mark.parametrize("line", WITH_SENTINELS)
def test_a_command_line_serves_what_sentinels_name(line: str, tmp_path: Path) -> None:
    port = free_port()
    with trio("valkey") as three:
        for shown, ours in zip((26379, 26380, 26381), three.sentinels, strict=True):
            assert f"{HOST}:{shown}" in line
            line = line.replace(f"{HOST}:{shown}", f"{HOST}:{ours.port}")
        script = f"cd {tmp_path} && {here(line, three.sentinels[0])} 2>log"

        with started(["sh", "-c", script], PORT=str(port)) as process:
            *_, ready = until_ready(process, tmp_path / "log")
            assert f"redis://{HOST}:{port} -> {three.url} (Valkey " in ready
            assert f", master mymaster at {HOST}:{three.master.port}, named by " in ready
            assert ping((HOST, port)) == b"+PONG\r\n"
            process.terminate()
            process.communicate(timeout=15)
        assert process.returncode == 0


def serves_a_cluster(line: str, folder: Path, shown: str) -> None:
    port = free_port()
    script = f"cd {folder} && {here(line)} 2>log"

    with started(["sh", "-c", script], PORT=str(port)) as process:
        *_, ready = until_ready(process, folder / "log")
        assert f"redis://{HOST}:{port} -> {shown}" in ready
        assert ping((HOST, port)) == b"+PONG\r\n"
        with Redis(HOST, port) as client:
            assert client.mset({"a": 1, "b": 2, "c": 3})
            assert client.mget("a", "b", "c") == [b"1", b"2", b"3"]
        process.terminate()
        process.communicate(timeout=15)
    assert process.returncode == 0


@pytest.mark.parametrize("line", WITH_CLUSTER)
def test_a_command_line_serves_a_cluster(line: str, tmp_path: Path) -> None:
    with clusters.cluster("valkey", 3, 0) as cluster:
        for shown, node in zip((7001, 7002, 7003), cluster.nodes, strict=True):
            assert f"{HOST}:{shown}" in line
            line = line.replace(f"{HOST}:{shown}", f"{HOST}:{node.port}")

        serves_a_cluster(line, tmp_path, "redis-cluster://")


@pytest.mark.parametrize("line", OWN_CLUSTER)
def test_a_command_line_starts_a_cluster(line: str, tmp_path: Path) -> None:
    serves_a_cluster(line, tmp_path, "embedded cluster of 3 (Valkey ")


@pytest.mark.parametrize("line", TOPS)
def test_a_command_line_of_top_is_understood(line: str) -> None:
    # How top runs is tested in commands/test_top.py.
    *_, words = re.split(r"\btop\b", line)

    top.parser().parse_args(shlex.split(words, comments=True))


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_serves(line: str, folder: Path, server: Process) -> None:
    port = free_port()
    # ``A=b nearhit`` cannot be exec'd as it stands, and without exec the shell gets the signal.
    assigned, _, command = here(line, server).rpartition("exec ")
    exported = f"export {assigned}" if assigned else "true"
    script = f"cd {shlex.quote(str(folder))} && {exported} && exec {command} 2>log"

    with started(["sh", "-c", script], PORT=str(port)) as process:
        *_, ready = until_ready(process, folder / "log")
        named = f":{server.port}" in script or "--config" in command
        there = f"redis://{HOST}:{server.port}" if named else "embedded Valkey"
        assert f"redis://{HOST}:{port} -> {there}" in ready
        assert ("near cache" in ready) == ("--near-cache off" not in command)
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
    asked = done.stdout.count("\nserver = ")  # where the upstream answers
    assert len(done.stdout.splitlines()) == len(ROWS) + asked + 1  # compiled, or not
    assert "p%40ss" not in done.stdout


@pytest.mark.parametrize("fence", FILES, ids=str)
def test_a_toml_example_has_no_mistake(fence: Fence, tmp_path: Path) -> None:
    file = tmp_path / "nearhit.toml"
    # `check` opens what is named: a module that README shows, a file that is not here.
    text = re.sub(r"\?ssl_ca_certs=[^\"]+", "", fence.text)
    if "/etc/nearhit/tls/" in text:
        self_signed(tmp_path)
        (tmp_path / "clients.pem").write_bytes((tmp_path / "cert.pem").read_bytes())
        text = text.replace("/etc/nearhit/tls/", f"{tmp_path}/")
    file.write_text(text)
    for shown in re.findall(
        r"^# (\w+\.py)\n(.+?)^```", fence.page.read_text(), re.MULTILINE | re.DOTALL
    ):
        (tmp_path / shown[0]).write_text(shown[1])

    done = subprocess.run(
        [sys.executable, "-m", "nearhit.proxy", "check", "--config", str(file)],
        cwd=tmp_path, env=environment(SHOP_TOKEN="s3cret"), capture_output=True, text=True,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert "s3cret" not in done.stdout
    given = dict(settings(tomllib.loads(fence.text)))
    for name in given:
        assert re.search(rf"^{name} = .*# {re.escape(str(file))}:\d+$", done.stdout, re.MULTILINE)


def settings(document: dict[str, object], head: str = "") -> Iterator[tuple[str, object]]:
    """The settings of a file as check names them: ``loaders.users.ttl``."""
    for name, value in document.items():
        about = ROWS.get(name) or LOADER_ROWS.get(name)
        if isinstance(value, dict) and not (about and about.kind.table):
            yield from settings(value, f"{head}{name}.")
        else:
            yield f"{head}{name}", value


# --- Loaders


class Users(http.server.BaseHTTPRequestHandler):
    """What the loaders of docs/getting-started.md ask at port 8000."""

    def do_GET(self) -> None:
        found = self.path == "/users/1"
        body = b"Ada" if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def users() -> Iterator[int]:
    """The port of an HTTP server with one user."""
    with http.server.ThreadingHTTPServer((HOST, 0), Users) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield serving.server_port
        finally:
            serving.shutdown()
            thread.join()


def test_the_loaders_of_the_example_load(tmp_path: Path, server: Process) -> None:
    (text,) = (fence.text for fence in FILES if fence.page == STARTING)
    for fence in MODULES:
        (tmp_path / MODULE.match(fence.text)[1]).write_text(fence.text)  # type: ignore[index]
    with ExitStack() as stack:
        old = stack.enter_context(upstream("valkey")).port
        for shown, ours in ((6379, server.port), (8000, stack.enter_context(users())), (6378, old)):
            assert f":{shown}" in text
            text = text.replace(f":{shown}", f":{ours}")
        (tmp_path / "nearhit.toml").write_text(text)
        there = stack.enter_context(Redis(HOST, old, decode_responses=True))
        there.set("session:1", "from the old server", px=50_000)
        proxy = stack.enter_context(
            nearhit(
                None, "--config", str(tmp_path / "nearhit.toml"), env={"PYTHONPATH": str(tmp_path)}
            )
        )
        cache = stack.enter_context(Redis(HOST, proxy.port, decode_responses=True))

        assert cache.get("user:1") == "Ada"
        assert cache.get("user:2") is None
        assert cache.execute_command("GETORSET", "price:ch:7") == (
            '{"item":"7","country":"ch","cents":1250}'
        )
        assert cache.execute_command("GETORSET", "session:1") == "from the old server"
        assert cache.execute_command("GETORSET", "demo:1") == "demo value of demo:1"
        assert 270_000 <= cache.pttl("user:1") <= 330_000
        assert cache.pttl("session:1") <= 50_000


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
    (ports,) = re.findall(r"^EXPOSE (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    *published, given = zip(words[3:-1:2], words[4:-1:2], strict=True)
    assert (words[1], words[2], words[-1]) == ("run", "--rm", "nearhit")
    assert published == [("-p", f"{port}:{port}") for port in ports.split()]
    assert given[0] == "-e"
    assert given[1].partition("=")[0] == ROWS["upstream"].env


# --- Sessions


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a proxy serves, as the first command starts it."""

    resp: int
    http: int

    def put(self, text: str) -> str:
        """A text of ours with these ports for those that it shows."""
        return text.replace("6380", str(self.resp)).replace(":3000", f":{self.http}")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    ports = Ports(free_port(), free_port())
    environ = {"PORT": str(ports.resp), "NEARHIT_HTTP": f"{HOST}:{ports.http}"}
    with serving(tmp_path_factory.mktemp("proxy"), **environ):
        yield ports


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"no {tool} on PATH")


TOKEN = re.compile(r"\bt?[0-9a-f]{32}\b")
# What differs from run to run, and what stands for it.
DIFFERS = (
    (TOKEN, "TOKEN"),
    (re.compile(r"\b\d{16}\b"), "FENCE"),
    (re.compile(r'(elapsed_ms"(?: => \(integer\)|:)) \d+'), r"\1 N"),
    (re.compile(r"in \d+\.\d s, [\d,]+/s"), "in N s, N/s"),
    (re.compile(r"^\(\d+\.\d\ds\)\n?", re.MULTILINE), ""),  # redis-cli's, of half a second or more
)
# Of these all numbers differ.
COUNTING = re.compile(
    r"CLIENT ID|TTL|STATS|LOCK ACQUIRE .* FENCE|LOCK INFO|LOCK LIST|curl .*/metrics"
)


def masked(command: str, output: str) -> list[str]:
    for pattern, name in DIFFERS:
        output = pattern.sub(name, output)
    if COUNTING.match(command):
        output = re.sub(r"\d[\d.]*", "N", output)
    return [line.rstrip() for line in output.splitlines()]


class Tokens:
    """The tokens that were given, by those that are shown."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def learn(self, shown: str, given: str) -> None:
        self._given.update(zip(TOKEN.findall(shown), TOKEN.findall(given), strict=False))

    def put(self, command: str) -> str:
        return TOKEN.sub(lambda token: self._given.get(token[0], token[0]), command)


@dataclass(slots=True)
class Block:
    """A command with what it printed; a transaction is one block."""

    commands: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    def check(self, output: str) -> None:
        """A last line of dots stands for as much as there is."""
        shown, given = "\n".join(self.output), output
        if self.output[-1:] == ["..."]:
            shown = "\n".join(self.output[:-1])
            given = "\n".join(output.splitlines()[: len(self.output) - 1])
            assert len(output.splitlines()) >= len(self.output)
        command = self.commands[-1]
        assert masked(command, given) == masked(command, shown), self.commands


def blocks(text: str, prompt: re.Pattern[str]) -> Iterator[Block]:
    """``prompt`` matches the line of a command, and its group is that command."""
    block = Block()
    for line in text.splitlines():
        if (found := prompt.match(line)) is None:
            block.output.append(line)
            continue
        if block.commands and "(TX)" not in line:
            yield block
            block = Block()
        block.commands.append(found[1])
    yield block


def converse(fence: Fence, shown: Iterator[Block], ask: Callable[[str], str]) -> None:
    """Ask each command in its turn, and compare."""
    tokens = Tokens()
    for block in shown:
        output = ask(tokens.put("\n".join(block.commands)))
        tokens.learn("\n".join(block.output), output)
        block.check(output)


@needs("redis-cli")
@pytest.mark.parametrize("fence", SESSIONS, ids=str)
def test_a_redis_cli_session_answers_as_shown(fence: Fence, ports: Ports) -> None:
    answers_as_shown(fence, ports)


def answers_as_shown(fence: Fence, ports: Ports) -> None:
    first, _, rest = fence.text.partition("\n")
    shown = blocks(rest, re.compile(r"127\.0\.0\.1:6380(?:\(TX\))?> (.+)"))
    command = shlex.split(ports.put(first.removeprefix("$ ")))

    with subprocess.Popen(
        [*command, "--no-raw"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as redis_cli:
        stdin, stdout = redis_cli.stdin, redis_cli.stdout
        assert stdin is not None
        assert stdout is not None

        def ask(commands: str) -> str:
            # ECHO tells where the output of one block ends.
            stdin.write(f"{commands}\nECHO ----\n")
            stdin.flush()
            return "".join(iter(stdout.readline, '"----"\n'))

        converse(fence, shown, ask)


@needs("curl")
@pytest.mark.parametrize("fence", SHELLS, ids=str)
def test_a_shell_session_answers_as_shown(fence: Fence, ports: Ports) -> None:
    does_as_shown(fence, ports)


def does_as_shown(fence: Fence, ports: Ports) -> None:
    def ask(command: str) -> str:
        command = re.sub(
            r"^(?:\.venv/bin/)?nearhit (warm|invalidate)",
            rf"{BIN}/nearhit \1 --proxy redis://{HOST}:{ports.resp}",
            ports.put(command),
        )
        done = subprocess.run(
            ["sh", "-c", f"{command} 2>&1"], env=environment(), capture_output=True, text=True,
            timeout=15,
        )  # fmt: skip
        return done.stdout

    converse(fence, blocks(fence.text, re.compile(r"\$ (.+)")), ask)


@needs("redis-cli")
@pytest.mark.parametrize("line", PINGS)
def test_the_health_check_answers(line: str, ports: Ports) -> None:
    def healthy(port: int) -> tuple[bool, str]:
        words = shlex.split(line.replace("6380", str(port)))
        done = subprocess.run(words, capture_output=True, text=True)
        return done.returncode == 0, done.stdout

    assert healthy(ports.resp) == (True, "PONG\n")
    assert not healthy(free_port())[0]


# --- Programs

javascript = clients.javascript  # the npm packages of tests/clients/js


def prints(text: str, comment: str) -> list[str]:
    """What a program is said to print: the remark behind each line that prints."""
    shown = rf"^ *(?:print|console\.log)\(.+\);? *{comment} (.+)$"
    return re.findall(shown, text, re.MULTILINE)


def printed(argv: list[str], folder: Path | None = None) -> list[str]:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("fence", PYTHON, ids=str)
def test_a_python_program_prints_what_it_says(fence: Fence, ports: Ports) -> None:
    expected = prints(fence.text, "#")

    assert expected
    assert printed([sys.executable, "-c", ports.put(fence.text)]) == expected


@pytest.mark.parametrize("fence", JAVASCRIPT, ids=str)
def test_a_javascript_program_prints_what_it_says(
    fence: Fence, ports: Ports, javascript: Path, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(javascript / "node_modules")
    (tmp_path / "program.mjs").write_text(ports.put(fence.text))
    expected = prints(fence.text, "//")

    assert expected
    assert printed(["node", "program.mjs"], tmp_path) == expected


# --- Tables


@pytest.mark.parametrize("page", list(make_tables.PAGES), ids=lambda page: page.name)
def test_a_page_has_the_tables_of_the_code(page: Path) -> None:
    text = page.read_text()

    assert make_tables.renewed(text, *make_tables.PAGES[page]) == text


def test_every_event_is_explained() -> None:
    rows = table(OPERATING, "event", "level", "meaning", "what to do")

    assert sorted(row[0].strip("`") for row in rows) == sorted(logged())


def logged() -> set[str]:
    """The names of all events that the code logs, those of a module's ``TOLD`` included."""
    names: set[str] = set()
    for file in (*ROOT.glob("proxy/**/*.py"), *ROOT.glob("commands/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "TOLD":
                names.update(ast.literal_eval(ast.unparse(node.value or node)))
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "event" and isinstance(node.args[2], ast.Constant):
                names.add(ast.literal_eval(node.args[2]))
            elif called in ("log.error", "log.exception", "log.warning"):
                names.add(ast.literal_eval(node.args[0]))
    return names


def test_every_error_of_the_proxy_is_explained() -> None:
    rows = table(OPERATING, "error", "meaning", "may it be repeated")
    shown = {row[0].strip("`") for row in rows}

    words = {re.sub(r"\d+", "N", line.decode().strip("-\r\n")) for line in our_errors()}
    assert words <= shown


def our_errors() -> list[bytes]:
    """A line of each error that the proxy words itself."""
    # Handed on in the server's words, or each of them worded by who raises it, as the server would.
    theirs = {
        "UpstreamNotReady",
        "UpstreamRefused",
        "ServerError",
        "NotServed",
        "BadInput",
        "BadFilter",
        "WrongArity",
    }
    made = [
        errors.UpstreamDown("..."),
        errors.UpstreamLost("..."),
        errors.NoPlace(1, 5.0),
        errors.ProtocolError("..."),
        errors.TlsAtPlain(),
        errors.ProtocolError("request too large for a command of the proxy"),
        errors.NoLoader(b"..."),
        errors.LoadError("...", "..."),
        errors.LoadTimeout("...", 0),
        errors.OddReply("..."),
        errors.CacheBusy("..."),
        errors.LockBusy("..."),
        errors.LockLost([b"..."]),
        errors.NoMajority(0, 3, "..."),
        errors.BadInput(f"... {errors.IN_MULTI}"),
        errors.Invalidated(),
    ]
    kinds = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.ProxyError)
    }
    assert kinds - theirs <= {"ProxyError", *(type(error).__name__ for error in made)}
    return [*(error.line for error in made), errors.MAX_CLIENTS]


def test_every_number_of_the_near_cache_is_explained() -> None:
    rows = table(ROOT / "docs" / "near-cache.md", "STATS", "what it tells")
    shown = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}

    near = {row.name for row in STATS_ROWS if row.name.startswith("near_")}
    assert shown == near | {"tracking"}


def test_every_path_of_http_is_explained() -> None:
    rows = table(DOCS / "http.md", "path", "what it does", "status, besides 200")
    shown = {row[0].strip("`") for row in rows}

    async def nothing(_: object = None) -> None:
        """No request is made."""

    page = cast("Shown", object())
    routes = routes_of(Api(nothing, nothing, nothing, bytes, "", Hosts(), status=page)).routes
    assert shown == {f"{route.method} {route.path}" for route in routes}


# --- The rest


def test_the_changelog_names_this_version() -> None:
    assert f"## [Unreleased]: {VERSION}" in (ROOT / "CHANGELOG.md").read_text()
