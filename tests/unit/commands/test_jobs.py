"""The words for jobs, and what becomes of them; the jobs themselves are fakes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from nearhit.commands import invalidate, jobs, warm
from nearhit.commands.jobs import INVALIDATE, WARM, Begin, Cancel, List, Status
from nearhit.lua import Script
from nearhit.proxy.custom.spec import Call
from nearhit.proxy.errors import BadInput, ProxyError, ServerError
from nearhit.proxy.resp.replies import Value

from tests.shelf import Desk, only

SYNTAX = "ERR syntax error"


class Jobs:
    """Keeps what is begun, for the test to run."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int | None, int]] = []
        self.work: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.show: Callable[[], Mapping[str, Value]] = dict
        self.asked: list[tuple[str, ...]] = []

    def start(self, command: str, work: Any, show: Any, *, total: int | None, size: int) -> bytes:
        self.begun.append((command, total, size))
        self.work, self.show = work, show
        return b"id"

    def status(self, command: str, id: bytes) -> Mapping[str, Value] | None:
        self.asked.append(("status", command, id.decode()))
        return {"state": b"done"}

    def cancel(self, command: str, id: bytes) -> bool:
        self.asked.append(("cancel", command, id.decode()))
        return True

    def ids(self, command: str) -> list[bytes]:
        self.asked.append(("ids", command))
        return [b"id"]


class Room(Desk):
    """A desk whose calls have jobs, and loaders by name."""

    def __init__(self, *keys: bytes) -> None:
        super().__init__(*keys)
        self.jobs = Jobs()
        self.loads.named = self.named  # type: ignore[attr-defined]

    def named(self, loader: str) -> object:
        if loader != "known":
            raise BadInput(f"no loader is called '{loader}'")
        return loader

    async def ask(self, spec: Any, *words: bytes) -> Any:
        class Module:
            parse = staticmethod(spec.parse)

            @staticmethod
            async def run(call: Call) -> Value:
                return await spec.run(replace(call, jobs=self.jobs))

        return await self.run(Module, *words)


# --- Words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (b"WARM ASYNC a", Begin(warm.Loads([b"a"]), 4 + 1 + 128)),
        (b"warm async keys a b", Begin(warm.Loads([b"a", b"b"]), 4 + 4 + 2 + 256)),
        (b"WARM ASYNC VALUES a v", Begin(warm.Values([b"a"], [b"v"]), 4 + 6 + 2 + 256)),
        (b"WARM STATUS x", Status(b"x")),
        (b"WARM cancel x", Cancel(b"x")),
        (b"WARM Jobs", List()),
        (b"WARM KEYS JOBS", warm.Loads([b"JOBS"])),
        (b"WARM a JOBS", warm.Loads([b"a", b"JOBS"])),
        (b"WARM ASYNC KEYS STATUS", Begin(warm.Loads([b"STATUS"]), 4 + 4 + 6 + 192)),
    ],
)
def test_words_of_warm_are_read(words: bytes, request_: object) -> None:
    assert WARM.parse(words.split()) == request_


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (b"INVALIDATE ASYNC PATTERN a* b*", invalidate.Patterns([b"a*", b"b*"])),
        (b"invalidate async tag t", invalidate.Tags([b"t"])),
    ],
)
def test_words_of_invalidate_are_read(words: bytes, request_: object) -> None:
    begin = INVALIDATE.parse(words.split())

    assert isinstance(begin, Begin)
    assert begin.request == request_


def test_without_those_words_the_request_is_the_commands_own() -> None:
    assert INVALIDATE.parse([b"INVALIDATE", b"KEYS", b"ASYNC"]) == invalidate.Keys([b"ASYNC"])
    assert INVALIDATE.parse([b"INVALIDATE", b"JOBS"]) == List()


ARITY = "ERR wrong number of arguments for '{}' command"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (b"WARM", ARITY.format("warm")),
        (b"WARM ASYNC", ARITY.format("warm|async")),
        (b"WARM ASYNC KEYS", ARITY.format("warm|keys")),
        (b"WARM ASYNC ASYNC a", SYNTAX),
        (b"WARM ASYNC STATUS x", SYNTAX),
        (b"WARM ASYNC EX 0 KEYS a", "ERR invalid expire time in 'warm' command"),
        (b"WARM STATUS", ARITY.format("warm|status")),
        (b"WARM CANCEL a b", ARITY.format("warm|cancel")),
        (b"WARM JOBS a", ARITY.format("warm|jobs")),
        (b"INVALIDATE ASYNC", ARITY.format("invalidate|async")),
        (b"INVALIDATE ASYNC a", SYNTAX),
        (b"INVALIDATE ASYNC KEYS a", SYNTAX),
        (b"INVALIDATE ASYNC JOBS", SYNTAX),
        (b"INVALIDATE ASYNC PATTERN", ARITY.format("invalidate|pattern")),
    ],
)
def test_wrong_words_are_refused(words: bytes, error: str) -> None:
    spec = WARM if words.startswith(b"WARM") else INVALIDATE
    with pytest.raises(ProxyError) as refused:
        spec.parse(words.split())

    assert str(refused.value) == error


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (b"WARM ASYNC KEYS a b", [b"a", b"b"]),
        (b"WARM ASYNC VALUES a v", [b"a"]),
        (b"WARM a", [b"a"]),
        (b"WARM STATUS x", []),
        (b"WARM JOBS", []),
        (b"WARM ASYNC", []),
        (b"INVALIDATE CANCEL x", []),
        (b"INVALIDATE a", [b"a"]),
        (b"INVALIDATE ASYNC PATTERN a*", []),
    ],
)
def test_command_getkeys_learns_the_keys(words: bytes, keys: list[bytes]) -> None:
    spec = WARM if words.startswith(b"WARM") else INVALIDATE
    assert spec.key_names is not None

    assert list(spec.key_names(words.split())) == keys


