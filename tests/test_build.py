"""What strangers install: an sdist of a tree without links, and wheels built from that sdist, with
and without a working compiler. Nothing is downloaded: setuptools and Cython are those of the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import nearhit
import pytest
from nearhit.proxy.settings.config import VERSION

ROOT = Path(__file__).parents[1]
FOLDERS = ("commands", "lua", "package", "proxy")
# Not in a ZIP of the repository: what Git ignores, and links.
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.egg-info")
PACKAGED = {".py", ".pyi", ".pyx", ".pxd", ".json", ".lua", ".typed"} | {".html", ".css", ".js"}

FEW = ("sketch.pxd", "_collector.pyx")  # in the order in which they are compiled

CC = (sysconfig.get_config_var("CC") or "cc").split()[0]
COMPILES = shutil.which(CC) and Path(sysconfig.get_path("include"), "Python.h").exists()
needs_compiler = pytest.mark.skipif(not COMPILES, reason=f"no {CC} or no Python.h")

BUILD_SDIST = """
import sys
sys.path.insert(0, ".build")
import nearhit_build
nearhit_build.build_sdist(sys.argv[1])
"""
# The folder in argv comes before the installed package, compiled or editable: and it is what runs.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
sys.path.insert(0, sys.argv[1])
sys.meta_path[:] = [finder for finder in sys.meta_path if "Editable" not in str(finder)]
import nearhit.proxy, nearhit.commands, nearhit.lua
files = {}
files["nearhit"] = nearhit.__file__
for package in (nearhit.proxy, nearhit.commands, nearhit.lua):
    files[package.__name__] = package.__file__
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            files[found.name] = importlib.import_module(found.name).__file__
print(json.dumps(files))
"""


def dotted(path: Path) -> str:
    """``nearhit.proxy.near.cache`` for proxy/near/cache.py, ``nearhit.lua`` for lua/__init__.py."""
    parts = path.with_suffix("").parts
    return ".".join(("nearhit", *parts[parts[0] == "package" :])).removesuffix(".__init__")


