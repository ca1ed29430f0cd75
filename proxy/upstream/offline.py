"""Requests that wait for their lane's connection: a queue with a bound in bytes.

The lane appends while it is not READY and sends all when it is. Past the bound the queue is
``over``, and the lane stops those who send. None is dropped unasked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from ..hot.answers import Slot

Request = tuple[bytes, Slot]


class Offline:
    """The requests, oldest first, each with its slot."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._requests: deque[Request] = deque()

    def __repr__(self) -> str:
        return f"<Offline {len(self)} bytes={self._size}/{self._limit}>"

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    @property
    def over(self) -> bool:
        """Whether more bytes wait than the bound says."""
        return self._size > self._limit

    def append(self, data: bytes, slot: Slot) -> None:
        self._requests.append((data, slot))
        self._size += len(data)

    def extend_last(self, data: bytes) -> None:
        """More bytes of the request that came last."""
        head, slot = self._requests.pop()
        self._requests.append((head + data, slot))
        self._size += len(data)

    def put_back(self, requests: Sequence[Request]) -> None:
        """Requests that did not leave, oldest first: before all that wait."""
        self._requests.extendleft(reversed(requests))
        self._size += sum(len(data) for data, _ in requests)

    def drop(self, count: int) -> list[Slot]:
        """The slots of the oldest, so many at most: they wait no longer."""
        dropped = [self._requests.popleft() for _ in range(min(count, len(self)))]
        self._size -= sum(len(data) for data, _ in dropped)
        return [slot for _, slot in dropped]

    def let_go(self, which: Callable[[Slot], bool]) -> list[Slot]:
        """Those that need not wait any more, oldest first, without their requests."""
        gone = [slot for _, slot in self._requests if which(slot)]
        if gone:
            left = [(data, slot) for data, slot in self.take() if not which(slot)]
            self.put_back(left)
        return gone

    def take(self) -> deque[Request]:
        """All of them; the queue is empty then."""
        taken, self._requests, self._size = self._requests, deque(), 0
        return taken
