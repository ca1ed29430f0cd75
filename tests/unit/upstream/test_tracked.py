"""The tracked lane of one db and user: replies and pushes in the order of the wire, who is told.

The lanes are the real ones; the server is a script."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nearhit.lua import Script
from nearhit.proxy.errors import ProxyError, UpstreamLost
from nearhit.proxy.forgoing import forgoing
from nearhit.proxy.hot.answers import Answers
from nearhit.proxy.hot.fills import Fill
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.hot.own import GetOrSetSlot, TaskSlot, run_of
from nearhit.proxy.near.cache import IDLE_TICKS as SPACES_IDLE
from nearhit.proxy.near.cache import SPACES_MAX, NearCache, Space
from nearhit.proxy.upstream.ask import AskSlot, drop
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.tracked import TrackedLane, Watched, invalidated

from tests.answering import Queue
from tests.fakes import Upstream, World

SCRIPT = Script("probe", b"return 1", hashlib.sha1(b"return 1").hexdigest().encode())


def push(*keys: bytes) -> bytes:
    listed = b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in keys)
    return b">2\r\n$10\r\ninvalidate\r\n*%d\r\n" % len(keys) + listed


FLUSHED = b">2\r\n$10\r\ninvalidate\r\n_\r\n"


class Stage:
    def __init__(self, near: NearCache | None = None) -> None:
        self.world = World(near=near)
        # Tracking is asked for in the handshake: OK to everything with CLIENT but ID.
        self.world.dial.handshake[b"CLIENT"] = b"+OK\r\n"
        self.scope = TrackedLane(self.world.lanes, LaneKey(), near)

    def ask(self, work: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    async def upstream(self, number: int = 0) -> Upstream:
        return await self.world.upstream(number)


@asynccontextmanager
async def stage(near: NearCache | None = None) -> AsyncIterator[Stage]:
    here = Stage(near)
    yield here
    await here.world.close()


# --- Pushes, read


@pytest.mark.parametrize(
    ("frame", "keys"),
    [
        (push(b"k"), [b"k"]),
        (push(b"a", b"", b"\r\n$3\r\n"), [b"a", b"", b"\r\n$3\r\n"]),
        (push(), []),
        (FLUSHED, None),
        (b">2\r\n$10\r\ninvalidate\r\n$-1\r\n", None),
        (b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", []),
    ],
)
def test_a_push_names_what_has_changed(frame: bytes, keys: list[bytes] | None) -> None:
    assert invalidated(frame) == keys


# --- Watching


async def ready(here: Stage) -> Upstream:
    """The server's end, tracking."""
    asking = here.ask(here.scope.upstream.ask(b"PING"))
    server = await here.upstream()
    server.expect(b"PING")
    server.reply(b"+PONG\r\n")
    await asking
    return server


async def ready_again(here: Stage) -> None:
    """The next connection is."""
    asking = here.ask(here.scope.upstream.ask(b"PING"))
    (await here.upstream(1)).reply(b"+PONG\r\n")
    await asking


async def test_a_push_fires_the_watches_of_its_keys_only() -> None:
    async with stage() as here:
        server = await ready(here)
        with here.scope.watch(b"a", b"b") as one, here.scope.watch(b"c") as other:
            server.reply(push(b"b", b"x"))

            assert one.fired
            assert not other.fired
            assert await one.wait(0)
            assert not await other.wait(0)


async def test_all_who_watch_a_key_are_told() -> None:
    async with stage() as here:
        server = await ready(here)
        with here.scope.watch(b"a") as one, here.scope.watch(b"a") as other:
            server.reply(push(b"a"))

            assert one.fired
            assert other.fired


@pytest.mark.parametrize("how", ["flush", "loss"])
async def test_a_flush_and_a_lost_connection_fire_all(how: str) -> None:
    async with stage() as here:
        server = await ready(here)
        with here.scope.watch(b"a") as one, here.scope.watch(b"b", b"c") as other:
            if how == "flush":
                server.reply(FLUSHED)
            else:
                server.lose()
            assert one.fired
            assert other.fired
            assert here.scope.tracking is (how == "flush")


