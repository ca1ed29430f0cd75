"""Values from a function of the user's: ``package.module:function``, called with the captures.

An async function runs on the loop. Any other runs in a thread of ours: a call that never returns
holds one thread, and with all of them gone a load fails at once; it never holds up the loop or the
end of the process, as the interpreter's own pools do (they join their threads at exit)."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ..resp.requests import BULK_MAX
from .source import NO_SUCH_THING, Loaded, SourceError, said

Function = Callable[..., object]


# --- Finding the function ---------------------------------------------------------------------


def imported(target: str, captures: tuple[str, ...]) -> Function:
    """The function behind ``package.module:function``. SourceError: it is not there, or cannot be
    called with these captures."""
    module_name, _, path = target.partition(":")
    _see_working_directory()
    try:
        found: object = importlib.import_module(module_name)
    except KeyboardInterrupt:  # the operator's
        raise
    except BaseException as error:  # whatever the user's module raises as it is imported
        raise SourceError(f"cannot import {module_name}: {_told(error)}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise SourceError(f"{module_name} has no {path}")
        found = getattr(found, name)
    if not callable(found):
        raise SourceError(f"{path} of {module_name} is no function")
    _check_call(found, target, captures)
    return found


def _see_working_directory() -> None:
    """Let a module beside nearhit.toml be found, as ``python -m`` would. Last: it shadows
    nothing."""
    if not {"", os.getcwd()} & {*sys.path}:
        sys.path.append(os.getcwd())


def _check_call(function: Function, target: str, captures: tuple[str, ...]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C, it does not say what it takes
    try:
        signature.bind(**dict.fromkeys(captures, ""))
    except TypeError as error:
        given = ", ".join(captures) or "no argument"
        raise SourceError(f"{target} cannot be called with {given}: {error}") from None


# --- Calling it -------------------------------------------------------------------------------


class CallSource:
    """``lists``: the function takes a list of each capture, and returns a list of values."""

    def __init__(
        self, target: str, function: Function, concurrency: int, *, lists: bool = False
    ) -> None:
        self._target = target
        self._lists = lists
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # an object with an async __call__
        )
        self._threads = Threads(concurrency, target)

    def __repr__(self) -> str:
        return f"<CallSource {self._target} {self._threads!r}>"

    async def load(self, key: bytes, captures: Mapping[str, bytes] | None) -> Loaded:
        if self._lists:
            (outcome,) = await self.load_many([key], [captures])
            if isinstance(outcome, SourceError):
                raise outcome
            return outcome
        return encoded(await self._result(_texts(captures)))

    async def load_many(
        self, keys: Sequence[bytes], captures: Sequence[Mapping[str, bytes] | None]
    ) -> list[Loaded | SourceError]:
        outcomes: list[Loaded | SourceError] = []
        given: list[tuple[int, dict[str, str]]] = []
        for at, words in enumerate(captures):
            outcomes.append(NO_SUCH_THING)
            try:
                given.append((at, _texts(words)))
            except SourceError as error:
                outcomes[at] = error
        if not given:
            return outcomes
        lists = {name: [words[name] for _, words in given] for name in given[0][1]}
        results = await self._result(lists)
        if not isinstance(results, list | tuple):
            raise SourceError(
                f"it returned a {type(results).__name__}, and with batch a list is wanted"
            )
        values = cast("Sequence[object]", results)
        if len(values) != len(given):
            raise SourceError(f"it returned {len(values)} values for {len(given)} keys")
        for (at, _), value in zip(given, values, strict=True):
            outcomes[at] = _outcome(value)
        return outcomes

    async def close(self) -> None:
        self._threads.close()

    async def _result(self, words: Mapping[str, object]) -> object:
        try:
            if self._is_async:
                result = self._function(**words)
            else:
                result = await self._threads.run(lambda: self._function(**words))
            return await result if inspect.isawaitable(result) else result
        except SourceError:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled us: something that the function waited for was.
            raise SourceError("the function's own work was cancelled") from None
        except BaseException as error:  # whatever the user's function raises, a panic of Rust's too
            raise SourceError(_told(error)) from error


def _texts(captures: Mapping[str, bytes] | None) -> dict[str, str]:
    """The captures as functions are given them."""
    if captures is None:
        raise SourceError("its match does not fit the key, so there are no captures of it")
    try:
        return {name: text.decode() for name, text in captures.items()}
    except UnicodeDecodeError:
        raise SourceError("the key is not UTF-8, and functions are given text") from None


def _outcome(result: object) -> Loaded | SourceError:
    """What a list has for one key; an exception in it is that key's failure."""
    try:
        if isinstance(result, Exception):
            raise SourceError(_told(result))
        return encoded(result)
    except SourceError as error:
        return error


def encoded(result: object) -> Loaded:
    """What a function returned as a value: bytes and text as they are, the rest as JSON."""
    if result is None:
        return NO_SUCH_THING
    kind = type(result).__name__
    try:
        if isinstance(result, bytes | bytearray | memoryview):
            value = bytes(cast("bytes | bytearray", result))
        elif isinstance(result, str):
            value = result.encode()
        else:
            value = json.dumps(
                result, ensure_ascii=False, allow_nan=False, separators=(",", ":")
            ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SourceError(f"its result, a {kind}, is no JSON: {said(str(error))}") from None
    if len(value) > BULK_MAX:
        raise SourceError(f"its result is larger than {BULK_MAX >> 20} MiB")
    return Loaded(value)


def _told(error: BaseException) -> str:
    """The exception and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{said(f'{type(error).__name__}: {error}'.removesuffix(': '))}{where}"


# --- Threads ----------------------------------------------------------------------------------

Outcome = tuple[object, BaseException | None]
Job = tuple[Callable[[], object], asyncio.Future[Outcome]]


class Threads:
    """Up to ``most`` threads, started as they are needed, kept until ``close``. A process does not
    wait for them at its end."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        # Counted on the loop only, so without a lock.
        self._started = 0
        self._busy = 0

    def __repr__(self) -> str:
        return f"<Threads busy={self._busy}/{self._most}>"

    async def run(self, call: Callable[[], object]) -> object:
        """What it returns or raises. Cancelled, the call runs on and its outcome is dropped."""
        if self._busy >= self._most:
            raise SourceError(f"{self._busy} earlier calls have not returned yet")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()
        self._busy += 1
        self._jobs.put((lambda: context.run(call), future))
        if self._busy > self._started:
            self._started += 1
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        result, error = await future
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Let them end once their calls return; one that hangs is left behind."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            call, future = job
            outcome: Outcome
            try:
                outcome = call(), None
            except BaseException as error:  # the loop's side tells what to do of it
                outcome = None, error
            try:
                future.get_loop().call_soon_threadsafe(self._returned, future, outcome)
            except RuntimeError:
                return  # the loop was closed meanwhile: nobody waits any more
            del job, call, future, outcome  # nothing is kept alive until the next call

    def _returned(self, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._busy -= 1
        if not future.done():
            future.set_result(outcome)
