"""Questions of the proxy itself: values and errors out of replies, scripts unknown to the server.

The lanes are the real ones; the server is a script."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nearhit.lua import Script
from nearhit.proxy.errors import OddReply, ProxyError, ServerError, UpstreamLost
from nearhit.proxy.upstream.asker import value_of
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.tracked import TrackedLane

from tests.fakes import Upstream, World

SCRIPT = Script("probe", b"return 1", hashlib.sha1(b"return 1").hexdigest().encode())

# Tracking is by request: this stands before each whose keys the server is to remember.
REMEMBER = (b"CLIENT", b"CACHING", b"YES")


class Stage:
    def __init__(self) -> None:
        self.world = World()
        # Tracking is asked for in the handshake: OK to everything with CLIENT but ID.
        self.world.dial.handshake[b"CLIENT"] = b"+OK\r\n"
        self.scope = TrackedLane(self.world.lanes, LaneKey())

    def ask(self, work: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    async def upstream(self, number: int = 0) -> Upstream:
        return await self.world.upstream(number)


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    here = Stage()
    yield here
    await here.world.close()


def test_a_reply_is_a_value_and_an_error_an_exception() -> None:
    assert value_of(b"*2\r\n:1\r\n$-1\r\n") == [1, None]
    with pytest.raises(ServerError) as caught:
        value_of(b"-WRONGTYPE no\r\n")
    assert caught.value.line == b"-WRONGTYPE no\r\n"


async def test_a_question_is_answered_on_the_tracked_lane() -> None:
    async with stage() as here:
        asking = here.ask(here.scope.upstream.ask(b"GET", b"k"))
        server = await here.upstream()
        assert here.scope.tracking
        assert any(words[:2] == [b"CLIENT", b"TRACKING"] for words in server.handshake or ())
        server.expect(b"GET", b"k")
        server.reply(b"$1\r\n", b"v\r\n")

        assert await asking == b"v"


async def test_a_reply_may_be_taken_as_it_comes() -> None:
    async with stage() as here:
        asking = here.ask(here.scope.upstream.ask_raw(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"))
        server = await here.upstream()
        server.expect(b"GET", b"k")
        server.reply(b"$1\r\n", b"v\r\n")
        assert await asking == b"$1\r\nv\r\n"

        refused = here.ask(here.scope.upstream.ask_raw(b"*1\r\n$4\r\nPING\r\n"))
        await here.world.settle()
        server.reply(b"-NOPERM no\r\n")
        with pytest.raises(ServerError, match="NOPERM no"):
            await refused


async def test_many_are_asked_in_one_piece_with_errors_in_their_places() -> None:
    async with stage() as here:
        asking = here.ask(here.scope.bulk.many([b"*1\r\n$4\r\nPING\r\n"] * 3))
        server = await here.upstream()
        server.reply(b"+PONG\r\n-ERR no\r\n+PONG\r\n")

        first, second, third = await asking
        assert (first, third) == ("PONG", "PONG") or (first, third) == (b"PONG", b"PONG")
        assert isinstance(second, ServerError)
        assert await here.scope.bulk.many([]) == []


async def test_what_is_begun_is_sent_before_anybody_waits_for_it() -> None:
    async with stage() as here:
        both = here.scope.bulk.begin([b"*1\r\n$4\r\nPING\r\n" * 2], 2)
        server = await here.upstream()
        server.expect(b"PING")
        server.expect(b"PING")
        server.reply(b":1\r\n-ERR no\r\n")

        first, second = await both

        assert first == 1
        assert isinstance(second, ServerError)


async def test_what_is_begun_and_lost_is_raised_where_it_is_waited_for_and_nowhere_else() -> None:
    async with stage() as here:
        begun = [here.scope.bulk.begin([b"*1\r\n$4\r\nPING\r\n"], 1) for _ in range(2)]
        server = await here.upstream()
        server.expect(b"PING")
        server.lose()

        with pytest.raises(UpstreamLost):
            await begun[0]


async def test_a_script_that_the_server_knows_not_is_sent_whole() -> None:
    async with stage() as here:
        seen: list[str] = []
        asking = here.ask(
            here.scope.upstream.run(SCRIPT, (b"k",), (b"a",), lambda: seen.append("reply"))
        )
        server = await here.upstream()
        server.expect(*REMEMBER)
        server.expect(b"EVALSHA", SCRIPT.sha, b"1", b"k", b"a")
        server.reply(b"+OK\r\n-NOSCRIPT No matching script.\r\n")
        await here.world.settle()
        server.expect(*REMEMBER)
        server.expect(b"EVAL", SCRIPT.text, b"1", b"k", b"a")
        server.reply(b"+OK\r\n:1\r\n")

        assert await asking == 1
        assert seen[-1] == "reply"


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (  # Redis 6.2
            b"-ERR Error running script (call to f_70c1): @user_script:10: @user_script: 10: "
            b"The user executing the script can't run this command or subcommand",
            b"-NOPERM The user executing the script can't run this command or subcommand",
        ),
        (  # Redis 7.0
            b"-ERR The user executing the script can't run this command or subcommand"
            b" script: 70c1, on @user_script:1.",
            b"-NOPERM The user executing the script can't run this command or subcommand",
        ),
        (
            b"-ERR The user executing the script can't access at least one of the keys mentioned in"
            b" the command arguments script: 70c1, on @user_script:1.",
            b"-NOPERM The user executing the script can't access at least one of the keys mentioned"
            b" in the command arguments",
        ),
        (  # Valkey 9
            b"-ERR ACL failure in script: User u has no permissions to run the 'set' command"
            b" script: on @user_script:1.",
            b"-NOPERM User u has no permissions to run the 'set' command",
        ),
        (
            b"-ERR ACL failure in script: No permissions to access a key"
            b" script: on @user_script:1.",
            b"-NOPERM No permissions to access a key",
        ),
        (
            b"-ERR Error running script (call to f_70c1): @user_script:10: WRONGTYPE Operation",
            b"-WRONGTYPE Operation",
        ),
        (b"-NOPERM this user has no permissions", b"-NOPERM this user has no permissions"),
        (b"-ERR Unknown Redis command", b"-ERR Unknown Redis command"),
    ],
)
async def test_an_error_in_a_script_is_told_as_the_command_alone_would_be(
    reply: bytes, line: bytes
) -> None:
    async with stage() as here:
        asking = here.ask(here.scope.upstream.run(SCRIPT, (b"k",), ()))
        server = await here.upstream()
        server.reply(b"+OK\r\n" + reply + b"\r\n")

        with pytest.raises(ServerError) as caught:
            await asking
        assert caught.value.line == line + b"\r\n"


@pytest.mark.parametrize(
    "where",
    [
        b" script: 70c181d956daafe7ec42ec8087edac398f8708a2, on @user_script:10.",
        b" script: on @user_script:10.",
        b"",
    ],
)
async def test_an_error_in_a_script_is_told_without_its_place(where: bytes) -> None:
    async with stage() as here:
        asking = here.ask(here.scope.upstream.run(SCRIPT, (b"k",), ()))
        server = await here.upstream()
        server.reply(b"+OK\r\n-WRONGTYPE Operation against a key" + where + b"\r\n")

        with pytest.raises(ServerError) as caught:
            await asking
        assert caught.value.line == b"-WRONGTYPE Operation against a key\r\n"


@pytest.mark.parametrize("sent", [True, False])
async def test_a_question_without_an_answer_says_whether_it_was_sent(sent: bool) -> None:
    async with stage() as here:
        here.world.dial.refuse = 0 if sent else 3
        asking = here.ask(here.scope.upstream.ask(b"GET", b"k"))
        if sent:
            server = await here.upstream()
            server.expect(b"GET", b"k")
            server.lose()

        with pytest.raises(ProxyError) as caught:
            await asking
        assert caught.value.outcome_unknown is sent
        assert caught.value.line.startswith(b"-UPSTREAM")


async def test_a_script_beside_the_tracked_lane_leaves_no_keys_to_remember() -> None:
    async with stage() as here:
        asking = here.ask(here.scope.bulk.run(SCRIPT, (), (b"a",)))
        server = await here.upstream()
        server.expect(b"EVALSHA", SCRIPT.sha, b"0", b"a")
        server.reply(b":1\r\n")

        assert await asking == 1


async def test_a_reply_to_one_who_was_cancelled_disturbs_nobody() -> None:
    async with stage() as here:
        asking = here.ask(here.scope.upstream.ask(b"GET", b"a"))
        other = here.ask(here.scope.upstream.ask(b"GET", b"b"))
        server = await here.upstream()

        asking.cancel()
        await here.world.settle()
        server.reply(b"$1\r\n1\r\n$1\r\n2\r\n")

        assert await other == b"2"
        assert asking.cancelled()


async def test_an_asker_says_what_it_is() -> None:
    async with stage() as here:
        assert repr(here.scope.upstream) == "<Asker tracked>"
        assert repr(here.scope.bulk) == "<Asker untracked>"


@pytest.mark.parametrize("reply", [b":x\r\n", b"#?\r\n", b",no number\r\n"])
def test_what_is_no_reply_is_an_odd_one(reply: bytes) -> None:
    with pytest.raises(OddReply):
        value_of(reply)


async def test_many_replies_of_which_one_is_none_are_an_odd_one() -> None:
    async with stage() as here:
        asking = here.ask(here.scope.bulk.many([b"*1\r\n$4\r\nPING\r\n"] * 2))
        server = await here.upstream()
        server.reply(b"+PONG\r\n:x\r\n")

        with pytest.raises(OddReply):
            await asking
