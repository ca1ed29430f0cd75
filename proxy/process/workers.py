"""The worker processes that share the listening addresses (listen.py).

    parent ── fork ──▶ worker 0, 1, ...   each with a SO_REUSEPORT socket of its own for each TCP
      ▲  │                 │              address; unix sockets are bound once, by the parent
      │  └── leash ───────▶│              a pipe nobody writes to: its end says the parent is gone
      └───── reports ──────┘              a line each: ready, or why not

The parent is plain synchronous code, without event loop or thread, so that it may fork at any time.
It serves nobody: it starts workers, replaces those that die, and passes on the signal to stop. cli
makes it, and hands in what a worker does."""

from __future__ import annotations

import contextlib
import enum
import logging
import math
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NoReturn

from ..errors import ExitCode, StartError, one_line
from ..log import event
from ..settings.address import Listen, Tcp, Unix
from ..settings.config import retry_delay
from .listen import Doors, bound, opened
from .signals import OTHERS, STOP, heard, name_of, tell_ignored

log = logging.getLogger(__name__)

# Told the upstream's version once a worker serves.
Ready = Callable[[str], None]
# A worker's life: its index, its sockets, whom to tell; the value is its exit status.
Work = Callable[[int, Doors[socket.socket], Ready], int]

_SETTLED = 2.0  # seconds after which a death is a new misfortune, not a failed restart
GIVE_UP = 20  # restarts of one worker in a row, in some 10 s: then another would not help
_GRACE = 2.0  # what workers get beyond their drain before they are killed


class Stage(enum.Enum):
    """Of the parent. Starting ends when every worker is ready; until then a death is final."""

    STARTING = enum.auto()
    SERVING = enum.auto()
    STOPPING = enum.auto()


class State(enum.Enum):
    """Of a worker. Dead is for the length of the restart delay, gone is for good."""

    STARTING = enum.auto()
    READY = enum.auto()
    DEAD = enum.auto()
    GONE = enum.auto()


MOVES = {
    State.STARTING: {State.READY, State.DEAD, State.GONE},
    State.READY: {State.DEAD, State.GONE},
    State.DEAD: {State.STARTING, State.GONE},
    State.GONE: set[State](),
}


@dataclass(slots=True)
class Worker:
    """A worker as its parent sees it; the index outlives the processes that take it up. Times are
    seconds by time.monotonic."""

    index: int
    pid: int = 0
    state: State = State.DEAD
    attempt: int = 0  # restarts without a life of _SETTLED in between
    since: float = 0.0  # when it was started last
    due: float = 0.0  # when it is to be started again
    failure: StartError | None = None  # what it reported

    def become(self, state: State) -> None:
        """Move to the state, which MOVES must allow."""
        assert state in MOVES[self.state], f"{self.state.name} -> {state.name}"
        self.state = state

    @property
    def alive(self) -> bool:
        """Whether there is a process to signal and to wait for."""
        return self.state in (State.STARTING, State.READY)


