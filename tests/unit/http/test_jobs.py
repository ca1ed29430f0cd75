"""Jobs over HTTP: which words are asked, and what is made of their answers."""

from __future__ import annotations

from collections.abc import Sequence

from nearhit.proxy.http.jobs import Jobs
from nearhit.proxy.resp.replies import Value

MAP: dict[str, Value] = {"state": b"done", "failed": 1, "errors": [[b"k", b"ERR no"]]}


class Proxy:
    """Has one job, of INVALIDATE."""

    def __init__(self) -> None:
        self.ran: list[bytes] = []
        self.forgets = False

    async def run(self, words: Sequence[bytes]) -> Value:
        self.ran.append(b" ".join(words))
        if words[0] == b"WARM":
            return {b"JOBS": [], b"STATUS": None, b"CANCEL": 0}[words[1]]
        if words[1] == b"JOBS":
            return [b"a"]
        if words[1] == b"CANCEL":
            return int(words[2] == b"a")
        return MAP if words[2] == b"a" and not self.forgets else None


async def test_all_are_told_without_their_failures() -> None:
    proxy = Proxy()

    assert await Jobs(proxy.run).all() == [
        {"id": b"a", "command": b"INVALIDATE", "state": b"done", "failed": 1}
    ]
    assert proxy.ran == [b"WARM JOBS", b"INVALIDATE JOBS", b"INVALIDATE STATUS a"]


async def test_one_that_is_forgotten_meanwhile_is_left_out() -> None:
    proxy = Proxy()
    proxy.forgets = True

    assert await Jobs(proxy.run).all() == []


async def test_one_is_looked_for_among_those_of_both_commands() -> None:
    proxy = Proxy()

    assert await Jobs(proxy.run).one(b"a") == {"id": b"a", "command": b"INVALIDATE", **MAP}
    assert await Jobs(proxy.run).one(b"b") is None


async def test_one_is_ended_whichever_command_it_is_of() -> None:
    jobs = Jobs(Proxy().run)

    assert await jobs.cancel(b"a") is True
    assert await jobs.cancel(b"b") is False
    assert "Jobs" in repr(jobs)
