"""Loading by a function of the user's."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from nearhit.proxy.loading.call import CallSource, Function, encoded, imported
from nearhit.proxy.loading.source import NO_SUCH_THING, Loaded, SourceError, said

MODULE = """
import asyncio, functools

def by_id(id):
    return f"user {id}"

async def later(id, **more):
    await asyncio.sleep(0)
    return {"id": id}

class Users:
    def load(self, id):
        return None
    async def __call__(self, id):
        return b"called"

users = Users()
wrapped = functools.partial(later, extra=1)
number = 3

def broken(id):
    raise KeyError("no redis://u:secret@h/0 here")

async def leaving(id):
    raise SystemExit(3)

class Panic(BaseException):  # as a library written in Rust raises it
    pass

def interrupted(id):
    raise KeyboardInterrupt

async def panics(id):
    raise Panic("at line 5")

def panics_in_its_thread(id):
    raise Panic("at line 5")

async def exits(id):
    raise GeneratorExit

def exits_in_its_thread(id):
    raise GeneratorExit

async def stopping(id):
    raise StopIteration

async def gives_up(id):
    waiting = asyncio.get_running_loop().create_future()
    waiting.cancel()
    await waiting
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that is in no package."""
    name = f"users_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def source(module: str, path: str) -> CallSource:
    target = f"{module}:{path}"
    return CallSource(target, imported(target, ("id",)), 2)


@pytest.mark.parametrize(
    ("path", "loaded"),
    [
        ("by_id", Loaded(b"user 7")),
        ("later", Loaded(b'{"id":"7"}')),
        ("users", Loaded(b"called")),
        ("users.load", NO_SUCH_THING),
        ("wrapped", Loaded(b'{"id":"7"}')),
    ],
)
async def test_a_function_is_called_with_the_captures(
    module: str, path: str, loaded: Loaded
) -> None:
    calls = source(module, path)

    assert await calls.load(b"user:7", {"id": b"7"}) == loaded
    await calls.close()


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (None, None),
        (b"\xff", b"\xff"),
        (bytearray(b"x"), b"x"),
        ("größe", "größe".encode()),
        ("", b""),
        ({"a": [1, 2.5, None, "ö"]}, '{"a":[1,2.5,null,"ö"]}'.encode()),
        (True, b"true"),
        (7, b"7"),
    ],
)
def test_bytes_and_text_are_kept_and_the_rest_becomes_json(
    result: object, value: bytes | None
) -> None:
    assert encoded(result).value == value


@pytest.mark.parametrize("result", [object(), {1, 2}, float("nan"), {"a": b"x"}, "\ud800"])
def test_a_result_that_is_no_json_is_an_error(result: object) -> None:
    with pytest.raises(SourceError, match=f"its result, a {type(result).__name__}, is no JSON"):
        encoded(result)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("broken", r"KeyError: 'no redis://u:\*\*\*@h/0 here' \(users_of_\w+\.py:22\)"),
        ("leaving", r"SystemExit: 3 \(.*"),
        ("interrupted", r"KeyboardInterrupt \(.*"),
        ("panics", r"Panic: at line 5 \(.*"),
        ("panics_in_its_thread", r"Panic: at line 5 \(.*"),
        ("exits", r"GeneratorExit \(.*"),
        ("exits_in_its_thread", r"GeneratorExit \(.*"),
        ("stopping", r"RuntimeError: coroutine raised StopIteration.*"),
        ("gives_up", r"the function's own work was cancelled"),
    ],
)
async def test_whatever_a_function_raises_is_an_error_of_ours(
    module: str, path: str, why: str
) -> None:
    calls = source(module, path)

    with pytest.raises(SourceError, match=f"^{why}$"):
        await calls.load(b"user:7", {"id": b"7"})
    await calls.close()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("cannot reach\n redis://u:secret@h/0", "cannot reach redis://u:***@h/0"),
        ("host=h password=secret user=u", "host=h password=*** user=u"),
        ("API_TOKEN=secret", "API_TOKEN=***"),
        ("x" * 1000, "x" * 300 + "..."),
    ],
)
def test_a_foreign_message_is_shown_without_its_passwords(message: str, shown: str) -> None:
    assert said(message) == shown


async def test_a_key_that_is_no_text_is_an_error(module: str) -> None:
    with pytest.raises(SourceError, match="not UTF-8"):
        await source(module, "by_id").load(b"user:\xff", {"id": b"\xff"})


# --- Finding it


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nothing", r"users_of_\w+ has no nothing"),
        ("users.nothing", r"users_of_\w+ has no users\.nothing"),
        ("number", r"number of users_of_\w+ is no function"),
    ],
)
def test_a_function_that_is_not_there_is_an_error(module: str, path: str, why: str) -> None:
    with pytest.raises(SourceError, match=f"^{why}$"):
        imported(f"{module}:{path}", ("id",))


def test_a_function_that_takes_other_arguments_is_an_error(module: str) -> None:
    with pytest.raises(SourceError, match=r"by_id cannot be called with id, name: got an unexp"):
        imported(f"{module}:by_id", ("id", "name"))
    with pytest.raises(SourceError, match="by_id cannot be called with no argument: missing a req"):
        imported(f"{module}:by_id", ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise ValueError('bad setup')", r"ValueError: bad setup \(.*:1\)"),
        ("import sys; sys.exit(7)", r"SystemExit: 7 \(.*:1\)"),
        ("raise GeneratorExit", r"GeneratorExit \(.*:1\)"),
        ("import no_such_module_at_all", r"ModuleNotFoundError: No module named .*"),
        ("x = (", r"SyntaxError: .*"),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    name = f"broken_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(SourceError, match=f"^cannot import {name}: {why}"):
        imported(f"{name}:f", ())


# --- Threads


def held(release: threading.Event, arrived: threading.Semaphore) -> Function:
    def call(id: str) -> str:
        arrived.release()
        release.wait(30)
        return id

    return call


async def test_calls_that_hang_hold_up_neither_the_loop_nor_more_than_their_threads() -> None:
    release, arrived = threading.Event(), threading.Semaphore(0)
    calls = CallSource("m:f", held(release, arrived), 2)
    first, second = (asyncio.create_task(calls.load(b"", {"id": n})) for n in (b"1", b"2"))
    for _ in range(2):
        assert await asyncio.to_thread(arrived.acquire, timeout=10)
    assert repr(calls) == "<CallSource m:f <Threads busy=2/2>>"

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(SourceError, match="2 earlier calls have not returned yet"):
        await calls.load(b"", {"id": b"3"})
    release.set()

    assert await second == Loaded(b"2")
    while "busy=0" not in repr(calls):
        await asyncio.sleep(0)
    assert await calls.load(b"", {"id": b"4"}) == Loaded(b"4")
    await calls.close()


async def test_threads_end_when_they_are_closed() -> None:
    seen: list[threading.Thread] = []
    calls = CallSource("m:f", lambda: seen.append(threading.current_thread()), 1)
    await calls.load(b"", {})

    await calls.close()

    seen[0].join(10)
    assert not seen[0].is_alive()


def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    script = """
import asyncio, time
from nearhit.proxy.loading.call import CallSource
async def main():
    calls = CallSource("time:sleep", lambda: time.sleep(600), 1)
    try:
        async with asyncio.timeout(0.01):
            await calls.load(b"", {})
    except TimeoutError:
        print("timeout")
    await calls.close()
