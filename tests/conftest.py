"""How a whole run is spread: test files side by side on two workers, and what measures alone.

``pytest`` without a path takes two workers (``-n 0``: none), each with ports and servers of its
own. Tests marked ``alone`` measure times, memory or CPU, or wait by a deadline: they run last, one
by one, on the one worker that is left. A run of named files or folders is not spread."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

WORKERS = 2
# Ends the name of such a test: names are all that the scheduler is told by its workers.
ALONE = "@alone"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    worker = hasattr(config, "workerinput")
    if whole and not worker and option.numprocesses is None and not option.usepdb:
        option.numprocesses = WORKERS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        if item.get_closest_marker("alone"):
            item._nodeid += ALONE
    items.sort(key=lambda item: item.nodeid.endswith(ALONE))


def pytest_xdist_make_scheduler(config: pytest.Config) -> AloneLast | None:
    return AloneLast(config) if config.option.dist == "load" else None


class AloneLast(LoadScopeScheduling):
    """A file at a time to each worker. With only tests left that run alone, all workers end but
    one, and when they have ended it gets these."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] + (ALONE if nodeid.endswith(ALONE) else "")

    def _must_wait(self) -> bool:
        return len(self.nodes) > 1 and next(iter(self.workqueue), "").endswith(ALONE)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if not self._must_wait():
            super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if not self._must_wait():
            super()._reschedule(node)
        elif any(not other.shutting_down for other in self.nodes if other is not node):
            node.shutdown()

    def remove_node(self, node: WorkerController) -> str | None:
        crashed = super().remove_node(node)
        for left in self.nodes:
            self._reschedule(left)
        return crashed
