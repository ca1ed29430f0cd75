"""What loaders warm at the start: which jobs begin and end, and what they ask of WARM."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from nearhit.proxy.errors import LoadError, LoadTimeout, ProxyError, ServerError, UpstreamDown
from nearhit.proxy.jobs.board import Board, Owner
from nearhit.proxy.jobs.jobs import Jobs
from nearhit.proxy.process import warming as module
from nearhit.proxy.process.warming import PAGE, PAUSES, Warming
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.settings.config import load
from nearhit.proxy.settings.loaders import LoaderSettings

from tests.fakes import Tasks, settle
from tests.shelf import FakeCounts

OWNER = Owner(3)
NO = ServerError(b"-NOLOADER no")


def loaders(**warm: str | None) -> Sequence[LoaderSettings]:
    """Loaders of these names, of another server."""
    tables = [
        f"[loaders.{name}]\nmatch = '{name}:{{id}}'\nredis = 'redis://127.0.0.1:1'\n"
        + (f"warm = '{keys}'\n" if keys else "")
        for name, keys in warm.items()
    ]
    text = "\n".join(tables)
    return load({"config": "nearhit.toml"}, {}, lambda path: text).loaders


class FakeLoader:
    def __init__(self, pages: Sequence[Sequence[bytes] | ProxyError]) -> None:
        self.pages = pages
        self.globs: list[bytes] = []

    async def page(self, glob: bytes, cursor: int) -> tuple[int, Sequence[bytes]]:
        self.globs.append(glob)
        page = self.pages[cursor]
        if isinstance(page, ProxyError):
            raise page
        return (cursor + 1) % len(self.pages), page


class World:
    """A process that warms, on one board with others."""

    def __init__(self, settings: Sequence[LoaderSettings], board: Board | None = None) -> None:
        self.tasks = Tasks()
        self.jobs = Jobs(self.tasks.start, lambda: 5.0, FakeCounts())
        if board is not None:
            self.jobs.join(board.place(0))
        self.ran: list[list[bytes]] = []
        self.outcome: Callable[[bytes], ProxyError | None] = lambda key: None
        self.away = 0
        self.hangs = False
        self.why: ProxyError = UpstreamDown("no")
        self.slept: list[float] = []
        self.found: dict[str, FakeLoader] = {}
        self.warming = Warming(
            self.jobs,
            OWNER,
            self,  # type: ignore[arg-type]  # what it uses of Loaders
            settings,
            run=self.run,
            reached=self.reached,
            clock=lambda: 5.0,
            sleep=self.sleep,
        )

    def named(self, name: str) -> FakeLoader | None:
        return self.found.get(name)

    async def run(self, words: Sequence[bytes]) -> Value:
        self.ran.append(list(words))
        keys = words[words.index(b"KEYS") + 1 :]
        errors = [[key, why.line[1:-2]] for key in keys if (why := self.outcome(key)) is not None]
        return {
            "requested": len(keys),
            "loaded": len(keys) - len(errors),
            "skipped": 0,
            "not_found": 0,
            "failed": len(errors),
            "elapsed_ms": 1,
            "errors": errors[:100],
        }

    async def reached(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            self.away -= 1
            raise self.why

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    @property
    def keys(self) -> list[bytes]:
        """Those that were warmed, in their order."""
        return [key for words in self.ran for key in words[words.index(b"KEYS") + 1 :]]

    def shown(self) -> list[Mapping[str, Value]]:
        """STATUS of each job."""
        found = [self.jobs.find(OWNER, "WARM", id) for id in self.jobs.ids(OWNER, "WARM")]
        return [record.reply() for record in found if record is not None]

    async def finished(self) -> Mapping[str, Value]:
        """What the one job came to."""
        for task in list(self.tasks.running):
            await task
        await settle()
        (one,) = self.shown()
        return one


@pytest.fixture
async def made() -> AsyncIterator[Callable[..., World]]:
    worlds: list[World] = []

    def make(board: Board | None = None, **warm: str | None) -> World:
        worlds.append(World(loaders(**warm), board))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.tasks.stop()


Made = Callable[..., World]


# --- Keys -------------------------------------------------------------------------------------


async def test_keys_that_are_written_out_are_warmed_page_by_page(made: Made) -> None:
    world = made(user=f"user:{{1..{PAGE + 2}}}", other=None)
    world.outcome = lambda key: NO if key == b"user:7" else None

    world.warming.begin()
    shown = await world.finished()

    assert world.keys == [b"user:%d" % number for number in range(1, PAGE + 3)]
    # Three quarters of its concurrency: live loads have the rest.
    assert world.ran[0][:4] == [b"WARM", b"CONCURRENCY", b"12", b"KEYS"]
    assert [len(words) - 4 for words in world.ran] == [PAGE, 2]
    assert shown == {
        "state": b"done",
        "total": PAGE + 2,
        "requested": PAGE + 2,
        "loaded": PAGE + 1,
        "skipped": 0,
        "not_found": 0,
        "failed": 1,
        "elapsed_ms": 0,
        "errors": [[b"user:7", b"NOLOADER no"]],
        "error": None,
    }
    assert repr(world.warming) == "<Warming user>"


async def test_a_file_has_a_key_on_each_line(made: Made, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(b"a\r\n\n\xff b\n" + b"".join(b"k%d\n" % n for n in range(PAGE)) + b"last")
    world = made(user=str(file))

    world.warming.begin()
    shown = await world.finished()

    assert world.keys == [b"a", b"\xff b", *(b"k%d" % n for n in range(PAGE)), b"last"]
    assert (shown["state"], shown["total"]) == (b"done", None)


async def test_a_glob_is_looked_up_where_the_loader_has_its_values(made: Made) -> None:
    world = made(user="user:{a,b}*")
    world.found["user"] = FakeLoader([[b"x", b"y"], [], [b"z"]])

    world.warming.begin()
    await world.finished()

    assert world.found["user"].globs == [b"user:a*"] * 3 + [b"user:b*"] * 3
    assert world.keys == [b"x", b"y", b"z"] * 2
    assert len(world.ran) == 4  # nothing is asked for no key


# --- What goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("why", [LoadError("user", "away"), LoadTimeout("user", 5)])
async def test_a_server_that_cannot_be_looked_in_ends_it(made: Made, why: ProxyError) -> None:
    world = made(user="*")
    world.found["user"] = FakeLoader([[b"a"], why])

    world.warming.begin()
    shown = await world.finished()

    assert (shown["state"], shown["loaded"], shown["error"]) == (b"failed", 1, why.line[1:-2])


async def test_a_loader_that_has_gone_ends_it(made: Made) -> None:
    world = made(user="*")

    world.warming.begin()

    assert (await world.finished())["error"] == b"ERR warm: there is no loader 'user' any more"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: None, b"ERR warm: cannot read %b: No such file or directory"),
        (os.mkfifo, b"ERR warm: %b is no file"),
        (os.mkdir, b"ERR warm: %b is no file"),
        (
            lambda path: path.write_bytes(b"x" * (module.LINE_MAX + 1)),
            b"ERR warm: %b: a line is longer than 64 KB",
        ),
    ],
)
async def test_a_file_that_is_none_ends_it(
    made: Made, tmp_path: Path, make: Callable[[Path], Any], error: bytes
) -> None:
    path = tmp_path / "keys"
    make(path)
    world = made(user=str(path))

    world.warming.begin()
    shown = await world.finished()

    assert (shown["state"], shown["error"]) == (b"failed", error % str(path).encode())


async def test_it_waits_for_the_server_to_be_there(made: Made) -> None:
    world = made(user="user:1")
    world.away = 3

    world.warming.begin()
    shown = await world.finished()

    assert world.slept == [module.LOOK_S] * 3
    assert (shown["state"], shown["loaded"]) == (b"done", 1)


async def test_what_a_server_has_against_us_each_key_tells(made: Made) -> None:
    world = made(user="user:1")
    world.away, world.why = 1, ServerError(b"-NOAUTH Authentication required.\r\n")

    world.warming.begin()

    assert (await world.finished())["loaded"] == 1
    assert world.slept == []


async def test_a_page_that_fails_as_a_whole_is_tried_again_after_a_while(made: Made) -> None:
    world = made(user="user:{1..3}")
    world.outcome = lambda key: LoadError("user", "away") if len(world.ran) < 3 else None

    world.warming.begin()
    shown = await world.finished()

    assert world.slept == list(PAUSES[:2])
    assert (shown["state"], shown["requested"], shown["failed"]) == (b"done", 3, 0)


async def test_and_ends_the_job_where_it_goes_on_to_fail(made: Made) -> None:
    world = made(user="user:{1..1000}")
    world.outcome = lambda key: LoadError("user", "away")

    world.warming.begin()
    shown = await world.finished()

    assert len(world.ran) == len(PAUSES) + 1
    assert shown["state"] == b"failed"
    assert shown["error"] == (
        b"LOADERR loader 'user': away (each of 500 keys in a row, 'user:1' first)"
    )


async def test_failures_are_kept_up_to_a_hundred(made: Made) -> None:
    world = made(user="user:{1..1200}")
    world.outcome = lambda key: None if key.endswith(b"5") else NO

    world.warming.begin()
    shown = await world.finished()

    assert shown["failed"] == 1080
    assert len(shown["errors"]) == 100  # type: ignore[arg-type]


# --- When -------------------------------------------------------------------------------------


def named(world: World) -> list[object]:
    return [(one["total"], one["state"]) for one in world.shown()]


async def test_before_it_serves_new_settings_begin_nothing(made: Made) -> None:
    world = made(a="a:{1..2}")

    world.warming.take(loaders(b="b:{1..3}"))
    assert world.shown() == []
    world.warming.begin()

    assert [one["total"] for one in world.shown()] == [3]


async def test_new_settings_begin_only_what_has_changed(made: Made) -> None:
    world = made(a="a:{1..2}", b="b:{1..3}", c="c:{1..4}")
    world.hangs = True
    world.warming.begin()
    await settle()

    world.warming.take(loaders(a="a:{1..2}", b="b:{1..5}", d="d:{1..6}", e=None))
    await settle()

    assert named(world) == [
        (2, b"running"),
        (3, b"cancelled"),
        (4, b"cancelled"),
        (5, b"running"),
        (6, b"running"),
    ]


async def test_what_has_been_done_is_not_done_again(made: Made) -> None:
    world = made(a="a:{1..2}")
    world.warming.begin()
    await world.finished()

    world.warming.take(loaders(a="a:{1..2}", b=None))
    await settle()

    assert named(world) == [(2, b"done")]


async def test_one_worker_of_several_does_it(made: Made) -> None:
    world = made(a="a:1")
    world.jobs.join(Board(2).place(1))

    world.warming.begin()
    world.warming.take(loaders(a="a:2"))

    assert world.shown() == []


async def test_a_worker_that_is_started_again_begins_what_is_new_alone(made: Made) -> None:
    board = Board(2)
    before = made(board, a="a:{1..2}")
    before.hangs = True
    before.warming.begin()
    after = made(board, a="a:{1..2}")

    after.warming.begin()
    assert named(after) == [(2, b"failed")]

    after.warming.take(loaders(a="a:{1..3}"))
    assert named(after) == [(2, b"failed"), (3, b"running")]


async def test_more_than_may_be_asked_for_run_side_by_side(made: Made) -> None:
    world = made(**{f"l{number}": f"l{number}:1" for number in range(40)})

    world.warming.begin()

    assert world.jobs.running == 40
