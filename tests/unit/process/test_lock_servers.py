"""The lanes to lock servers: each is asked at once or not at all, and as its URL says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nearhit.lua import script
from nearhit.proxy.bounds import WaitingRoom
from nearhit.proxy.errors import LockBusy, NoMajority, UpstreamDown, UpstreamRefused
from nearhit.proxy.process.lock_servers import LockServers
from nearhit.proxy.settings.address import Upstream
from nearhit.proxy.stats.counters import Stats
from nearhit.proxy.upstream.dial import Dial, Retry

from tests.fakes import FakeDial, Tasks, settle

TRACKED = {b"CLIENT": b"+OK\r\n"}
INFO = script("lock_info")


class Stage:
    """Three lock servers without sockets."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.dials: list[FakeDial] = []
        self.servers = LockServers(
            [Upstream(host=name) for name in "abc"],
            Retry(1),
            self.tasks.start,
            self.tasks.start,
            clock=asyncio.get_running_loop().time,
            stats=Stats(),
            room=WaitingRoom(10, "locks", LockBusy),
            dial=self._dial,
        )

    def _dial(self, server: Upstream, retry: Retry) -> Dial:
        dial = FakeDial()
        dial.upstream = server
        dial.handshake.update(TRACKED)
        self.dials.append(dial)
        return dial

    def answer(self, reply: bytes) -> None:
        for dial in self.dials:
            dial.answer = lambda words: reply if words[0].startswith(b"EVAL") else b"+OK\r\n"


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    here = Stage()
    yield here
    here.servers.close()
    await here.tasks.stop()


async def test_a_question_goes_to_all_in_the_db_of_who_asks() -> None:
    async with stage() as here:
        here.answer(b"*3\r\n:1\r\n:500\r\n$1\r\n7\r\n")

        info = await here.servers.locks(2).info(b"r")

        assert info == {"held": True, "fence": 7, "ttl_ms": 500, "waiters": 0}
        assert here.servers.connected == 3
        for dial in here.dials:
            (wire,) = dial.wires
            assert wire.handshake is not None
            assert [b"SELECT", b"2"] in wire.handshake
        assert here.servers.locks(2) is here.servers.locks(2)
        assert here.servers.locks(0) is not here.servers.locks(2)
        assert repr(here.servers) == "<LockServers 3/3 dbs=2>"


async def test_a_server_that_is_away_is_asked_nothing_later() -> None:
    async with stage() as here:
        here.answer(b":1\r\n")
        for dial in here.dials[:2]:
            dial.refuse = 1_000_000

        with pytest.raises(NoMajority, match="1 of 3 lock servers answered, 2 must agree"):
            await here.servers.locks(0).release(b"r", b"t")

        for dial in here.dials[:2]:
            dial.refuse = 0
        await settle()
        await here.servers.members(0)[0].ready()
        assert not here.dials[0].seen


async def test_a_member_is_ready_connected_or_says_why_not() -> None:
    async with stage() as here:
        first, second, third = here.servers.members(0)
        here.servers.open(0)
        await settle()
        assert first.connected
        assert first.tracking
        await first.ready()
        lane = first.lane()
        lane.silent = True
        with pytest.raises(UpstreamDown, match="a:6379 says nothing"):
            await first.ready()
        lane.silent = False

        here.dials[1].handshake[b"PING"] = b"-WRONGPASS no\r\n"
        second.lane().close()
        here.dials[1].handshake[b"HELLO"] = b"-WRONGPASS no\r\n"
        here.dials[1].handshake[b"SELECT"] = b"-ERR DB index is out of range\r\n"
        with pytest.raises(UpstreamRefused, match="out of range"):
            await here.servers.members(9)[1].ready()
        with pytest.raises(UpstreamRefused, match="out of range"):
            await here.servers.members(9)[1].ready()

        here.dials[2].refuse = 1_000_000
        third.lane().lose("cut")
        third.lane().wire.lose() if third.lane().wire else None  # type: ignore[union-attr]
        await settle()
        with pytest.raises(UpstreamDown):
            await third.ready()
        assert repr(third) == "<Member c:6379 db=0 connected=False>"


async def test_it_is_connected_again_by_itself() -> None:
    async with stage() as here:
        member = here.servers.members(0)[0]
        await member.ready()

        here.dials[0].wires[0].lose()
        await settle()

        assert member.connected
        assert len(here.dials[0].wires) == 2
        for _ in range(100):
            here.servers.tick()
        assert member.connected, "it stays, though nobody asks"


async def test_who_listens_hears_of_changes_and_of_lost_connections() -> None:
    async with stage() as here:
        member = here.servers.members(0)[0]
        await member.ready()
        heard: list[str] = []
        ear = member.listen(b"k", lambda: heard.append("changed"))

        here.dials[0].wires[0].reply(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n")
        assert heard == ["changed"]
        here.dials[0].wires[0].lose()
        assert heard == ["changed"] * 2
        ear.close()
        here.dials[0].wires[-1].reply(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n")
        assert heard == ["changed"] * 2


async def test_a_look_says_of_each_how_it_is() -> None:
    async with stage() as here:
        here.answer(b"")
        here.dials[1].refuse = 1_000_000
        here.dials[2].mute = True

        found = await here.servers.look(0.05)

        assert found[0] == ("a:6379", "answers")
        assert found[1][0] == "b:6379"
        assert "refused by the script" in found[1][1]
        assert found[2] == ("c:6379", "no answer in 0.05 s")


async def test_a_script_runs_at_one_of_them() -> None:
    async with stage() as here:
        here.answer(b":1\r\n")

        assert await here.servers.members(0)[1].run(INFO, [b"k"], [b"a"]) == 1

        assert here.dials[1].seen[-1][2:] == [b"1", b"k", b"a"]
        assert not here.dials[0].seen
