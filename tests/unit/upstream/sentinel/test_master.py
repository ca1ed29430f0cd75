"""All that finds the master, put together."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import StartError
from nearhit.proxy.settings.address import Upstream
from nearhit.proxy.upstream.dial import Retry
from nearhit.proxy.upstream.sentinel.listening import EARS
from nearhit.proxy.upstream.sentinel.master import Master

from tests.fakes import Tasks
from tests.sentinel.fake import NEW, sentinels, until, upstream_of


async def test_it_finds_the_master_hears_of_its_move_and_says_so() -> None:
    async with sentinels() as made:
        master, tasks = Master(upstream_of(made), Retry(3)), Tasks()
        assert master.found == "no master m: no Sentinel has been asked yet"
        for run in master.runs():
            tasks.start(run)
        assert len(tasks.running) == 1 + EARS

        await until(lambda: master.listening.hearing == 3 and master.watch.naming is not None)
        assert master.found.startswith("master m at 10.0.0.1:6379, named by ")
        made[1].say("+switch-master", "m 10.0.0.1 6379 10.0.0.2 6379")
        await until(lambda: master.dial.moves == 1)

        assert master.watch.naming is not None
        assert master.watch.naming.address == NEW
        assert repr(master).startswith("<Master master m at 10.0.0.2:6379, named by")
        await tasks.stop()


async def test_tls_files_that_cannot_be_used_are_told_at_the_start() -> None:
    with pytest.raises(StartError, match="ssl_ca_certs"):
        Master(Upstream.parse("rediss-sentinel://h/m?ssl_ca_certs=/nope.pem"), Retry(3))