def test_what_runs_behind_lets_nothing_follow_it_unanswered() -> None:
    values = warm.Values([b"a"], [b"v"])

    assert WARM.sends(Begin(values, 10)) == WARM.sends(List()) == 0
    assert WARM.sends(values) == warm.sends(values) > 0


def test_command_docs_has_the_words_beside_the_commands_own() -> None:
    (what,) = INVALIDATE.arguments

    assert [form.name for form in what.arguments][-4:] == ["behind", "status", "cancel", "jobs"]
    behind = what.arguments[-4].arguments[0]
    assert [form.name for form in behind.arguments] == ["patterns", "tags", "soft"]
    assert [form.name for form in behind.arguments[-1].arguments] == ["patterns", "tags"]
    (forms,) = WARM.arguments[0].arguments[-4].arguments
    assert forms.arguments == warm.SPEC.arguments[0].arguments


# --- WARM -------------------------------------------------------------------------------------


async def test_warm_is_done_behind_and_shows_its_map_so_far() -> None:
    room = Room()

    assert (
        await room.ask(WARM, b"WARM", b"ASYNC", b"LOADER", b"known", b"KEYS", b"a", b"b") == b"id"
    )

    ((command, total, size),) = room.jobs.begun
    assert (command, total) == ("WARM", 2)
    assert size == 4 + 6 + 5 + 4 + 1 + 1 + 6 * 64
    assert only(room.jobs.show(), "requested", "loaded") == [2, 0]
    assert room.loads.asked == []
    assert room.jobs.work is not None
    await room.jobs.work()
    assert only(room.jobs.show(), "requested", "loaded") == [2, 2]
    assert room.stats.counts == {"warmed": 2}


async def test_warm_with_values_is_a_job_as_well() -> None:
    room = Room()
    await room.ask(WARM, b"WARM", b"ASYNC", b"VALUES", b"a", b"v")
    assert room.jobs.work is not None

    await room.jobs.work()

    assert room.shelf.held == {b"a": b"v"}


async def test_a_loader_that_is_not_there_is_told_at_once() -> None:
    room = Room()

    with pytest.raises(BadInput, match="no loader is called 'none'"):
        await room.ask(WARM, b"WARM", b"ASYNC", b"LOADER", b"none", b"KEYS", b"a")

    assert room.jobs.begun == []


async def test_jobs_are_asked_after_by_the_command_that_began_them() -> None:
    room = Room()

    assert await room.ask(WARM, b"WARM", b"STATUS", b"x") == {"state": b"done"}
    assert await room.ask(WARM, b"WARM", b"CANCEL", b"x") == 1
    assert await room.ask(INVALIDATE, b"INVALIDATE", b"JOBS") == [b"id"]
    assert room.jobs.asked == [
        ("status", "WARM", "x"),
        ("cancel", "WARM", "x"),
        ("ids", "INVALIDATE"),
    ]


async def test_what_is_no_job_runs_as_ever() -> None:
    room = Room(b"a")

    assert await room.ask(INVALIDATE, b"INVALIDATE", b"KEYS", b"a", b"b") == 1
    assert only(await room.ask(WARM, b"WARM", b"KEYS", b"a"), "loaded") == [1]
    assert room.jobs.begun == []


# --- INVALIDATE -------------------------------------------------------------------------------


async def test_a_pattern_is_removed_behind_and_counted_as_it_goes() -> None:
    room = Room(b"a1", b"a2", b"b1")

    assert await room.ask(INVALIDATE, b"INVALIDATE", b"ASYNC", b"PATTERN", b"a*") == b"id"

    assert room.jobs.begun[0][:2] == ("INVALIDATE", None)
    assert room.jobs.show() == {"removed": 0, "elapsed_ms": 0}
    seen: list[Value] = []
    room.shelf.cost = lambda words: seen.append(room.jobs.show()["removed"]) or 0.5
    assert room.jobs.work is not None
    await room.jobs.work()
    assert room.jobs.show()["removed"] == 2
    assert set(room.shelf.held) == {b"b1"}
    assert room.stats.counts == {"invalidated": 2}
    assert seen[0] == 0


@pytest.mark.parametrize("words", [b"ASYNC PATTERN a*", b"ASYNC TAG t"])
async def test_what_a_user_may_not_ask_is_told_at_once(words: bytes) -> None:
    room = Room()
    no = ServerError(b"-NOPERM no")
    room.shelf.refuse = lambda words: no

    async def refused(script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        assert (script.name, keys) == ("may", (b"tag:{t}", b"tagepoch:{t}"))
        raise no

    room.shelf.run = refused  # type: ignore[method-assign]

    with pytest.raises(ServerError, match="NOPERM"):
        await room.ask(INVALIDATE, b"INVALIDATE", *words.split())

    assert room.jobs.begun == []


async def test_the_statistics_that_are_counted_beside_are_the_real_ones() -> None:
    class Statistics:
        def __init__(self) -> None:
            self.did: list[object] = []

        def add(self, name: str, count: int = 1) -> None:
            self.did.append((name, count))

        def read(self, *, hit: bool) -> None:
            self.did.append(hit)

        async def show(self) -> Mapping[str, Value]:
            return {"loads": 1}

        async def reset(self) -> None:
            self.did.append("reset")

    stats = Statistics()
    counted = jobs.Counted(stats)

    counted.add("invalidated", 2)
    counted.add("other")
    counted.read(hit=True)
    await counted.reset()

    assert await counted.show() == {"loads": 1}
    assert stats.did == [("invalidated", 2), ("other", 1), True, "reset"]
    assert counted.removed == 2
