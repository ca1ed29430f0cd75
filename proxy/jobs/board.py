"""What the workers of a proxy show each other of their jobs: any of them tells of all, and may ask
for the end of any.

    parent: Board, in shared memory ── fork ──▶ a Place for each worker: written by it alone, but
                                                for who asks for an end, and read by all

A slot is a job's:

    which half holds ── the id whose end is asked for ── half 1 ── half 2: length, checksum, record

A record is written into the other half, which then holds: a writer that is held up, or killed,
keeps nobody from reading. By the checksum a reader knows that it was overtaken by two writes. A
worker that is started again finds what the one before it has left."""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from struct import Struct
from typing import Any, Final, cast

from ..resp.replies import Value

SLOTS: Final = 96  # of a worker: as many jobs as are known at once
HALF: Final = 32 * 1024  # bytes; memory that nobody writes to is none
LOOKS: Final = 50  # at a slot that is written again and again
ID: Final = 32  # bytes
ERROR_MOST: Final = 1024  # bytes of the error that has ended one
_END: Final = slice(8, 8 + ID)
_HALVES: Final = (0, 40, 40 + HALF)  # where each begins; 0: there is no record
SLOT: Final = 40 + 2 * HALF
_HEAD: Final = Struct("<II")  # of a half
RECORD_MOST: Final = HALF - _HEAD.size
RUNNING: Final = "running"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a job is: who uses the same db as the same user of the server. None: as the upstream's
    URL says."""

    db: int = 0
    user: bytes | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A job as others see it. ``error``: the line that a client would have got."""

    id: str
    owner: Owner
    command: str
    state: str
    total: int | None
    result: Mapping[str, Value]
    error: bytes | None = None

    def reply(self) -> Mapping[str, Value]:
        """STATUS' map."""
        state = {"state": self.state.encode(), "total": self.total}
        return {**state, **self.result, "error": self.error}

    def within(self, size: int = RECORD_MOST) -> Record:
        """The same, with as many of its failures as find place."""
        record = replace(self, error=self.error and self.error[:ERROR_MOST])
        while len(packed(record)) > size:
            errors = cast("Sequence[Value]", record.result.get("errors", ()))
            if not errors:
                break
            fewer = errors[: len(errors) // 2]
            record = replace(record, result={**record.result, "errors": fewer})
        return record


def packed(record: Record) -> bytes:
    """The record as bytes. Latin-1 has a letter for each byte."""
    user = record.owner.user
    fields = (
        record.id,
        record.owner.db,
        None if user is None else user.decode("latin-1"),
        record.command,
        record.state,
        record.total,
        _texts(record.result),
        _texts(record.error),
    )
    return json.dumps(fields).encode()


def unpacked(data: bytes) -> Record:
    id, db, user, command, state, total, result, error = cast("list[Any]", json.loads(data))
    owner = Owner(db, None if user is None else user.encode("latin-1"))
    return Record(id, owner, command, state, total, _bytes(result), _bytes(error))


def _texts(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Mapping):
        return {name: _texts(item) for name, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_texts(item) for item in cast("Sequence[Any]", value)]
    return value


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(value, dict):
        return {name: _bytes(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_bytes(item) for item in cast("Sequence[Any]", value)]
    return value


class Board:
    """Slots of so many workers. To be made before they are forked."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self._memory = memoryview(mmap.mmap(-1, workers * SLOTS * SLOT))
        self._taken = memoryview(mmap.mmap(-1, workers))

    def __repr__(self) -> str:
        return f"<Board workers={self.workers}>"

    def place(self, index: int) -> Place:
        """What the worker with this index writes to."""
        first = not self._taken[index]
        self._taken[index] = 1
        return Place(self, index, first)

    def slot(self, worker: int, slot: int) -> memoryview:
        at = (worker * SLOTS + slot) * SLOT
        return self._memory[at : at + SLOT]

    def records(self, worker: int) -> Iterator[tuple[int, Record]]:
        """What a worker shows, by slots."""
        for number in range(SLOTS):
            record = _read(self.slot(worker, number))
            if record is not None:
                yield number, record


def _read(slot: memoryview) -> Record | None:
    for _ in range(LOOKS):
        at = _HALVES[slot[0]]
        if not at:
            return None
        size, check = _HEAD.unpack_from(slot, at)
        data = bytes(slot[at + _HEAD.size : at + _HEAD.size + min(size, RECORD_MOST)])
        if zlib.crc32(data) == check:
            return unpacked(data)
    return None


class Place:
    """One worker's part of a board. ``first``: no worker has been here before."""

    def __init__(self, board: Board, index: int, first: bool) -> None:
        self._board = board
        self._index = index
        self.first = first

    def __repr__(self) -> str:
        return f"<Place {self._index} of {self._board!r}>"

    @property
    def leads(self) -> bool:
        """Whether it is this worker that does what one alone is to do."""
        return self._index == 0

    def left(self) -> Iterator[tuple[int, Record]]:
        """What a worker that was here before has left."""
        return self._board.records(self._index)

    def put(self, slot: int, record: Record) -> None:
        """Show the record; one without bound is not shown."""
        if self._board.workers == 1:
            return  # nobody looks
        memory, data = self._board.slot(self._index, slot), packed(record.within())
        if len(data) > RECORD_MOST:
            return
        half = 2 if memory[0] == 1 else 1
        at = _HALVES[half]
        _HEAD.pack_into(memory, at, len(data), zlib.crc32(data))
        memory[at + _HEAD.size : at + _HEAD.size + len(data)] = data
        memory[0] = half

    def clear(self, slot: int) -> None:
        self._board.slot(self._index, slot)[0] = 0

    def others(self) -> Iterator[Record]:
        """What the other workers show."""
        for worker in range(self._board.workers):
            if worker != self._index:
                for _, record in self._board.records(worker):
                    yield record

    def ask_end(self, record: Record) -> None:
        """Ask the other worker that runs it to end it."""
        for worker in range(self._board.workers):
            for slot, found in self._board.records(worker):
                if found.id == record.id:
                    self._board.slot(worker, slot)[_END] = record.id.encode()

    def asked_end(self, slot: int, id: str) -> bool:
        """Whether another worker has asked for the end of this job of ours."""
        return bytes(self._board.slot(self._index, slot)[_END]) == id.encode()