async def test_who_waits_goes_on_as_it_is_told() -> None:
    async with stage() as here:
        server = await ready(here)
        with here.scope.watch(b"a") as watch:
            waiting = here.ask(watch.wait(60))
            await here.world.settle()
            assert not waiting.done()
            server.reply(push(b"a"))
            assert await waiting is True

            watch.clear()
            assert not watch.fired
            assert await watch.wait(0) is False


async def test_a_reply_is_seen_between_the_pushes_around_it() -> None:
    async with stage() as here:
        server = await ready(here)
        with here.scope.watch(b"k") as watch:
            fired: list[bool] = []
            orders: list[Callable[[], None]] = [lambda: fired.append(watch.fired)] * 2
            askings = [
                here.ask(here.scope.upstream.run(SCRIPT, (b"k",), (), seen)) for seen in orders
            ]
            await here.world.settle()
            # In one read: a reply, a push, a reply.
            server.reply(b"+OK\r\n:1\r\n" + push(b"k") + b"+OK\r\n:1\r\n")
            await asyncio.gather(*askings)

            assert fired == [False, True]


async def test_a_push_in_pieces_is_one_push() -> None:
    async with stage() as here:
        server = await ready(here)
        with here.scope.watch(b"key") as watch:
            asking = here.ask(here.scope.upstream.ask(b"PING"))
            await here.world.settle()
            frame = push(b"key")
            server.reply(*(frame[at : at + 1] for at in range(len(frame))), b"+PONG\r\n")

            await asking
            assert watch.fired


async def test_a_watch_that_is_closed_is_forgotten() -> None:
    async with stage() as here:
        await ready(here)
        with here.scope.watch(b"a", b"b"), here.scope.watch(b"b"):
            assert len(here.scope.watches) == 2
        assert len(here.scope.watches) == 0

        twice = here.scope.watch(b"a")
        twice.close()
        twice.close()
        assert len(here.scope.watches) == 0


async def test_a_watch_may_close_others_as_it_fires() -> None:
    async with stage() as here:
        server = await ready(here)
        watches = [here.scope.watch(b"a") for _ in range(3)]

        class Closing(Watched):
            def fire(self, key: bytes | None) -> None:
                for watch in watches:
                    watch.close()

        closing = Closing(here.scope.watches, (b"a",))
        server.reply(push(b"a"))
        server.reply(push(b"a"))
        closing.close()

        assert len(here.scope.watches) == 0


async def test_the_connection_stands_while_somebody_watches() -> None:
    async with stage() as here:
        await ready(here)
        lane = here.scope.lane()
        with here.scope.watch(b"a"):
            lane.idle_ticks = 7
            here.scope.tick()
            assert lane.idle_ticks == 0
        lane.idle_ticks = 7
        here.scope.tick()
        assert lane.idle_ticks == 7


async def test_behind_a_lost_connection_the_next_one_tracks_too() -> None:
    async with stage() as here:
        server = await ready(here)
        server.lose()
        asking = here.ask(here.scope.upstream.ask(b"GET", b"k"))
        again = await here.upstream(1)
        again.expect(b"GET", b"k")
        again.reply(b"$-1\r\n")

        assert await asking is None
        assert here.scope.tracking
        with here.scope.watch(b"k") as watch:
            again.reply(push(b"k"))
            assert watch.fired


async def test_a_server_without_tracking_serves_all_the_same() -> None:
    async with stage() as here:
        here.world.dial.handshake[b"CLIENT"] = b"-ERR unknown subcommand\r\n"
        server = await ready(here)

        assert not here.scope.tracking
        asking = here.ask(here.scope.upstream.ask(b"GET", b"k"))
        await here.world.settle()
        server.reply(b"$1\r\nv\r\n")
        assert await asking == b"v"


async def test_each_says_what_it_is() -> None:
    async with stage() as here:
        assert repr(here.scope) == "<TrackedLane db=0 tracking=off watches=0>"
        await ready(here)
        with here.scope.watch(b"a"):
            assert repr(here.scope) == "<TrackedLane db=0 tracking=on watches=1>"


async def test_a_watch_says_what_it_is() -> None:
    async with stage() as here:
        with here.scope.watch(b"a", b"b") as watch:
            assert repr(watch) == "<Watched keys=2 fired=False>"
            watch.fire(None)
            assert repr(watch) == "<Watched keys=2 fired=True>"


