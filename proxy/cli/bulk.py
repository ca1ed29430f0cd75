"""``nearhit warm`` and ``nearhit invalidate``: WARM and INVALIDATE at the terminal, for many keys.

Owns the batches in which keys are sent (a stream: however many there are, few are in memory) and
what is told on stderr. What is done to a key is the proxy's business: one that runs, or one of our
own in front of ``--upstream`` (reach.py). bulk_words.py reads the words, bulk_keys.py finds the
keys, bulk_tally.py counts, and bulk_dry.py looks without doing. main.py calls ``run``."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NoReturn, Protocol, cast

from ..errors import ExitCode, StartError
from ..process.signals import heard
from .bulk_dry import found_by
from .bulk_keys import Loaders, Mistake, keys_of
from .bulk_tally import Tally
from .bulk_words import parser
from .progress import Progress, shown
from .reach import Link, Refused, linked, own_proxy
from .terminal import complain

BATCH_MOST: Final = 500
# A batch is to take about so long: the bar moves, and the end of a batch, where the last loads run
# without company, is a small part of it.
SHORT, LONG = 0.25, 1.0


def run(command: str, words: Sequence[str]) -> int:
    """Run ``warm`` or ``invalidate``; the value is the exit code. Takes SIGTERM, and a
    terminal that hangs up, as Ctrl-C."""
    options = parser(command).parse_intermixed_args(words)
    with heard((signal.SIGTERM, signal.SIGHUP), _interrupt):
        return _run(command, options)


def _run(command: str, options: argparse.Namespace) -> int:
    job: Job = Warm(options) if command == "warm" else Invalidate(options)
    try:
        with contextlib.ExitStack() as stack:
            job.open(stack)
            url = options.proxy
            if options.upstream is not None:
                url = stack.enter_context(own_proxy(options.upstream, options.config))
            link = stack.enter_context(linked(url, options.upstream))
            job.tally.began = time.monotonic()
            job.work(link, stack.enter_context(shown(command, job.total)))
    except Mistake as error:
        complain(*str(error).splitlines())
        return ExitCode.BAD_SETTINGS
    except StartError as error:
        job.tally.tell()
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        job.tally.tell()
        complain("stopped before the end")
        return ExitCode.SOME_FAILED
    job.tally.tell(always=True)
    return ExitCode.SOME_FAILED if job.tally.failed else ExitCode.ALL_DONE


def _interrupt(number: int) -> NoReturn:
    raise KeyboardInterrupt


# --- What is done -----------------------------------------------------------------------------


class Batches:
    """Keys in batches of at least ``least``, as many in each as are done in about half a
    second."""

    def __init__(self, keys: Iterator[bytes], least: int) -> None:
        self._keys = keys
        self._least = min(least, BATCH_MOST)
        self.size = min(4 * least, BATCH_MOST)

    def __iter__(self) -> Iterator[list[bytes]]:
        while batch := list(itertools.islice(self._keys, self.size)):
            began = time.monotonic()
            yield batch
            self.adapt(time.monotonic() - began)

    def adapt(self, seconds: float) -> None:
        """Choose the next size by how long the last batch took."""
        if seconds < SHORT:
            self.size = min(2 * self.size, BATCH_MOST)
        elif seconds > LONG:
            self.size = max(self.size // 2, self._least)


class Looks:
    """How long to wait until a job is looked at again: small ones end at once."""

    def __init__(self) -> None:
        self._seconds = 0.002

    def wait(self) -> None:
        time.sleep(self._seconds)
        self._seconds = min(2 * self._seconds, SHORT)


class Job(Protocol):
    """What a command does between its words and its summary."""

    tally: Tally
    total: int | None  # keys, for the bar; None: only the end will tell

    def open(self, stack: contextlib.ExitStack) -> None:
        """Find the keys before anything is sent. Mistake, StartError: there will be none."""

    def work(self, link: Link, progress: Progress) -> None:
        """Send all keys. Mistake: the request itself is wrong. StartError: the proxy is lost."""


class Warm:
    """WARM ... KEYS, batch after batch (a Job)."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tally = Tally("warmed")
        self.total: int | None = None
        self._given = options
        self._keys: Iterator[bytes] = iter(())

    def open(self, stack: contextlib.ExitStack) -> None:
        given = self._given
        loaders = Loaders(given.config, given.loader)
        keys = keys_of(given.keys, given.source, given.pattern, loaders, stack)
        self.total, self._keys = keys.count, keys.stream

    def work(self, link: Link, progress: Progress) -> None:
        options = list(self._options())
        for batch in Batches(self._keys, self._given.concurrency):
            try:
                reply = link.ask(b"WARM", *options, b"KEYS", *batch)
            except Refused as error:
                # Nothing was done: the request itself is wrong, and the next would be too.
                raise Mistake(str(error)) from None
            self._count(cast("Mapping[bytes, object]", reply))
            progress.advance(len(batch), self.tally.remark)

    def _options(self) -> Iterator[bytes]:
        given = self._given
        if given.ttl is not None:
            yield from (b"PX", b"%d" % round(given.ttl * 1000))
        if given.loader is not None:
            yield from (b"LOADER", os.fsencode(given.loader))
        yield from (b"CONCURRENCY", b"%d" % given.concurrency)
        if given.refresh:
            yield b"REFRESH"

    def _count(self, reply: Mapping[bytes, object]) -> None:
        def number(name: bytes) -> int:
            return int(cast(int, reply[name]))

        self.tally.requested += number(b"requested")
        self.tally.failed += number(b"failed")
        self.tally.add(
            loaded=number(b"loaded"), skipped=number(b"skipped"), not_found=number(b"not_found")
        )
        for key, why in cast("Sequence[tuple[bytes, bytes]]", reply[b"errors"]):
            self.tally.fail(key, why.decode("utf-8", "replace"))