class Workers:
    """The parent of the workers. Entering takes the addresses, so that one in use is found at once
    (StartError); ``run`` returns when a signal has ended every worker; leaving kills what is left
    of them. ``ready`` is called once, when all workers are, with the addresses and the upstream's
    version. ``drain_timeout`` is in seconds; ``reload`` is called at SIGHUP, and says whether
    workers are to read the settings again too; ``stopping`` as the first signal to stop has
    come."""

    def __init__(
        self,
        count: int,
        addresses: Doors[Listen],
        *,
        work: Work,
        ready: Callable[[Doors[Listen], str], None],
        drain_timeout: Callable[[], float],
        reload: Callable[[], bool] = lambda: False,
        stopping: Callable[[], None] = lambda: None,
        http_optional: bool = False,
    ) -> None:
        self._workers = [Worker(index) for index in range(count)]
        self._addresses = addresses
        self._http_optional = http_optional
        self._work = work
        self._ready = ready
        self._drain_timeout = drain_timeout
        self._reload = reload
        self._stopping = stopping
        self._stage = Stage.STARTING
        self._deadline = math.inf  # of stopping
        self._signals: list[int] = []
        self._half_read = b""
        self._gave_up: StartError | None = None
        self._stack = contextlib.ExitStack()

    def __repr__(self) -> str:
        states = " ".join(f"{worker.index}:{worker.state.name}" for worker in self._workers)
        return f"<Workers {self._stage.name} {states}>"

    def __enter__(self) -> Workers:
        with contextlib.ExitStack() as stack:
            # Sharing a port would also join a stranger's: alone, we learn whether it is taken.
            tcp = self._addresses.only(Tcp)
            with opened(tcp, http_optional=self._http_optional) as probe:
                self._tcp = bound(probe)
            self._unix = stack.enter_context(opened(self._addresses.only(Unix)))
            self._leash = _pipe(stack)
            self._reports = _pipe(stack)
            self._alarm = _pipe(stack)  # a byte for each signal, SIGCHLD too: wakes select
            for end in (*self._reports, *self._alarm):
                os.set_blocking(end, False)
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, tend: Callable[[float], float | None] | None) -> int:
        """Serve until a signal says stop; the value is the exit code. StartError: a worker cannot
        start at the first try, or in GIVE_UP restarts. ``tend`` is called with the time at every
        turn, and says when it wants the next."""
        with self._catching_signals():
            while any(worker.state is not State.GONE for worker in self._workers):
                self._turn(tend)
        if self._gave_up is not None:
            raise self._gave_up
        return ExitCode.ALL_DONE

    def _turn(self, tend: Callable[[float], float | None] | None) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.state is State.DEAD and now >= worker.due:
                self._start(worker, now)
        self._wait(now, tend(now) if tend is not None else None)
        now = time.monotonic()
        # In this order: a worker reports before it ends, so its reason is known when it is lost.
        ended = self._reap()
        self._read_reports()
        for worker, _ in ended:
            worker.become(State.DEAD)
        while self._signals:
            self._heed(self._signals.pop(0), now)
        if self._stage is not Stage.STOPPING:
            for worker, status in ended:
                self._lost(worker, status, now)
            return
        for worker in self._workers:
            if worker.state is State.DEAD:
                worker.become(State.GONE)
        if now >= self._deadline:
            self._deadline = math.inf
            self._kill()

    def _wait(self, now: float, tend_due: float | None) -> None:
        dues = [worker.due for worker in self._workers if worker.state is State.DEAD]
        due = min(*dues, self._deadline, math.inf if tend_due is None else tend_due)
        timeout = None if due == math.inf else max(0.0, due - now)
        select.select([self._alarm[0], self._reports[0]], [], [], timeout)
        with contextlib.suppress(BlockingIOError):
            os.read(self._alarm[0], 4096)

    def _reap(self) -> list[tuple[Worker, int]]:
        ended: list[tuple[Worker, int]] = []
        for worker in self._workers:
            if worker.alive:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid:
                    ended.append((worker, os.waitstatus_to_exitcode(status)))
        return ended

    def _read_reports(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._half_read += os.read(self._reports[0], 65536)
        *lines, self._half_read = self._half_read.split(b"\n")
        for line in lines:
            index, code, text = line.decode("utf-8", "replace").split("\t", 2)
            worker = self._workers[int(index)]
            if ExitCode(int(code)) is ExitCode.ALL_DONE:
                self._is_ready(worker, text)
            else:
                worker.failure = StartError(text, int(code))

    def _is_ready(self, worker: Worker, version: str) -> None:
        worker.become(State.READY)
        if self._stage is Stage.SERVING:
            event(log, logging.INFO, "worker ready", worker=worker.index, pid=worker.pid)
        if self._stage is Stage.STARTING and all(
            other.state is State.READY for other in self._workers
        ):
            self._stage = Stage.SERVING
            self._ready(self._tcp + bound(self._unix), version)

    def _lost(self, worker: Worker, status: int, now: float) -> None:
        ended = f"exit status {status}" if status >= 0 else name_of(-status)
        if self._stage is Stage.STARTING:
            raise worker.failure or StartError(
                f"worker {worker.index} ended: {ended}", ExitCode.SOME_FAILED
            )
        worker.attempt = 1 if now - worker.since > _SETTLED else worker.attempt + 1
        worker.due = now + retry_delay(worker.attempt)
        why = {"error": worker.failure} if worker.failure else {}
        event(log, logging.ERROR, "worker lost", worker=worker.index, ended=ended, **why)
        if worker.attempt > GIVE_UP:
            event(log, logging.ERROR, "worker given up", worker=worker.index, ended=ended)
            text = f"worker {worker.index} ended {worker.attempt} times at once: {ended}"
            self._gave_up = worker.failure or StartError(text, ExitCode.SOME_FAILED)
            self._stop(now)

    def _heed(self, number: int, now: float) -> None:
        if number == signal.SIGCHLD:  # it has woken us, which is all that it is for
            return
        if number == signal.SIGHUP and self._stage is Stage.SERVING:
            if self._reload():
                self._pass_on(number)
            return
        if number not in STOP:
            tell_ignored(number)
            return
        if self._stage is Stage.STOPPING:  # asked twice: no more patience
            self._deadline = now
            return
        event(log, logging.INFO, "stopping workers", signal=name_of(number))
        self._stop(now)

    def _stop(self, now: float) -> None:
        """Have all workers end; none is started again."""
        self._stage = Stage.STOPPING
        self._deadline = now + self._drain_timeout() + _GRACE
        self._stopping()
        self._pass_on(signal.SIGTERM)
        for worker in self._workers:
            if worker.state is State.DEAD:
                worker.become(State.GONE)

    def _pass_on(self, number: int) -> None:
        for worker in self._workers:
            if worker.alive:
                os.kill(worker.pid, number)

    def _kill(self) -> None:
        """End those that are still there, without asking."""
        for worker in self._workers:
            if worker.alive:
                event(log, logging.WARNING, "worker killed", worker=worker.index, pid=worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    def _end(self) -> None:
        self._kill()
        for worker in self._workers:
            if worker.alive:
                os.waitpid(worker.pid, 0)
                worker.become(State.GONE)

    @contextlib.contextmanager
    def _catching_signals(self) -> Generator[None]:
        wakeup = signal.set_wakeup_fd(self._alarm[1], warn_on_full_buffer=False)
        try:
            with heard((*STOP, signal.SIGCHLD, *OTHERS), self._signals.append):
                yield
        finally:
            signal.set_wakeup_fd(wakeup)

    # --- What runs in the child

    def _start(self, worker: Worker, now: float) -> None:
        worker.become(State.STARTING)
        worker.since, worker.failure = now, None
        sys.stdout.flush()
        sys.stderr.flush()
        # Held back until the child has put the parent's handlers aside: none is lost between.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
        worker.pid = os.fork()
        if worker.pid == 0:
            self._be(worker.index)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def _be(self, index: int) -> NoReturn:
        """Live a worker's whole life. Never returns: behind the call is the parent's code."""
        status: int = ExitCode.SOME_FAILED
        try:
            self._let_go_of_the_parent()
            with opened(self._tcp, share_ports=True) as own:
                status = self._work(
                    index,
                    own + self._unix,
                    lambda text: self._report(index, ExitCode.ALL_DONE, text),
                )
        except StartError as error:
            status = error.exit_code
            self._report(index, error.exit_code, str(error))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _let_go_of_the_parent(self) -> None:
        # Ctrl-C reaches a whole process group: the parent passes it on, once.
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*STOP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        os.close(self._leash[1])
        threading.Thread(target=self._end_with_the_parent, name="leash", daemon=True).start()

    def _end_with_the_parent(self) -> None:
        os.read(self._leash[0], 1)
        os._exit(ExitCode.SOME_FAILED)

    def _report(self, index: int, code: ExitCode, text: str) -> None:
        # Below PIPE_BUF, so that it is written whole.
        os.write(self._reports[1], f"{index}\t{code}\t{one_line(text)}".encode()[:2000] + b"\n")


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """The reading and the writing end of a pipe, closed with the stack."""
    ends = os.pipe()
    for end in ends:
        stack.callback(os.close, end)
    return ends