# --- The near cache's space


def fill(near: NearCache, here: Stage, key: bytes) -> None:
    """Keep a value that came through the tracked lane."""
    space, lane = here.scope.filled()
    assert space is not None
    assert lane is here.scope.lane()
    ticket = space.reserve(key)
    assert ticket is not None
    assert space.fill(ticket, b"$1\r\nv\r\n", 60_000, 1.0)
    assert near.entries


@pytest.mark.parametrize(
    ("frame", "left", "reason"),
    [(push(b"a", b"x"), 1, ""), (FLUSHED, 0, "null")],
)
async def test_a_push_takes_what_it_names_out_of_the_near_cache(
    frame: bytes, left: int, reason: Any
) -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        server = await ready(here)
        for key in (b"a", b"b"):
            fill(near, here, key)

        server.reply(frame)

        assert near.entries == left
        if reason:
            assert near.flushes[reason] == 1


class Reads:
    """Who fills the places of reads (OwnReads): those that were lost."""

    def __init__(self) -> None:
        self.lost: list[bytes] = []

    def used(self, session: Answers) -> None: ...

    def reads_through(self, session: Answers, key: bytes) -> bool:
        return False

    def timed(self, session: Answers, key: bytes) -> bool:
        return False

    def away(self, session: Answers) -> bool:
        return False

    def fill(self, session: Answers, key: bytes, fill: Fill | None) -> None: ...

    def missed(self, session: Answers, place: TaskSlot, key: bytes, why: ProxyError | None) -> None:
        assert why is not None
        self.lost.append(key)


async def kept_near(here: Stage, near: NearCache, server: Upstream) -> Space:
    space, _ = here.scope.filled()
    assert space is not None
    for key in (b"a", b"b"):
        ticket = space.reserve(key)
        assert ticket is not None
        if key == b"a":
            space.fill(ticket, b"$1\r\nv\r\n", -1, 0.0)
    return space


async def test_what_is_kept_may_outlast_the_connection_and_goes_with_the_next() -> None:
    near = NearCache(1 << 20)
    near.stale_s = 30.0
    async with stage(near) as here:
        server = await ready(here)
        space = await kept_near(here, near, server)
        space.other()
        now = asyncio.get_running_loop().time()
        here.world.dial.refuse = 1_000_000

        server.lose()
        await here.world.settle()

        assert space.entries.get(b"a") is not None
        assert not space.tickets  # what is on its way may be older
        assert now + 30 <= space.until < now + 40
        assert here.scope.is_away(b"a")
        here.world.dial.refuse = 0
        await here.upstream(1)
        assert not here.scope.is_away(b"a")
        assert (space.until, space.entries.get(b"a")) == (0.0, None)
        assert near.flushes["lost"] == 1


async def test_reads_that_need_no_server_do_not_wait_for_it() -> None:
    async with stage() as here:
        here.scope.alone = lambda key: key.startswith(b"k")
        here.world.dial.refuse = 1_000_000
        asked = Reads()
        queue = Queue()
        lane = here.scope.lane()
        slots = [
            run_of(queue, lane, keys, False, asked) for keys in ([b"k1", b"k2"], [b"k3", b"x"])
        ]
        place = TaskSlot(queue, False)
        one = GetOrSetSlot(place, None, lambda slot: asked.lost.append(slot.key), None, b"k4", "x")
        for slot in (*slots, one):
            lane.send(b"*1\r\n$4\r\nPING\r\n", slot)

        while not asked.lost:
            await asyncio.sleep(0)

        assert asked.lost == [b"k1", b"k2", b"k4"]
        assert len(lane.offline) == 1
        here.scope.alone = lambda key: False


async def test_what_outlasts_the_connection_ends_in_its_time() -> None:
    near = NearCache(1 << 20)
    near.stale_s = 30.0
    async with stage(near) as here:
        server = await ready(here)
        space = await kept_near(here, near, server)
        here.world.dial.refuse = 1_000_000
        server.lose()
        await here.world.settle()
        here.scope.tick()
        assert space.entries.get(b"a") is not None
        space.until = asyncio.get_running_loop().time() - 1

        here.scope.tick()

        assert (space.until, space.entries.get(b"a")) == (0.0, None)


