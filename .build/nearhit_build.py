"""The build backend (PEP 517): setuptools, told what is in the folders.

It finds the packages (folders with __init__.py) and the modules to compile: each X.pyx, and each
X.py with an X.pxd beside it. So a new module is a new file and no line here or in pyproject.toml.

Compiled modules use each other's types, thus either all are compiled or none: where a compiler,
Python.h or Cython is missing or fails, what is built is plain Python, and one line says so.
BUILD_NEARHIT=compiled in the environment makes that an error (images, CI)."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.build_meta import _BuildMetaBackend
from setuptools.command.build_ext import build_ext

# Before pip has read that it is required, this file is run.
if sys.version_info < (3, 11):  # noqa: UP036
    this = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"nearhit needs Python 3.11 or newer, and this is {this}")

import tomllib  # which older ones do not have

SELF = ".build/nearhit_build.py"


def roots() -> dict[str, Path]:
    """The folder of each top package: ``nearhit.proxy``: proxy."""
    project = tomllib.loads(Path("pyproject.toml").read_text())
    folders: dict[str, str] = project["tool"]["setuptools"]["package-dir"]
    return {name: Path(folder) for name, folder in folders.items()}


def found(pattern: str) -> dict[Path, str]:
    """Files of the packages, and the dotted name of each: ``nearhit.proxy.near.cache``."""
    return {
        path: ".".join((name, *path.relative_to(folder).with_suffix("").parts))
        for name, folder in roots().items()
        for path in sorted(folder.rglob(pattern))
    }


def packages() -> list[str]:
    return [name.removesuffix(".__init__") for name in found("__init__.py").values()]


def to_compile() -> dict[str, Path]:
    """The source of each module that is to be compiled."""
    plain = {path.with_suffix(".py"): name for path, name in found("*.pxd").items()}
    return {name: path for path, name in (plain | found("*.pyx")).items() if path.exists()}


def extensions() -> list[Extension]:
    """``depends`` brings the backend and the headers into the sdist; -g0 leaves out what debuggers
    read, five of six parts of a module's size, and -O2 takes a quarter less time than the -O3 of
    some Pythons."""
    depends = [SELF, *(path.as_posix() for path in found("*.pxd"))]
    return [
        Extension(name, [path.as_posix()], depends=depends, extra_compile_args=["-g0", "-O2"])
        for name, path in to_compile().items()
    ]


def lay_out_headers(tree: Path) -> None:
    """Cython looks for ``nearhit.proxy.near.cache`` in folders of these names, which we have not:
    copy what it reads to such folders. (Links would not survive an sdist or a ZIP.)"""
    for path, name in (found("*.pxd") | found("__init__.py")).items():
        copy = tree.joinpath(*name.split(".")).with_suffix(path.suffix)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    (tree / "nearhit" / "__init__.py").touch()


class build_all_or_none(build_ext):
    """setuptools' command, with Cython in front and plain Python where it fails."""

    def build_extensions(self) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="nearhit-build-") as folder:
                self._compile(Path(folder))
        except Exception as why:  # whatever it is that compilers raise: plain Python is slower only
            if os.environ.get("BUILD_NEARHIT") == "compiled":
                raise
            reason = str(why).strip().partition("\n")[0] or type(why).__name__
            self.warn(f"nearhit is not compiled, plain Python is built: {reason}")
            self._leave_none()

    def _compile(self, folder: Path) -> None:
        # First what takes no time: Cython needs seconds before a compiler is asked at all.
        probe = folder / "probe.c"
        probe.write_text("#include <Python.h>\n")
        self.compiler.compile([str(probe)], output_dir=str(folder))
        from Cython.Build import cythonize  # may be missing: without build isolation

        lay_out_headers(folder)
        self.check_extensions_list(self.extensions)
        # In place, so that tracebacks name proxy/near/cache.py; one by one, as Cython's processes
        # are not worth it, with C compilers at work behind it. The largest first: none is left to
        # be waited for alone.
        largest = sorted(self.extensions, key=lambda one: -Path(one.sources[0]).stat().st_size)
        with ThreadPoolExecutor() as pool:
            built = list[Future[None]]()
            for one in largest:
                [made] = cythonize(  # type: ignore[no-untyped-call]  # Cython's is not typed
                    [one], include_path=[str(folder)], build_dir=str(folder), force=True
                )
                one.sources = made.sources
                built.append(pool.submit(self.build_extension, one))
            for each in built:
                each.result()

    def _leave_none(self) -> None:
        """Of this build and, in an editable one, of those before: they would hide their sources."""
        for one in self.extensions:
            built = Path(self.get_ext_fullpath(one.name))
            built.unlink(missing_ok=True)
            if self.editable_mode:
                to_compile()[one.name].with_name(built.name).unlink(missing_ok=True)
            one.optional = True  # that it is not there is no error from here on


class _Backend(_BuildMetaBackend):
    """setuptools' hooks; what a setup.py would say is said here."""

    def run_setup(self, setup_script: str = "setup.py") -> None:
        # Not build/: what an earlier build left there would get into the wheel.
        with tempfile.TemporaryDirectory(prefix="nearhit-build-") as folder:
            setup(
                packages=packages(),
                ext_modules=extensions(),
                cmdclass={"build_ext": build_all_or_none},
                options={"build": {"build_base": folder}},
            )


_backend = _Backend()
build_wheel = _backend.build_wheel
build_sdist = _backend.build_sdist
build_editable = _backend.build_editable
get_requires_for_build_wheel = _backend.get_requires_for_build_wheel
get_requires_for_build_sdist = _backend.get_requires_for_build_sdist
get_requires_for_build_editable = _backend.get_requires_for_build_editable
prepare_metadata_for_build_wheel = _backend.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = _backend.prepare_metadata_for_build_editable
