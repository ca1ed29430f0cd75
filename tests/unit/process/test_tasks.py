"""Tasks: kept while they run, heard when they fail, all ended at stop."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest
from nearhit.proxy.forgoing import forgoes, forgoing
from nearhit.proxy.process.tasks import Tasks

from tests.fakes import settle


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def made() -> Tasks:
    return Tasks(asyncio.get_running_loop())


async def test_a_task_is_kept_while_it_runs() -> None:
    tasks = made()
    came = asyncio.Event()
    done = asyncio.Event()

    async def work() -> None:
        await came.wait()
        done.set()

    tasks.start(work())
    gc.collect()
    assert repr(tasks) == "<Tasks running=1>"
    came.set()
    await settle()

    assert done.is_set()
    assert repr(tasks) == "<Tasks running=0>"


async def test_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tasks = made()

    async def work() -> None:
        raise ValueError("it broke")

    task = tasks.start(work())
    with pytest.raises(ValueError, match="it broke"):
        await task
    await settle()

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "it broke"


async def test_stopping_ends_every_task_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    tasks = made()
    started = [tasks.start(for_ever()) for _ in range(3)]
    await settle()

    await tasks.stop()

    assert all(task.cancelled() for task in started)
    assert repr(tasks) == "<Tasks running=0>"
    assert not caplog.records


async def test_what_a_task_starts_as_it_ends_gets_its_time() -> None:
    tasks = made()
    given_up = asyncio.Event()

    async def give_up() -> None:
        await asyncio.sleep(0)
        given_up.set()

    async def work() -> None:
        try:
            await for_ever()
        finally:
            tasks.start(give_up())

    tasks.start(work())
    await settle()

    await tasks.stop(5.0)

    assert given_up.is_set()


async def test_what_does_not_end_in_that_time_is_cancelled_too() -> None:
    tasks = made()
    late: list[asyncio.Task[None]] = []

    async def work() -> None:
        try:
            await for_ever()
        finally:
            late.append(tasks.start(for_ever()))

    tasks.start(work())
    await settle()

    await tasks.stop(0.001)

    assert late[0].cancelled()
    assert repr(tasks) == "<Tasks running=0>"


async def test_a_task_can_do_without_nothing_that_its_starter_can() -> None:
    tasks, told = made(), list[bool]()

    async def work() -> None:
        told.append(forgoes())

    with forgoing(True):
        tasks.start(work())
    await settle()

    assert told == [False]