async def test_a_lost_connection_takes_all_that_came_through_it() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        server = await ready(here)
        fill(near, here, b"a")

        server.lose()

        assert near.entries == 0
        assert near.flushes["lost"] == 1


async def test_a_connection_that_says_nothing_is_asked_and_then_not_believed() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        server = await ready(here)
        fill(near, here, b"a")

        here.scope.tick()
        here.scope.tick()
        await here.world.settle()
        server.expect(b"HELLO")
        assert near.entries == 1
        here.scope.tick()

        assert near.entries == 0
        assert near.flushes["silent"] == 1
        assert server.quiet


async def test_a_connection_that_answers_is_believed() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        server = await ready(here)
        fill(near, here, b"a")

        for _ in range(6):
            here.scope.tick()
            await here.world.settle()
            if server.take():
                server.reply(b"+PONG\r\n")

        assert near.entries == 1


async def test_a_paused_connection_is_not_asked() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        server = await ready(here)
        fill(near, here, b"a")
        here.scope.lane().paused = True

        for _ in range(4):
            here.scope.tick()
        await here.world.settle()

        assert server.quiet
        assert near.entries == 1


@pytest.mark.parametrize("near", [None, NearCache(1 << 20)])
async def test_nothing_is_kept_without_a_near_cache_or_without_tracking(
    near: NearCache | None,
) -> None:
    async with stage(near) as here:
        if near is not None:
            here.world.dial.handshake[b"CLIENT"] = b"-ERR unknown subcommand\r\n"
        await ready(here)

        assert here.scope.filled() == (None, here.scope.lane())


async def test_a_lane_is_idle_when_nobody_watches_and_it_is_closed() -> None:
    async with stage() as here:
        assert here.scope.idle
        await ready(here)
        assert not here.scope.idle

        here.scope.lane().close()
        assert here.scope.idle
        with here.scope.watch(b"a"):
            assert not here.scope.idle


async def test_where_others_read_from_all_spaces_there_is_none_until_one_is_idle() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        others = [near.space(db, None) for db in range(1, SPACES_MAX + 1)]

        assert here.scope.filled()[0] is None
        assert here.scope.crowded
        for _ in range(SPACES_IDLE):
            for space in others[1:]:
                space.get(b"k", 0.0)
            for space in others:
                space.tick()

        assert here.scope.filled()[0] is not None
        assert not here.scope.crowded
        assert not others[0].open


async def test_a_lane_whose_space_went_to_others_is_closed() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        server = await ready(here)
        space, lane = here.scope.filled()
        assert space is not None
        with here.scope.watch(b"k"):
            near.release(space)
            here.scope.tick()
            assert lane.state is LaneState.READY

        here.scope.tick()

        assert lane.state is LaneState.CLOSED
        assert server.end == "aborted"
        await ready_again(here)
        here.scope.tick()
        assert here.scope.lane().state is LaneState.READY


async def test_a_closed_lane_leaves_its_space_to_others() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        await ready(here)
        here.scope.filled()

        here.scope.lane().close()

        assert not near.spaces


async def test_a_space_counts_the_seconds_since_it_was_read() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        await ready(here)
        space, _ = here.scope.filled()
        assert space is not None

        here.scope.tick()
        here.scope.tick()
        assert space.idle_ticks == 2
        space.get(b"k", 0.0)
        here.scope.tick()

        assert space.idle_ticks == 0


# --- A lane that says nothing


async def silent(here: Stage) -> Upstream:
    """The lane's end, which has not answered by the next tick."""
    server = await ready(here)
    for _ in range(3):
        here.scope.tick()
    await here.world.settle()
    server.expect(b"HELLO")
    return server


async def twice(here: Stage, probe: Upstream) -> None:
    """The second connection is answered, and again."""
    for _ in range(2):
        await here.world.settle()
        probe.expect(b"PING")
        probe.reply(b"+PONG\r\n")


