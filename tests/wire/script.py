"""Scripts of wire traffic: how they are written, and how one is played through a port.

A script is a paragraph of a file in scripts/. Its first line is ``== title`` with optional tags in
braces: {redis} or {valkey} (only there), {resp2} or {resp3} (only so). Then one step a line:

    SET k v                    a command; words quoted as in redis-cli, "x"*100 repeats
    b> GET k                   the same on a second connection, opened when first named
    [2] SUBSCRIBE x y          wait for two replies (default 1); [1/2]: RESP2 / RESP3
    @raw [1] "PING\\r\\n"        bytes as they are; @slowly: one byte per packet
    @read [1]                  wait for a reply more, sending nothing
    @closed                    the peer has closed the connection
    @blocked 1                 wait until the server has one blocked client
    RESTORE k 0 %last          %last: the text of the reply before, on that connection

Comments begin with ``#``. This module compares nothing: test_scripts.py does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from .frames import payload
from .link import Link, command

FOLDER = Path(__file__).parent / "scripts"


class Action(Enum):
    COMMAND = ""
    RAW = "@raw"
    SLOWLY = "@slowly"
    READ = "@read"
    CLOSED = "@closed"
    BLOCKED = "@blocked"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a script."""

    where: str
    text: str
    link: str
    action: Action
    words: tuple[bytes, ...]
    counts: tuple[int, int]

    def expected(self, resp: int) -> int:
        return self.counts[resp - 2]


@dataclass(frozen=True, slots=True)
class Script:
    """One paragraph: the steps played on fresh connections against a fresh server."""

    title: str
    tags: frozenset[str]
    steps: tuple[Step, ...]

    def runs_on(self, kind: str, resp: int) -> bool:
        """Whether the tags allow this server and this protocol."""
        kinds = self.tags & {"redis", "valkey"}
        protocols = self.tags & {"resp2", "resp3"}
        return (not kinds or kind in kinds) and (not protocols or f"resp{resp}" in protocols)


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back for one step; ``stuck``: something owed did not come, and play ended."""

    step: Step
    frames: tuple[bytes, ...]
    note: str = ""
    stuck: bool = False


WORD = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\*(\d+))?|(\S+)', re.S)
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.S)
LINE = re.compile(r"(?:(\w+)> )?(@\w+ ?)?(?:\[(\d+)(?:/(\d+))?\] ?)?(.*)", re.S)
NAMED = {"n": "\n", "r": "\r", "t": "\t"}


def unquote(text: str) -> bytes:
    def plain(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 3 else NAMED.get(code, code)

    return ESCAPE.sub(plain, text).encode("latin-1")


def words_of(text: str) -> tuple[bytes, ...]:
    """The words of a line; a quoted word may hold anything and be repeated with ``*n``."""
    found: list[bytes] = []
    for match in WORD.finditer(text):
        quoted, times, bare = match.groups()
        word = bare.encode() if bare is not None else unquote(quoted)
        found.append(word * int(times or 1))
    return tuple(found)


def step_of(where: str, text: str) -> Step:
    match = LINE.fullmatch(text)
    assert match, f"{where}: {text}"
    link, action, resp2, resp3, rest = match.groups()
    kind = Action((action or "").strip())
    words = words_of(rest)
    usual = 0 if kind in (Action.CLOSED, Action.BLOCKED) else 1
    first = int(resp2) if resp2 else usual
    return Step(where, text, link or "a", kind, words, (first, int(resp3) if resp3 else first))


def scripts_in(path: Path) -> Iterator[Script]:
    title, tags, steps = "", frozenset[str](), list[Step]()
    for number, line in enumerate([*path.read_text().splitlines(), "== "], 1):
        if line.startswith("== "):
            if steps:
                yield Script(f"{path.stem}: {title}", tags, tuple(steps))
            tags = frozenset(re.findall(r"\{(\w+)\}", line))
            title, steps = re.sub(r"\s*\{\w+\}", "", line[3:]).strip(), []
        elif line.strip() and not line.startswith("#"):
            steps.append(step_of(f"{path.name}:{number}", line.strip()))


def all_scripts(pattern: str = "*.txt") -> list[Script]:
    return [script for path in sorted(FOLDER.glob(pattern)) for script in scripts_in(path)]


class Behind(Protocol):
    """Who looks at the server from behind (link.Control)."""

    def wait_blocked(self, count: int) -> None: ...


class Player:
    """Plays scripts through one port; ``control`` looks at the server behind it."""

    def __init__(self, port: int, control: Behind, resp: int) -> None:
        self.port = port
        self.control = control
        self.resp = resp
        self.links: dict[str, Link] = {}
        self.last: dict[str, bytes] = {}

    def play(self, script: Script) -> list[Heard]:
        """What each step heard, then what each connection still said before it was closed."""
        self.links, self.last = {}, {}
        with ExitStack() as stack:
            heard: list[Heard] = []
            for step in script.steps:
                heard.append(self._step(step, stack))
                if heard[-1].stuck:
                    return heard
            for name, link in self.links.items():
                heard.append(Heard(LEFT, (), f"{name}: {link.finish()!r} and the close"))
        if any(step.action is Action.BLOCKED for step in script.steps):
            heard.append(self._wait_blocked(LEFT, 0))
        return heard

    def _open(self, name: str, stack: ExitStack) -> Link:
        if name not in self.links:
            link = self.links[name] = stack.enter_context(closing(Link(self.port)))
            if self.resp == 3:
                link.ask("HELLO", 3)
        return self.links[name]

    def _step(self, step: Step, stack: ExitStack) -> Heard:
        if step.action is Action.BLOCKED:
            return self._wait_blocked(step, int(step.words[0]))
        link = self._open(step.link, stack)
        if step.action is Action.CLOSED:
            rest = link.rest()
            note = "still open" if rest is None else f"closed after {rest!r}"
            return Heard(step, (), note, stuck=rest is None)
        for data in self._bytes(step):
            link.send(data)
        wanted = step.expected(self.resp)
        frames = link.read(wanted)
        if frames and frames[-1][:1] in b"$+-:":
            self.last[step.link] = payload(frames[-1])
        missing = wanted - len(frames)
        note = f"{missing} replies missing, {link}" if missing else ""
        return Heard(step, tuple(frames), note, stuck=bool(missing))

    def _wait_blocked(self, step: Step, count: int) -> Heard:
        try:
            self.control.wait_blocked(count)
        except AssertionError as error:
            return Heard(step, (), str(error), stuck=True)
        return Heard(step, ())

    def _bytes(self, step: Step) -> list[bytes]:
        words = [self.last[step.link] if word == b"%last" else word for word in step.words]
        match step.action:
            case Action.COMMAND:
                return [command(*words)]
            case Action.RAW:
                return [b"".join(words)]
            case Action.SLOWLY:
                return [bytes([byte]) for byte in b"".join(words)]
            case _:
                return []


LEFT = Step("end", "(when the script was over)", "a", Action.READ, (), (0, 0))
