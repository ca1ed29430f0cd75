"""The jobs of this process: work that runs behind its request, and is asked after by an id.

    start ─▶ RUNNING ─▶ DONE       it came to its end; what failed on the way it tells itself
                ├─────▶ FAILED     an error has ended it, or the end of its worker
                └─────▶ CANCELLED  by CANCEL, by the settings, or because the proxy stops
    any of these ─▶ forgotten, an hour later or for newer ones

Owns their states, their ids and their bounds. Whose a job is, is its ``Owner``: others neither see
nor end it. Its work is a task of its own, which neither the end of a client's connection nor that
of its request ends. Where a proxy has several workers each has its own jobs, and they are found on
the board by any."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

from ..errors import BadInput, CacheBusy, ProxyError
from ..log import event
from ..resp.replies import Value
from ..spans import OFF, Traces
from .board import RUNNING, SLOTS, Board, Owner, Place, Record

log = logging.getLogger(__name__)

RUNNING_MOST: Final = 32
KEPT_MOST: Final = 64  # that have ended
KEPT_S: Final = 3600.0
REQUESTS_MOST: Final = 256 << 20  # bytes of the requests that running ones are made of
WORKER_LOST: Final = BadInput("the worker that ran it has ended")
DEFECT: Final = BadInput("a defect in the proxy: see its log")

assert RUNNING_MOST + KEPT_MOST <= SLOTS

Start = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
Work = Callable[[], Coroutine[Any, Any, None]]
Show = Callable[[], Mapping[str, Value]]


class Counts(Protocol):
    def add(self, name: str, count: int = 1) -> None: ...


class State(Enum):
    RUNNING = RUNNING
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, eq=False)
class Job:
    """``result`` is what its end came to; until then ``show`` tells how far it is. ``slot``: where
    it stands on the board; None: there was no place."""

    id: str
    owner: Owner
    command: str
    total: int | None
    size: int
    slot: int | None
    show: Show | None
    task: asyncio.Task[None] | None = None
    state: State = State.RUNNING
    error: ProxyError | None = None
    result: Mapping[str, Value] = field(default_factory=dict[str, Value])
    ended: float = 0.0

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.command} {self.state.name}>"

    def end(self, state: State, now: float) -> None:
        """What it holds to go on is let go."""
        assert self.state is State.RUNNING, f"{self.state.name} -> {state.name}"
        self.result = self.record().within().result
        self.state, self.ended, self.show, self.task = state, now, None, None

    def record(self) -> Record:
        result = self.result if self.show is None else self.show()
        error = None if self.error is None else self.error.line[1:-2]
        state = self.state.value
        return Record(self.id, self.owner, self.command, state, self.total, result, error)


class Jobs:
    """All of a process. ``start`` runs tasks that the end of the process cancels."""

    def __init__(
        self, start: Start, clock: Callable[[], float], counts: Counts, traces: Traces = OFF
    ) -> None:
        self._start = start
        self._clock = clock
        self._counts = counts
        self._traces = traces
        self._place: Place = Board().place(0)
        self._slots = set(range(SLOTS))
        self._jobs: dict[str, Job] = {}  # in the order of their beginning

    def __repr__(self) -> str:
        return f"<Jobs running={self.running} known={len(self._jobs)}>"

    def join(self, place: Place) -> None:
        """Show them to other workers from now on, and take over what was left there: what an
        earlier worker of this place ran has ended with it."""
        self._place = place
        for slot, record in place.left():
            self._slots.discard(slot)
            owner, command, total = record.owner, record.command, record.total
            job = Job(record.id, owner, command, total, 0, slot, None, result=record.result)
            self._jobs[job.id] = job
            error = ProxyError(b"-" + record.error) if record.error is not None else None
            state = State(record.state)
            if state is State.RUNNING:
                state, error = State.FAILED, WORKER_LOST
                self._counts.add("jobs_failed")
            job.error = error
            job.end(state, self._clock())
            place.put(slot, job.record())

    @property
    def leads(self) -> bool:
        """Whether what one worker alone is to do is this one's."""
        return self._place.leads

    @property
    def first(self) -> bool:
        """Whether this worker is the first in its place."""
        return self._place.first

    @property
    def running(self) -> int:
        return sum(1 for _ in self._running())

    def _running(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if job.state is State.RUNNING)

    # --- Begin and end ------------------------------------------------------------------------

    def start(
        self,
        owner: Owner,
        command: str,
        work: Work,
        show: Show,
        *,
        total: int | None,
        size: int = 0,
        bounded: bool = True,
    ) -> str:
        """Begin a job, and return its id. CacheBusy: there are as many as may be. ``show`` gives
        its command's map so far; ``size`` is the bytes of its request. Not ``bounded``: the caller
        has few."""
        if bounded:
            self._check_room(size)
        self._forget()
        slot = self._slots.pop() if self._slots else None
        job = Job(secrets.token_hex(16), owner, command, total, size, slot, show)
        self._jobs[job.id] = job
        event(log, logging.INFO, "job began", job=job.id, command=command, db=owner.db)
        job.task = self._start(self._run(job, work))
        job.task.add_done_callback(lambda task: self._ended(job, task))
        self._put(job)
        return job.id

    def _check_room(self, size: int) -> None:
        running = list(self._running())
        if len(running) >= RUNNING_MOST:
            raise CacheBusy(f"{len(running)} jobs run already")
        if sum(job.size for job in running) + size > REQUESTS_MOST:
            raise CacheBusy(f"the jobs that run already hold {REQUESTS_MOST >> 20} MB of requests")

    async def _run(self, job: Job, work: Work) -> None:
        try:
            with self._traces.job(job.command, job.id, job.owner.db):
                await work()
        except ProxyError as error:
            job.error = error
        except Exception:
            log.exception("a job failed")
            job.error = DEFECT

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        """Called by the task, for one that is cancelled may never have begun."""
        if task.cancelled():
            state, job.error = State.CANCELLED, None
        else:
            if task.exception() is not None:
                job.error = DEFECT  # which tells its traceback itself
            state = State.DONE if job.error is None else State.FAILED
        job.end(state, self._clock())
        self._counts.add(f"jobs_{state.value}")
        why = {} if job.error is None else {"error": job.error}
        fields = {"job": job.id, "command": job.command, "state": state.value, **why}
        event(log, logging.INFO if job.error is None else logging.WARNING, "job ended", **fields)
        self._put(job)
        self._forget()

    def _forget(self) -> None:
        """Those that have ended: what is too old, and what is too much."""
        ended = sorted(
            (job for job in self._jobs.values() if job.state is not State.RUNNING),
            key=lambda job: job.ended,
        )
        oldest = self._clock() - KEPT_S
        for at, job in enumerate(ended):
            if job.ended > oldest and at >= len(ended) - KEPT_MOST:
                break
            del self._jobs[job.id]
            if job.slot is not None:
                self._place.clear(job.slot)
                self._slots.add(job.slot)

    def _put(self, job: Job) -> None:
        if job.slot is not None:
            self._place.put(job.slot, job.record())

    def tick(self) -> None:
        """Once a second: show how far they are, and end those whose end was asked for."""
        self._forget()
        for job in self._running():
            self._put(job)
            if job.slot is not None and self._place.asked_end(job.slot, job.id):
                self._cancel(job)

    @staticmethod
    def _cancel(job: Job) -> None:
        if job.task is not None:
            job.task.cancel()

    # --- Who asks -----------------------------------------------------------------------------

    def ids(self, owner: Owner, command: str) -> list[str]:
        """Those that run or have ended lately, of all workers."""
        return [record.id for record in self._records(owner, command)]

    def find(self, owner: Owner, command: str, id: str) -> Record | None:
        """The job, wherever it runs. None: there is none of that id, or it is another's."""
        return next((one for one in self._records(owner, command) if one.id == id), None)

    def cancel(self, owner: Owner, command: str, id: str) -> bool:
        """Have it end, within a second or two. False: it does not run, or is another's."""
        record = self.find(owner, command, id)
        if record is None or record.state != RUNNING:
            return False
        job = self._jobs.get(id)
        if job is not None:
            self._cancel(job)
        else:
            self._place.ask_end(record)
        return True

    def all(self, owner: Owner) -> Iterator[Record]:
        """All of an owner's, whatever their command."""
        self._forget()
        here = (job.record() for job in list(self._jobs.values()))
        return (one for one in itertools.chain(here, self._place.others()) if one.owner == owner)

    def _records(self, owner: Owner, command: str) -> Iterator[Record]:
        return (one for one in self.all(owner) if one.command == command)


class OwnJobs:
    """The jobs of one db and user, as its commands have them (custom/spec.py, Jobs)."""

    def __init__(self, jobs: Jobs, owner: Owner) -> None:
        self._jobs = jobs
        self._owner = owner

    def __repr__(self) -> str:
        return f"<OwnJobs {self._owner} of {self._jobs!r}>"

    def start(self, command: str, work: Work, show: Show, *, total: int | None, size: int) -> bytes:
        return self._jobs.start(self._owner, command, work, show, total=total, size=size).encode()

    def status(self, command: str, id: bytes) -> Mapping[str, Value] | None:
        record = self._jobs.find(self._owner, command, _text(id))
        return None if record is None else record.reply()

    def cancel(self, command: str, id: bytes) -> bool:
        return self._jobs.cancel(self._owner, command, _text(id))

    def ids(self, command: str) -> list[bytes]:
        return [id.encode() for id in self._jobs.ids(self._owner, command)]


def _text(id: bytes) -> str:
    return id.decode("latin-1")