SOURCES = [
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in PACKAGED and not path.name.startswith("__main__")
]
MODULES = {dotted(path) for path in SOURCES if path.suffix == ".py"}
TO_COMPILE = {dotted(path) for path in SOURCES if path.suffix == ".pyx"} | {
    dotted(path) for path in SOURCES if path.suffix == ".pxd" and dotted(path) in MODULES
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a ZIP of the repository holds it, without .names."""
    tree = tmp_path_factory.mktemp("tree")
    for name in (*FOLDERS, ".build"):
        shutil.copytree(ROOT / name, tree / name, ignore=LEFT_OUT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    return tree


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    done = subprocess.run(
        [sys.executable, "-c", BUILD_SDIST, folder], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.tar.gz")
    return path


def pip(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    environ = {**os.environ, "BUILD_NEARHIT": "", **environ}
    return subprocess.run(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def build(source: Path, folder: Path, **environ: str) -> tuple[Path | None, list[str]]:
    """The wheel, if there is one, and the lines which say that it is plain."""
    done = pip(
        "wheel", "-v", "--no-cache-dir", "--no-index", "--no-deps", "--no-build-isolation",
        "--wheel-dir", folder, source,
        **environ,
    )  # fmt: skip
    wheels = list(folder.glob("*.whl"))
    assert bool(wheels) is (done.returncode == 0), done.stdout
    said = [line for line in done.stdout.splitlines() if "nearhit is not compiled" in line]
    return (wheels[0] if wheels else None), said


def installed(wheel: Path | None, folder: Path) -> dict[str, str]:
    """The file of each module, all imported from where the wheel was installed."""
    assert wheel is not None
    done = pip("install", "--no-index", "--no-deps", "--target", folder, wheel)
    assert done.returncode == 0, done.stdout
    imported = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, folder], capture_output=True, text=True, cwd=folder
    )
    assert imported.returncode == 0, imported.stderr
    files: dict[str, str] = json.loads(imported.stdout)
    assert all(file.startswith(str(folder)) for file in files.values())
    return files


def compiled(files: dict[str, str]) -> set[str]:
    return {name for name, file in files.items() if file.endswith(".so")}


def compiler(folder: Path, failing_at: str = "no such word") -> str:
    """One that does not optimise, as what it makes is imported here and no more: the backend's -O2
    comes behind CFLAGS. It fails where ``failing_at`` is in its arguments."""
    script = folder / "cc"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *"{failing_at}"*) exit 1;; esac\nexec {CC} "$@" -O0\n'
    )
    script.chmod(0o755)
    return str(script)


def with_few_to_compile(tree: Path, folder: Path) -> Path:
    """A copy without what takes most of the time: two small modules are left, as FEW says."""
    few = shutil.copytree(tree, folder / "few")
    for source in (few / "proxy").glob("*/*.p[xy][dx]"):
        if source.name not in FEW:
            source.unlink()
    return few


@pytest.mark.timeout(300)  # half a minute of work for one core
@needs_compiler
def test_the_wheel_of_the_sdist_is_compiled_and_holds_every_file(
    sdist: Path, tmp_path: Path
) -> None:
    # -g: as the Pythons of some systems have extensions compiled.
    wheel, said = build(
        sdist, tmp_path, CC=compiler(tmp_path), BUILD_NEARHIT="compiled", CFLAGS="-g"
    )

    files = installed(wheel, tmp_path / "installed")

    assert said == []
    assert compiled(files) == TO_COMPILE
    assert files.keys() == MODULES | TO_COMPILE
    assert wheel is not None
    held = {f"nearhit/{path}".replace("/package/", "/") for path in SOURCES}
    assert held <= set(zipfile.ZipFile(wheel).namelist())
    for file in files.values():  # what debuggers read is most of what a compiler makes
        assert not file.endswith(".so") or b".debug_info" not in Path(file).read_bytes()


def test_the_package_has_a_version_and_is_run_by_its_name() -> None:
    done = subprocess.run([sys.executable, "-m", "nearhit", "--version"], capture_output=True)

    assert nearhit.__version__ == VERSION
    assert done.stdout.startswith(f"nearhit {VERSION} (".encode())


@pytest.mark.parametrize("file", ["package/__init__.py", ".build/nearhit_build.py"])
def test_an_older_python_is_refused_at_once_and_in_words(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = compile((ROOT / file).read_text(), file, "exec")
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))

    with pytest.raises(SystemExit) as ended:
        exec(code, {})

    assert ended.value.code == "nearhit needs Python 3.11 or newer, and this is 3.10"


def test_without_a_compiler_it_is_plain_python_and_says_so(sdist: Path, tmp_path: Path) -> None:
    wheel, said = build(sdist, tmp_path, CC="no-such-compiler")

    files = installed(wheel, tmp_path / "installed")

    assert len(said) == 1
    assert "no-such-compiler" in said[0]
    assert compiled(files) == set()
    assert files.keys() == MODULES


@needs_compiler
def test_one_module_that_does_not_compile_leaves_none_compiled(tree: Path, tmp_path: Path) -> None:
    few = with_few_to_compile(tree, tmp_path)

    wheel, said = build(few, tmp_path, CC=compiler(tmp_path, "_collector.o"))

    assert len(said) == 1
    assert compiled(installed(wheel, tmp_path / "installed")) == set()


@needs_compiler
def test_a_header_that_cython_refuses_leaves_none_compiled(tree: Path, tmp_path: Path) -> None:
    broken = with_few_to_compile(tree, tmp_path)
    with (broken / "proxy/near/sketch.pxd").open("a") as header:
        header.write("cdef nonsense of nonsense\n")

    wheel, said = build(broken, tmp_path, CC=compiler(tmp_path))

    assert len(said) == 1
    assert compiled(installed(wheel, tmp_path / "installed")) == set()


def test_where_compiled_modules_are_demanded_plain_python_is_an_error(
    sdist: Path, tmp_path: Path
) -> None:
    wheel, _ = build(sdist, tmp_path, CC="no-such-compiler", BUILD_NEARHIT="compiled")

    assert wheel is None
