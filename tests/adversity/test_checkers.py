"""The clients of the chaos run: what they take for wrong, and what not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from . import checkers
from .checkers import Checker, Club, Counting, Pushing, Refused, Unknown, Versioned


class Server:
    """A server in the place of a checker's connection: the next command has an outcome of these."""

    def __init__(self) -> None:
        self.made, self.name, self.last = 1, "here", list[Any]()
        self.store = dict[str, Any]()
        self.late = list[Callable[[], object]]()
        self.outcomes = list[str]()

    async def ask(self, name: str, key: str, *more: Any) -> Any:
        def do() -> Any:
            if name == "INCR":
                self.store[key] = self.store.get(key, 0) + 1
            elif name == "RPUSH":
                self.store.setdefault(key, []).append(more[0])
                return len(self.store[key])
            elif name == "SET":
                self.store[key] = more[0].encode()
            elif name == "LRANGE":
                return self.store.get(key, [])
            return self.store.get(key)

        outcome = self.outcomes.pop(0) if self.outcomes else "done"
        if outcome == "refused":
            raise Refused
        if outcome == "late":
            self.late.append(do)
            raise Unknown
        if outcome in ("lost", "twice"):
            do()
        if outcome == "lost":
            raise Unknown
        return do()


async def checked(kind: type[Checker], *outcomes: str) -> list[str]:
    """What is wrong where commands end so; ``then`` has the late ones done."""
    club = Club([0], count=0, deadline=1, seed=1)
    made = kind(club, 0, 0, 1)
    server = made.line = Server()  # type: ignore[assignment]  # as much as is asked
    for outcome in outcomes:
        if outcome == "then":
            for do in server.late:
                do()
            continue
        server.outcomes.append(outcome)
        try:
            await made.round()
        except (Unknown, Refused):
            continue
        made.rounds += 1
    await made.verify(made.line)
    return club.wrong


@pytest.mark.parametrize("kind", [Counting, Pushing])
@pytest.mark.parametrize(
    "outcomes",
    [
        ("done", "done", "refused", "done"),
        ("done", "lost", "done", "done"),
        ("done", "late", "done", "then", "done", "done"),  # overtaken
        ("done", "late", "done"),  # never done
        ("done", "late", "lost", "late", "done", "then", "done"),
    ],
)
async def test_what_is_unknown_may_be_done_once_or_not_and_late(
    kind: type[Checker], outcomes: tuple[str, ...]
) -> None:
    assert await checked(kind, *outcomes) == []


@pytest.mark.parametrize("kind", [Counting, Pushing])
@pytest.mark.parametrize(
    "outcomes",
    [("done", "twice", "done"), ("twice",), ("done", "late", "done", "then", "then", "done")],
)
async def test_what_is_done_twice_is_wrong(kind: type[Checker], outcomes: tuple[str, ...]) -> None:
    assert await checked(kind, *outcomes)


@pytest.mark.parametrize("kind", [Counting, Pushing])
async def test_what_is_late_for_long_is_wrong(
    kind: type[Checker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkers, "LATE_S", -1.0)

    assert await checked(kind, "done", "late", "done", "then", "done")


@pytest.mark.parametrize(
    ("versions", "right"),
    [
        ((4, 3), True),  # 3 was unknown, and has been overtaken by 4
        ((4, 2), False),
        ((5,), False),  # nobody has written it
    ],
)
async def test_an_older_version_is_wrong_unless_its_write_was_unknown(
    versions: tuple[int, ...], right: bool
) -> None:
    club = Club([0], count=0, deadline=1, seed=1)
    made = Versioned(club, 0, 0, 1)
    server = made.line = Server()  # type: ignore[assignment]  # as much as is asked
    made.rng.random = lambda: 0.0  # type: ignore[method-assign]  # it writes
    for outcome in ("done", "done", "late", "done"):
        server.outcomes.append(outcome)
        with contextlib.suppress(Unknown):
            await made.round()
    made.rng.random = lambda: 1.0  # type: ignore[method-assign]  # it reads

    for version in versions:
        server.store[made.key] = made.value(version).encode()
        await made.round()

    assert (club.wrong == []) is right