class Invalidate:
    """INVALIDATE KEYS, batch after batch; then INVALIDATE ASYNC PATTERN and TAG, one at a time,
    which tell how far they are, and end where we end (a Job). ``--dry-run`` looks instead."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._dry, self._soft = bool(options.dry_run), bool(options.soft)
        self._done = "removed_or_made_stale" if self._soft else "removed"
        self.tally = Tally("dry run:" if self._dry else "invalidated")
        self.total: int | None = None
        self._given = options
        self._named: Sequence[tuple[bytes, bytes]] = [
            *((b"PATTERN", os.fsencode(pattern)) for pattern in options.pattern),
            *((b"TAG", os.fsencode(tag)) for tag in options.tag),
        ]
        self._keys: Iterator[bytes] = iter(())

    def open(self, stack: contextlib.ExitStack) -> None:
        given = self._given
        if given.keys or given.source is not None or not self._named:
            keys = keys_of(given.keys, given.source, (), Loaders(None, None), stack)
            self._keys = keys.stream
            # How many match a pattern shows when they are gone.
            self.total = None if self._named else keys.count

    def work(self, link: Link, progress: Progress) -> None:
        if self._dry:
            self._look(link, progress)
            return
        self.tally.add(**{self._done: 0})
        soft = [b"SOFT"] if self._soft else []
        for batch in Batches(self._keys, BATCH_MOST):
            self._ask(link, [*soft, b"KEYS", *batch], batch)
            self.tally.requested += len(batch)
            progress.advance(len(batch), self.tally.remark)
        for form, name in self._named:
            try:
                self._remove(link, [*soft, form, name], progress)
            except Refused as error:
                self._failed([name], str(error))

    def _look(self, link: Link, progress: Progress) -> None:
        would = f"would_be_{self._done}"
        self.tally.add(**{would: 0})
        batches = iter(Batches(self._keys, BATCH_MOST))
        for form, names in itertools.chain(
            ((b"KEYS", batch) for batch in batches), ((form, [name]) for form, name in self._named)
        ):
            try:
                for looked, found in found_by(link, form, names):
                    self.tally.requested += looked
                    self.tally.add(**{would: len(found)})
                    self.tally.show(found)
                    progress.advance(looked, self.tally.remark)
            except Refused as error:
                self._failed(names, str(error))

    def _ask(self, link: Link, words: Sequence[bytes], named: Sequence[bytes]) -> None:
        try:
            self.tally.add(**{self._done: cast(int, link.ask(b"INVALIDATE", *words))})
        except Refused as error:
            self._failed(named, str(error))

    def _failed(self, named: Sequence[bytes], why: str) -> None:
        self.tally.failed += len(named)
        for each in named:
            self.tally.fail(each, why)

    def _remove(self, link: Link, words: Sequence[bytes], progress: Progress) -> None:
        """Have the job done, and follow it. Refused: by the proxy, or while it ran."""
        id = cast(bytes, link.ask(b"INVALIDATE", b"ASYNC", *words))
        looks, removed = Looks(), 0
        try:
            while True:
                job = cast("Mapping[bytes, object] | None", link.ask(b"INVALIDATE", b"STATUS", id))
                if job is None:
                    raise Refused("its job is gone: the proxy was started again")
                more = cast(int, job[b"removed"]) - removed
                removed += more
                self.tally.requested += more
                self.tally.add(**{self._done: more})
                progress.advance(more, self.tally.remark)
                if job[b"state"] != b"running":
                    break
                looks.wait()
        except KeyboardInterrupt:
            link.ask(b"INVALIDATE", b"CANCEL", id)
            raise
        if job[b"state"] != b"done":
            why = cast("bytes | None", job[b"error"])
            raise Refused("it was cancelled" if why is None else why.decode("utf-8", "replace"))
