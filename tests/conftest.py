"""How a whole run is spread: test files side by side on four workers, and what measures alone.

``pytest`` without a path takes four workers (``-n 0``: none), each with ports and servers of its
own. Tests marked ``waits`` wait by deadlines: they run behind the others, beside their like. Those
marked ``alone`` measure times, memory or CPU: they run last, one by one, on the one worker that is
left. A run of named files or folders is not spread.

Tests start hundreds of Nearhits: what the first one compiles of its modules the others find. So
it is with the tests: after a fresh clone each worker compiles its share of them."""

from __future__ import annotations

import gc
import os
from collections.abc import Collection, Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# How long an example takes is the machine's affair, which others use too.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# Twice the cores it is meant for: two have clusters for a long time, which mostly wait.
WORKERS = 4
# Tests here share a cluster of six servers for each engine: all of one engine go to one worker.
CLUSTERS = "tests/cluster/"
# Where workers write the names of tests marked alone (names are all that xdist hands on), and where
# Python keeps what it compiled, if it was told not to keep that beside the sources.
FOLDER = pytest.StashKey[TemporaryDirectory[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loop",
        choices=("uvloop", "debug", "both"),
        default="uvloop",
        help="the event loop of async unit tests; CI runs them on the debug loop too, as it counts "
        "what they cover",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    worker = hasattr(config, "workerinput")
    if whole and not worker and option.numprocesses is None and not option.usepdb:
        option.numprocesses = WORKERS


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[FOLDER] = TemporaryDirectory(prefix="nearhit-tests-")
        if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
            os.environ.setdefault("PYTHONPYCACHEPREFIX", f"{config.stash[FOLDER].name}/compiled")
        config.option.loadscopereorder = False  # else files of many tests come first, alone or not
    else:
        config.pluginmanager.register(InOrder())


def pytest_unconfigure(config: pytest.Config) -> None:
    if FOLDER in config.stash:
        config.stash[FOLDER].cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["alone"] = f"{node.config.stash[FOLDER].name}/names"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing that is made here is garbage: it is neither looked through again and again as it
    grows, a sixth of the time, nor in any test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Workers go through a folder from different places on, around and around: pytest compiles a
    file of tests, which takes three times what all else of it takes, and keeps that for the next
    one to come by."""
    report = yield
    if hasattr(collector.config, "workerinput") and isinstance(collector, pytest.Directory):
        number = int(collector.config.workerinput["workerid"].removeprefix("gw"))
        first = len(report.result) * number // collector.config.workerinput["workercount"]
        report.result = report.result[first:] + report.result[:first]
    return report


class InOrder:
    """All workers must have collected the same, before anybody sorts tests by what they share."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: item.path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    items.sort(key=_turn)
    names = [item.nodeid for item in items if item.get_closest_marker("alone")]
    Path(config.workerinput["alone"]).write_text("\0".join(names))


def _turn(item: pytest.Item) -> tuple[bool, bool, bool, int]:
    """What takes longest comes first, clusters and the files of tests/ itself: begun late, it would
    keep one worker waiting."""
    alone, waits = item.get_closest_marker("alone"), item.get_closest_marker("waits")
    elsewhere = not item.nodeid.startswith(CLUSTERS)
    return alone is not None, waits is not None, elsewhere, len(item.path.parts)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> AloneLast | None:
    return AloneLast(config, log) if config.option.dist == "load" else None


class AloneLast(LoadScopeScheduling):
    """A file at a time to each worker, of CLUSTERS an engine. With only tests left that run alone,
    all workers end but one, and when they have ended it gets these."""

    alone: Collection[str] = ()

    def schedule(self) -> None:
        if self.collection is None:
            names = Path(self.config.stash[FOLDER].name, "names")
            self.alone = frozenset(names.read_text().split("\0")) if names.exists() else ()
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        if file.startswith(CLUSTERS):
            file = CLUSTERS + ("valkey" if "valkey" in test else "redis")
        return file + (" alone" if nodeid in self.alone else "")

    def _must_wait(self) -> bool:
        return len(self.nodes) > 1 and next(iter(self.workqueue), "").endswith(" alone")

    def _assign_work_unit(self, node: WorkerController) -> None:
        if not self._must_wait():
            super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if not self._must_wait():
            super()._reschedule(node)
        elif any(not other.shutting_down for other in self.nodes if other is not node):
            node.shutdown()

    def remove_node(self, node: WorkerController) -> str | None:
        """xdist's gives a test that ended its worker to the next worker, and so on: it has run.
        What else that worker had goes in front of what runs alone."""
        units = self.assigned_work.pop(node)
        crashed = None
        for scope, unit in units.items():
            left = [nodeid for nodeid, done in unit.items() if not done]
            if left and crashed is None:
                crashed = left.pop(0)
                unit[crashed] = True
            if left:
                self.workqueue[scope] = unit
                self.workqueue.move_to_end(scope, last=scope.endswith(" alone"))
        for other in self.nodes:
            if other in self.registered_collections:  # else it gets work when it has collected
                self._reschedule(other)
        return crashed
