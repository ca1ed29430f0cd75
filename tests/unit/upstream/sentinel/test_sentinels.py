"""The Sentinels that are known, and what each says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nearhit.proxy.settings.address import AddressMap, Tcp, Upstream
from nearhit.proxy.upstream.sentinel.answers import Naming
from nearhit.proxy.upstream.sentinel.link import SentinelError
from nearhit.proxy.upstream.sentinel.sentinels import KNOWN_MAX, Sentinels, login_of

from tests.sentinel.fake import HOST, NEW, OLD, FakeSentinel, sentinels, upstream_of


def of(made: list[FakeSentinel], options: str = "") -> Sentinels:
    return Sentinels(upstream_of(made, options), None)


async def each(known: Sentinels, enough: int = 99) -> list[Naming | OSError | None]:
    answers: list[Naming | OSError | None] = []

    def take(answer: Naming | OSError | None) -> bool:
        answers.append(answer)
        return len(answers) >= enough

    await known.each(take)
    return answers


@pytest.mark.parametrize(
    ("options", "login"),
    [
        ("", ()),
        ("?sentinel_username=u", ()),
        ("?sentinel_password=p", (b"AUTH", b"p")),
        ("?sentinel_password=p&sentinel_username=u", (b"AUTH", b"u", b"p")),
    ],
)
def test_the_login_is_the_sentinels_own(options: str, login: tuple[bytes, ...]) -> None:
    url = f"redis-sentinel://user:secret@h/m{options}"

    assert tuple(login_of(Upstream.parse(url))) == login


async def test_one_is_asked_over_one_connection_and_comes_to_the_front() -> None:
    async with sentinels() as made:
        known = of(made, "?sentinel_password=p")

        for _ in range(2):
            assert await known.ask(made[2].address) == Naming(OLD, 1)

        assert known.known[0] == made[2].address
        assert made[2].connected == 1
        assert made[2].seen[0] == [b"AUTH", b"p"]
        known.close()


async def test_others_that_are_named_are_known_from_then_on() -> None:
    async with sentinels() as made:
        known = of(made[:1])
        assert repr(known) == "<Sentinels of m known=1>"

        await known.ask(made[0].address)

        assert set(known.known) == {one.address for one in made}
        known.close()


async def test_who_is_named_no_more_is_forgotten_but_for_those_of_the_url() -> None:
    async with sentinels() as made:
        known = of(made[:1])
        await known.ask(made[0].address)
        await known.ask(made[1].address)

        made[0].others = []
        await known.ask(made[0].address)

        assert known.known == [made[0].address]
        known.close()


async def test_a_sentinel_with_two_addresses_is_known_once() -> None:
    async with sentinels() as made:
        known = of(made)
        await each(known)

        made[1].others.append((Tcp("10.9.9.9", 26379), "id0"))
        await known.ask(made[1].address)

        assert set(known.known) == {one.address for one in made}
        known.close()


async def test_there_is_a_bound_on_how_many_are_known() -> None:
    async with sentinels(1) as made:
        known = of(made)
        made[0].others = [(Tcp(f"10.9.9.{number}", 1), f"o{number}") for number in range(99)]

        await known.ask(made[0].address)

        assert len(known.known) == KNOWN_MAX
        known.close()


async def test_who_knows_no_such_master_says_so() -> None:
    async with sentinels(1) as made:
        known = of(made)
        made[0].master = None

        assert await known.ask(made[0].address) is None
        known.close()


async def test_a_refusal_and_nonsense_are_errors() -> None:
    async with sentinels(1) as made:
        known = of(made)
        made[0].refusal = b"-NOAUTH Authentication required.\r\n"
        with pytest.raises(SentinelError, match="NOAUTH"):
            await known.ask(made[0].address)

        made[0].refusal = b"+what\r\n"
        with pytest.raises(SentinelError, match="makes no sense"):
            await known.ask(made[0].address)
        known.close()


async def test_all_are_asked_side_by_side_and_failures_are_answers() -> None:
    async with sentinels() as made:
        known = of(made)
        made[0].stop()
        made[1].master, made[1].epoch = NEW, 2

        answers = await each(known)

        assert {one for one in answers if isinstance(one, Naming)} == {
            Naming(OLD, 1),
            Naming(NEW, 2),
        }
        assert sum(isinstance(one, OSError) for one in answers) == 1
        known.close()


async def test_nobody_is_waited_for_once_it_is_enough() -> None:
    async with sentinels() as made:
        known = of(made)
        made[0].mute = True

        assert await each(known, 2) == [Naming(OLD, 1)] * 2
        known.close()


async def test_a_lost_connection_is_made_anew() -> None:
    async with sentinels(1) as made:
        known = of(made)
        await known.ask(made[0].address)
        made[0].stop()
        with pytest.raises(OSError, match=r"refused|failed|reset|lost"):
            await known.ask(made[0].address)

        await made[0].start()

        assert await known.ask(made[0].address) == Naming(OLD, 1)
        assert made[0].address.host == HOST
        known.close()


async def test_a_sentinel_that_announces_another_address_is_dialled_by_the_map() -> None:
    async with sentinels() as made:
        away = Tcp("10.9.9.9", 26379)
        table = AddressMap(places={away: made[0].address})
        known = Sentinels(replace(upstream_of(made), seeds=(away,), address_map=table), None)

        assert await known.ask(away) == Naming(OLD, 1)
        assert away in known.known
        known.close()
