"""WARM and INVALIDATE behind their requests: the words that both have for jobs.

    WARM ASYNC ...                              id
    WARM STATUS id                              map: state, total, the command's own so far, error
    WARM CANCEL id                              1 | 0: it does not run
    WARM JOBS                                   ids
    INVALIDATE ASYNC [SOFT] PATTERN|TAG ...     and so on

What is behind ASYNC is read and checked as without it, and an id is given for what would begin. The
rest of a job is jobs/jobs.py's; what its work is, is that of warm.py and invalidate.py. An id that
is nobody's, or another's, is nil."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..proxy.custom.spec import Argument, Call, CommandSpec, Statistics
from ..proxy.custom.words import SYNTAX
from ..proxy.errors import BadInput, WrongArity
from ..proxy.keys.ours import tag_epoch_key, tag_key
from ..proxy.resp.replies import Value
from . import invalidate, warm

WORDS: Final = (b"ASYNC", b"STATUS", b"CANCEL", b"JOBS")
WORD_COST: Final = 64  # bytes beside its own that a word of a request takes

Work = Callable[[], Coroutine[Any, Any, None]]
Show = Callable[[], Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class Begin:
    """A request of the command's own, to be done behind; ``size``: the bytes of its words."""

    request: object
    size: int


@dataclass(frozen=True, slots=True)
class Status:
    id: bytes


@dataclass(frozen=True, slots=True)
class Cancel:
    id: bytes


@dataclass(frozen=True, slots=True)
class List:
    pass


Request = Begin | Status | Cancel | List


@dataclass(frozen=True, slots=True)
class Behind:
    """What a command that has jobs says of them. ``takes``: the requests that may be one;
    ``check`` raises what would refuse the request before it began; ``total`` counts its keys, where
    that is known; ``begun`` gives what to do, and how it comes on."""

    spec: CommandSpec
    takes: Callable[[Sequence[bytes], object], bool]
    check: Callable[[Call, object], Awaitable[None]]
    total: Callable[[object], int | None]
    begun: Callable[[Call], tuple[Work, Show]]

    @property
    def name(self) -> str:
        return self.spec.name.decode()

    def parse(self, words: Sequence[bytes]) -> object:
        word = words[1].upper() if len(words) > 1 else b""
        if word not in WORDS:
            return self.spec.parse(words)
        if word == b"ASYNC":
            return self._begin([words[0], *words[2:]])
        if len(words) != (2 if word == b"JOBS" else 3):
            raise WrongArity(f"{self.name}|{word.decode()}")
        if word == b"JOBS":
            return List()
        return Status(words[2]) if word == b"STATUS" else Cancel(words[2])

    def _begin(self, words: Sequence[bytes]) -> Begin:
        if len(words) < 2:
            raise WrongArity(f"{self.name}|async")
        if words[1].upper() in WORDS:
            raise BadInput(SYNTAX)
        request = self.spec.parse(words)
        if not self.takes(words, request):
            raise BadInput(SYNTAX)
        return Begin(request, sum(map(len, words)) + WORD_COST * len(words))

    def key_names(self, words: Sequence[bytes]) -> Sequence[bytes]:
        word = words[1].upper() if len(words) > 1 else b""
        if word in WORDS and word != b"ASYNC":
            return ()
        assert self.spec.key_names is not None
        return self.spec.key_names([words[0], *words[2:]] if word == b"ASYNC" else words)

    def sends(self, request: object) -> int:
        return 0 if isinstance(request, Request) else self.spec.sends(request)

    async def run(self, call: Call) -> Value:
        request = call.request
        match request:
            case Begin():
                return await self._run(replace(call, request=request.request), request.size)
            case Status():
                return call.jobs.status(self.name, request.id)
            case Cancel():
                return int(call.jobs.cancel(self.name, request.id))
            case List():
                return call.jobs.ids(self.name)
            case _:
                return await self.spec.run(call)

    async def _run(self, call: Call, size: int) -> bytes:
        await self.check(call, call.request)
        work, show = self.begun(call)
        total = self.total(call.request)
        return call.jobs.start(self.name, work, show, total=total, size=size)


def with_jobs(behind: Behind, *forms: Argument) -> CommandSpec:
    """The command with those words too; ``forms``: the arguments that may stand behind ASYNC."""
    spec = behind.spec
    (what,) = spec.arguments
    job = Argument("id", "string")
    words = (
        Argument(
            "behind",
            "block",
            token="ASYNC",
            arguments=(Argument("work", "oneof", arguments=forms),),
        ),
        Argument("status", "block", token="STATUS", arguments=(job,)),
        Argument("cancel", "block", token="CANCEL", arguments=(job,)),
        Argument("jobs", "pure-token", token="JOBS"),
    )
    return replace(
        spec,
        parse=behind.parse,
        run=behind.run,
        sends=behind.sends,
        key_names=behind.key_names,
        arguments=(replace(what, arguments=(*what.arguments, *words)),),
    )


# --- WARM -------------------------------------------------------------------------------------


async def _check_loader(call: Call, request: object) -> None:
    """A loader that is not there is told at once; what a user may not load, each key tells."""
    if isinstance(request, warm.Loads) and request.loader is not None:
        call.loads.named(request.loader)


def _keys_of(request: object) -> int:
    assert isinstance(request, warm.Loads | warm.Values)
    return len(request.keys)


WARM: Final = with_jobs(
    Behind(
        warm.SPEC,
        takes=lambda words, request: True,
        check=_check_loader,
        total=_keys_of,
        begun=warm.begun,
    ),
    *warm.SPEC.arguments[0].arguments,
)


# --- INVALIDATE -------------------------------------------------------------------------------


class Counted:
    """The statistics, and how many keys were counted there as removed."""

    def __init__(self, stats: Statistics) -> None:
        self._stats = stats
        self.removed = 0

    def add(self, name: str, count: int = 1) -> None:
        self._stats.add(name, count)
        if name == "invalidated":
            self.removed += count

    def read(self, *, hit: bool) -> None:
        self._stats.read(hit=hit)

    async def show(self) -> Mapping[str, Value]:
        return await self._stats.show()

    async def reset(self) -> None:
        await self._stats.reset()


async def _check_rights(call: Call, request: object) -> None:
    """Whether the user may ask what comes first. What it may not remove shows as it is found, as
    without ASYNC."""
    if isinstance(request, invalidate.Patterns):
        await call.bulk.ask(b"SCAN", b"0", b"MATCH", request.globs[0], b"COUNT", b"1")
    elif isinstance(request, invalidate.Tags):
        for tag in request.tags:
            keys = tag_key(tag), tag_epoch_key(tag)
            await call.bulk.run(warm.MAY, keys, (b"set", keys[1], b""))


def _removing(call: Call) -> tuple[Work, Show]:
    counted, began = Counted(call.stats), call.now()

    async def work() -> None:
        removed = await invalidate.run(replace(call, stats=counted))
        assert isinstance(removed, int)
        counted.removed = removed

    def show() -> Mapping[str, Value]:
        return {"removed": counted.removed, "elapsed_ms": int((call.now() - began) * 1000)}

    return work, show


INVALIDATE: Final = with_jobs(
    Behind(
        invalidate.SPEC,
        takes=lambda words, request: not isinstance(request, invalidate.Keys),
        check=_check_rights,
        total=lambda request: None,
        begun=_removing,
    ),
    *invalidate.BY_NAME,
    Argument("soft", "oneof", token="SOFT", arguments=invalidate.BY_NAME),
)