async def test_a_silent_lane_is_given_up_where_a_new_connection_is_answered() -> None:
    async with stage() as here:
        with here.scope.watch(b"k") as watch:
            server = await silent(here)
            lane = here.scope.lane()
            assert lane.silent
            probe = here.world.dial.wires[1]
            probe.expect(b"PING")
            probe.reply(b"+PONG\r\n")
            sent = here.ask(here.scope.upstream.ask(b"GET", b"k"))
            await here.world.settle()
            server.expect(b"GET", b"k")
            unsent = here.ask(here.scope.upstream.ask(b"GET", b"l"))
            await asyncio.sleep(0)  # it stands in the lane, and has not left
            assert lane.out

            probe.expect(b"PING")
            probe.reply(b"+PONG\r\n")
            assert server.end == "aborted"
            await here.world.settle()

            assert watch.fired
            assert isinstance(sent.exception(), UpstreamLost)
            again = await here.upstream(2)
            again.expect(b"GET", b"l")
            again.reply(b"$1\r\nv\r\n")
            assert await unsent == b"v"
            assert here.scope.lane() is lane
            assert not lane.silent
            assert probe.end == "aborted"


async def test_where_nobody_is_answered_the_server_is_waited_for() -> None:
    async with stage() as here:
        with here.scope.watch(b"k") as watch:
            server = await silent(here)
            here.scope.tick()
            here.scope.tick()
            await here.world.settle()
            assert here.world.connections == 2  # asked once

            server.reply(b"+PONG\r\n")
            here.scope.tick()
            assert not here.scope.lane().silent
            here.world.dial.wires[1].reply(b"+PONG\r\n")
            await here.world.settle()

            assert not server.end
            assert not watch.fired


async def test_a_probe_that_is_lost_is_sent_again() -> None:
    async with stage() as here:
        with here.scope.watch(b"k"):
            server = await silent(here)
            here.world.dial.wires[1].lose()
            await here.world.settle()
            assert not server.end
            here.scope.tick()

            await twice(here, await here.upstream(2))

            assert server.end == "aborted"


async def test_a_lane_is_looked_after_while_somebody_waits_for_its_reply() -> None:
    async with stage() as here:
        server = await ready(here)
        asking = here.ask(here.scope.upstream.ask(b"GET", b"k"))
        await here.world.settle()
        server.expect(b"GET", b"k")

        for _ in range(3):
            here.scope.tick()
        await twice(here, await here.upstream(1))
        await here.world.settle()

        assert isinstance(asking.exception(), UpstreamLost)


async def test_that_all_is_gone_is_told_to_every_space() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        server = await ready(here)
        fill(near, here, b"a")
        other = near.space(1, None)
        late = other.reserve(b"late")
        kept = other.reserve(b"b")
        assert late is not None
        assert kept is not None
        assert other.fill(kept, b"$1\r\nv\r\n", -1, 1.0)

        server.reply(FLUSHED)

        assert near.entries == 0
        assert not other.fill(late, b"$1\r\nv\r\n", -1, 1.0)


async def test_what_was_written_here_is_forgotten_at_once() -> None:
    near = NearCache(1 << 20)
    async with stage(near) as here:
        await ready(here)
        space, _ = here.scope.filled()
        assert space is not None
        for key in (b"a", b"b"):
            ticket = space.reserve(key)
            assert ticket is not None
            assert space.fill(ticket, b"$1\r\nv\r\n", 5_000, 0.0)

        here.scope.forget(b"a", b"other")

        assert list(space.entries) == [b"b"]


async def test_without_a_near_cache_there_is_nothing_to_forget() -> None:
    async with stage() as here:
        here.scope.forget(b"a")


async def test_what_can_be_done_without_is_of_keys_that_fail_open() -> None:
    async with stage() as here:
        here.scope.fails_open = lambda key: key.startswith(b"k")
        queue = Queue()
        run = run_of(queue, here.scope.lane(), [b"k1", b"x"], False, Reads())
        place = TaskSlot(queue, False)
        with_command = GetOrSetSlot(place, None, lambda slot: None, None, b"k4", "x")
        plain = GetOrSetSlot(place, None, lambda slot: None, None, b"k4", None)
        with forgoing(True):
            forgone = AskSlot(drop)

        does_without = here.scope.does_without
        assert does_without(run, [b"k1"])
        assert not does_without(run, [b"k1", b"x"])
        assert does_without(with_command, [b"k4"])
        assert not does_without(plain, [b"k4"])
        assert does_without(forgone, [b"x"])
        assert not does_without(AskSlot(drop), [b"k1"])