asyncio.run(main())
"""

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "timeout\n", "")


# --- Lists ------------------------------------------------------------------------------------


def listing(function: Function) -> CallSource:
    return CallSource("app:many", function, 2, lists=True)


async def test_a_list_of_captures_gives_a_list_of_values() -> None:
    async def many(id: list[str]) -> list[object]:
        return [None if one == "none" else {"id": one} for one in id]

    source = listing(many)
    keys = [b"1", b"none", b"\xff", b"2"]
    one, none, no_text, two = await source.load_many(keys, [{"id": key} for key in keys])

    assert (one, none, two) == (Loaded(b'{"id":"1"}'), NO_SUCH_THING, Loaded(b'{"id":"2"}'))
    assert isinstance(no_text, SourceError)
    assert await source.load(b"1", {"id": b"1"}) == one
    with pytest.raises(SourceError, match="UTF-8"):
        await source.load(b"", {"id": b"\xff"})
    assert all(
        isinstance(each, SourceError) for each in await source.load_many([b"", b""], [None] * 2)
    )


async def test_an_exception_in_the_list_is_the_failure_of_its_key() -> None:
    source = listing(lambda id: [ValueError("no such user"), b"2", object()])

    first, second, third = await source.load_many([b""] * 3, [{"id": b"x"}] * 3)
    await source.close()

    assert str(first) == "ValueError: no such user"
    assert second == Loaded(b"2")
    assert str(third).startswith("its result, a object, is no JSON")


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("text", "it returned a str, and with batch a list is wanted"),
        ([], "it returned 0 values for 2 keys"),
        ((b"1",), "it returned 1 values for 2 keys"),
    ],
)
async def test_what_is_no_list_of_that_length_is_an_error(result: object, why: str) -> None:
    source = listing(lambda id: result)

    with pytest.raises(SourceError, match=why):
        await source.load_many([b""] * 2, [{"id": b"x"}] * 2)
    await source.close()
