"""One connection to a Sentinel: answers in time, or none."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.upstream.sentinel import link as module
from nearhit.proxy.upstream.sentinel.link import Link, SentinelError

from tests.sentinel.fake import FakeSentinel, sentinels, until


async def opened(sentinel: FakeSentinel, told: list[tuple[bytes, bytes]] | None = None) -> Link:
    link = Link(sentinel.address, None if told is None else lambda *message: told.append(message))
    await link.open()
    return link


async def test_questions_are_answered_in_their_order() -> None:
    async with sentinels(1) as (one,):
        link = await opened(one)

        assert await link.ask(b"PING") == b"PONG"
        assert await link.ask_all([(b"PING",), (b"SENTINEL", b"MYID")]) == [b"PONG", b"id0"]
        assert repr(link) == f"<Link {one.address} stands asked=0>"
        link.close()


async def test_a_login_comes_first() -> None:
    async with sentinels(1) as (one,):
        link = Link(one.address)
        await link.open(login=(b"AUTH", b"u", b"p"))

        assert one.seen == [[b"AUTH", b"u", b"p"]]
        link.close()


@pytest.mark.parametrize(
    ("refusal", "shown"),
    [
        (b"-ERR unknown command `AUTH`, with args beginning with: `p`\r\n", "it knows no AUTH"),
        (b"-WRONGPASS no\r\n", "WRONGPASS no"),
    ],
)
async def test_a_refused_login_is_told_without_the_password(refusal: bytes, shown: str) -> None:
    async with sentinels(1) as (one,):
        one.refusal = refusal

        with pytest.raises(SentinelError) as caught:
            await Link(one.address).open(login=(b"AUTH", b"p"))

        assert str(caught.value) == shown


async def test_an_error_is_told_and_the_connection_stays() -> None:
    async with sentinels(1) as (one,):
        link = await opened(one)

        with pytest.raises(SentinelError, match="unknown command"):
            await link.ask(b"NO")

        assert await link.ask(b"PING") == b"PONG"
        link.close()


async def test_who_says_nothing_in_time_is_left() -> None:
    async with sentinels(1) as (one,):
        link = await opened(one)
        one.mute = True
        other = asyncio.ensure_future(link.ask(b"PING", seconds=60))
        await asyncio.sleep(0)

        with pytest.raises(TimeoutError, match="no answer in 0"):
            await link.ask(b"PING", seconds=0)

        with pytest.raises(OSError, match="no answer"):
            await other
        assert not link.stands
        assert link.gone.done()
        with pytest.raises(OSError, match="gone"):
            await link.ask(b"PING")


async def test_who_is_not_there_is_an_os_error() -> None:
    async with sentinels(1) as (one,):
        one.stop()

        with pytest.raises(OSError, match=r"refused|failed"):
            await opened(one)


async def test_a_lost_connection_fails_what_is_asked() -> None:
    async with sentinels(1) as (one,):
        link = await opened(one)
        one.mute = True
        asked = asyncio.ensure_future(link.ask(b"PING"))
        await until(lambda: one.seen)

        one.stop()

        with pytest.raises(OSError, match=r"lost|reset|closed"):
            await asked
        assert repr(link).endswith("gone asked=0>")


async def test_an_asker_that_leaves_keeps_nobody_from_their_answer() -> None:
    async with sentinels(1) as (one,):
        link = await opened(one)
        asked = asyncio.ensure_future(link.ask(b"NO"))
        await asyncio.sleep(0)
        asked.cancel()

        assert await link.ask(b"PING") == b"PONG"
        link.close()


async def test_messages_are_told_between_answers() -> None:
    told: list[tuple[bytes, bytes]] = []
    async with sentinels(1) as (one,):
        link = await opened(one, told)
        await link.ask(b"SUBSCRIBE", b"+sdown")

        one.say("+sdown", "master m 10.0.0.1 6379")

        assert await link.ask(b"PING") == [b"pong", b""]
        assert told == [(b"+sdown", b"master m 10.0.0.1 6379")]
        link.close()


@pytest.mark.parametrize("data", [b"what?\r\n", b"+nobody asked\r\n"])
async def test_bytes_that_are_no_answer_end_it(data: bytes) -> None:
    async with sentinels(1) as (one,):
        link = await opened(one)
        await link.ask(b"PING")

        one.write(data)

        await until(lambda: not link.stands)


async def test_an_answer_without_end_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_MAX", 10)
    async with sentinels(1) as (one,):
        link = await opened(one)
        await link.ask(b"PING")

        one.write(b"$100000\r\nmore and more")

        await until(lambda: not link.stands)


async def test_there_is_a_bound_on_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUESTIONS_MAX", -1)
    async with sentinels(1) as (one,):
        link = await opened(one)

        with pytest.raises(OSError, match="gone"):
            await link.ask(b"PING")
        link.close()
