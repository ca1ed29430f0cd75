"""How runs of the tests are spread and how they end, in runs of small suites of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = """
[pytest]
testpaths = tests
asyncio_default_fixture_loop_scope = function
asyncio_mode = auto
timeout = {timeout}
markers =
    alone: runs last
    waits: runs before that
"""
# Tests write where and in which order they ran; {0} is what the test that is alone asserts.
FIRST = """
import os, pathlib, pytest
def note(name):
    with pathlib.Path("ran").open("a") as ran:
        ran.write(f"{{name}} {{os.environ.get('PYTEST_XDIST_WORKER', 'none')}}\\n")
@pytest.mark.alone
def test_alone():
    note("alone")
    assert {0}
def test_a():
    note("a")
"""
SECOND = """
from test_first import note
def test_b():
    note("b")
def test_c():
    note("c")
"""
THIRD = """
from test_first import note
def test_d():
    note("d")
"""


WAITS = """
import pytest
from test_first import note
@pytest.mark.waits
def test_waits():
    note("{0}")
"""
# Each worker takes half a second to start.
TWO = ("-n", "2")
MANY = """
@pytest.fixture(params=range(20), autouse=True)
def number(request):
    pass
"""


class Suite:
    """A folder of tests under a conftest of ours."""

    def __init__(self, folder: Path, conftest: str, timeout: int = 60) -> None:
        self.folder = folder
        tests = folder / "tests"
        tests.mkdir()
        (tests / "conftest.py").write_text((ROOT / conftest).read_text())
        (folder / "pytest.ini").write_text(SETTINGS.format(timeout=timeout))

    def write(self, name: str, text: str) -> None:
        (self.folder / "tests" / name).write_text(text)

    def run(self, *arguments: str) -> tuple[int, str]:
        """(exit code, output)"""
        environ = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "COV"))
        }
        plugins = [f"-p{name}" for name in ("no:cacheprovider", "xdist", "asyncio", "timeout")]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *plugins, *arguments],
            cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def ran(self) -> list[tuple[str, str]]:
        """(test, worker) in the order in which they ran."""
        rows = (self.folder / "ran").read_text().splitlines()
        return [(row.split()[0], row.split()[1]) for row in rows]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    suite = Suite(tmp_path, "tests/conftest.py")
    suite.write("test_first.py", FIRST.format("True"))
    suite.write("test_second.py", SECOND)
    suite.write("test_third.py", THIRD)
    return suite


def test_a_whole_run_has_four_workers_and_runs_last_what_runs_alone(suite: Suite) -> None:
    suite.write("test_fourth.py", THIRD.replace("test_d", "test_e").replace('"d"', '"e"'))

    code, output = suite.run()

    assert code == 0, output
    ran = suite.ran()
    assert sorted(name for name, _ in ran) == ["a", "alone", "b", "c", "d", "e"]
    assert ran[-1][0] == "alone"
    assert {worker for _, worker in ran} == {"gw0", "gw1", "gw2", "gw3"}


def test_many_tests_that_run_alone_in_one_file_run_last_too(suite: Suite) -> None:
    suite.write("test_first.py", FIRST.format("True").replace("@", MANY + "@"))

    code, output = suite.run(*TWO)

    assert code == 0, output
    assert [name for name, _ in suite.ran()[-20:]] == ["alone"] * 20


def test_what_waits_runs_behind_the_others_on_all_workers(suite: Suite) -> None:
    suite.write("test_a_waits.py", WAITS.format("w1"))
    suite.write("test_b_waits.py", WAITS.format("w2"))
    suite.write("test_c_waits.py", WAITS.format("w3"))

    code, output = suite.run("-n", "3")

    assert code == 0, output
    ran = suite.ran()
    assert [name for name, _ in ran][-1] == "alone"
    for worker in ("gw0", "gw1", "gw2"):
        waits = [name.startswith("w") for name, by in ran[:-1] if by == worker]
        assert waits == sorted(waits)
        assert sum(waits) == 1


def test_what_shares_the_cluster_of_an_engine_runs_first_on_one_worker(suite: Suite) -> None:
    folder = suite.folder / "tests" / "cluster"
    folder.mkdir()
    for number in range(3):
        (folder / f"test_cluster{number}.py").write_text(
            "import pytest\n"
            "from test_first import note\n"
            "@pytest.mark.parametrize('engine', ['redis', 'valkey'])\n"
            f"def test_it{number}(engine): note(engine)\n"
        )

    code, output = suite.run()

    assert code == 0, output
    ran = suite.ran()
    assert len(ran) == 11
    for engine in ("redis", "valkey"):
        (worker,) = {worker for name, worker in ran if name == engine}
        assert [name for name, by in ran if by == worker][:3] == [engine] * 3


def test_a_failure_of_what_runs_alone_fails_the_run(suite: Suite) -> None:
    suite.write("test_first.py", FIRST.format("False"))

    code, output = suite.run(*TWO)

    assert code == 1
    assert "1 failed, 4 passed" in output


def test_a_worker_that_dies_of_what_runs_alone_fails_the_run(suite: Suite) -> None:
    suite.write("test_first.py", FIRST.format("os._exit(3)"))

    code, output = suite.run(*TWO)

    assert code == 1
    assert [name for name, _ in suite.ran()].count("alone") == 1
    assert "crashed while running 'tests/test_first.py::test_alone'" in output
    assert "1 failed, 4 passed" in output


@pytest.mark.parametrize(
    ("chosen", "names"),
    [("alone", ["alone"]), ("test_b", ["b"]), ("alone or test_c", ["c", "alone"])],
)
def test_tests_are_chosen_by_name_in_a_run_that_is_spread(
    chosen: str, names: list[str], suite: Suite
) -> None:
    code, output = suite.run(*TWO, "-k", chosen)

    assert code == 0, output
    assert [name for name, _ in suite.ran()] == names


@pytest.mark.parametrize("arguments", [("-n", "0"), ("tests",), ("tests/test_first.py",)])
def test_a_run_without_workers_or_of_a_path_is_not_spread(
    arguments: tuple[str, ...], suite: Suite
) -> None:
    code, output = suite.run(*arguments)

    assert code == 0, output
    assert {worker for _, worker in suite.ran()} == {"none"}


def test_a_list_of_the_tests_has_all_of_them(suite: Suite) -> None:
    code, output = suite.run("--co", "-q")

    assert code == 0, output
    assert output.count("::test_") == 5
    assert "test_first.py::test_alone" in output


def test_an_async_unit_test_runs_on_both_loops_and_a_plain_one_once(tmp_path: Path) -> None:
    suite = Suite(tmp_path, "tests/unit/conftest.py")
    suite.write(
        "test_loops.py",
        "import asyncio\n"
        "async def test_loop():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    print('loop', type(loop).__name__, loop.get_debug())\n"
        "def test_plain(): pass\n",
    )

    code, output = suite.run("-s")

    assert code == 0, output
    assert "3 passed" in output
    assert "loop DebugLoop True" in output
    assert "loop Loop False" in output


def test_an_async_unit_test_that_hangs_fails_on_both_loops(tmp_path: Path) -> None:
    suite = Suite(tmp_path, "tests/unit/conftest.py", timeout=1)
    suite.write(
        "test_hang.py", "import asyncio\nasync def test_hang(): await asyncio.Event().wait()\n"
    )

    code, output = suite.run()

    assert code == 1
    assert "2 failed" in output
