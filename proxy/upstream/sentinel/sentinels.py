"""The Sentinels that are known: those of the URL for good, and those that they name.

    ask(one)   a Naming, None (it knows no such master), or OSError
    each(take) the answers of all, as they come

Whoever answered last stands in front. One Sentinel under two addresses (a name in the URL, an IP
address from the others) is known once, by its id. Owns a connection to each that was asked; decides
nothing (answers.py) and keeps no time (watch.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import hiredis

from ...settings.address import Tcp, Upstream
from ..tls_files import TlsFiles
from .answers import Naming, naming_of, others_of
from .link import Link, SentinelError, Told

# So many are known at most, those of the URL included: others are made up, or of no use.
KNOWN_MAX: Final = 16

MakeLink = Callable[[Tcp, Told | None], Link]


def login_of(upstream: Upstream) -> Sequence[bytes]:
    """AUTH as the URL's ``sentinel_password`` says, which is not the servers'."""
    if upstream.sentinel_password is None:
        return ()
    name = upstream.sentinel_username
    user = () if name is None else (name.encode(),)
    return (b"AUTH", *user, upstream.sentinel_password.encode())


class Sentinels:
    def __init__(self, upstream: Upstream, tls: TlsFiles | None, make: MakeLink = Link) -> None:
        self.name = upstream.master
        self.known: list[Tcp] = list(upstream.seeds)
        self._seeds = upstream.seeds
        self._map = upstream.address_map
        self._tls = tls
        self._login = login_of(upstream)
        self._make = make
        self._links: dict[Tcp, Link] = {}
        self._ids: dict[Tcp, bytes] = {}
        name = self.name.encode()
        self._questions = (
            (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name),
            (b"SENTINEL", b"MASTER", name),
            (b"SENTINEL", b"SENTINELS", name),
            (b"SENTINEL", b"MYID"),
        )

    def __repr__(self) -> str:
        return f"<Sentinels of {self.name} known={len(self.known)}>"

    async def connect(self, address: Tcp, told: Told | None = None) -> Link:
        """A new connection, logged in. OSError: there is none."""
        link = self._make(self._map.dialled(address), told)
        try:
            tls = None if self._tls is None else self._tls.context
            await link.open(tls, self._login)
        except BaseException:
            link.close()
            raise
        return link

    async def ask(self, address: Tcp) -> Naming | None:
        """What this Sentinel says of the master. OSError: it says nothing, or nonsense."""
        link = await self._link(address)
        named, master, others, own_id = await link.ask_all(self._questions)
        if isinstance(own_id, bytes):  # Sentinels know it from 6.2 on
            self._ids[address] = own_id
        for answer in (named, master):
            # It may know no such master; anything else is about us: a password that is wrong, say.
            if isinstance(answer, hiredis.ReplyError) and "No such master" not in str(answer):
                raise SentinelError(str(answer))
        try:
            naming = None if named is None else naming_of(named, master)
        except ValueError as error:
            raise SentinelError(f"an answer that makes no sense: {error}") from None
        self._to_front(address)
        if naming is not None:
            self._learn(address, others)
        return naming

    async def _link(self, address: Tcp) -> Link:
        link = self._links.get(address)
        if link is not None and link.stands:
            return link
        made = await self.connect(address)
        link = self._links.get(address)
        if link is not None and link.stands:  # somebody else was quicker
            made.close()
            return link
        self._links[address] = made
        return made

    async def each(self, take: Callable[[Naming | OSError | None], bool]) -> None:
        """Ask all who are known; ``take`` gets the answers in the order in which they come, and
        says when they are enough."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._told_or_why(address)) for address in list(self.known)]
        try:
            for answered in asyncio.as_completed(tasks):
                if take(await answered):
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _told_or_why(self, address: Tcp) -> Naming | OSError | None:
        try:
            return await self.ask(address)
        except OSError as why:
            return why

    def _to_front(self, address: Tcp) -> None:
        if address in self.known:
            self.known.remove(address)
            self.known.insert(0, address)

    def _learn(self, teller: Tcp, reply: object) -> None:
        """Know those that this one knows, and forget what only others had named."""
        ours = {self._ids[one] for one in self._seeds if one in self._ids}
        found = dict.fromkeys(self._seeds)
        for address, own_id in [(teller, self._ids.get(teller, b"")), *others_of(reply)]:
            if not own_id or own_id not in ours:
                found[address] = None
        kept = list(found)[:KNOWN_MAX]
        self.known = [one for one in self.known if one in kept]
        self.known += [one for one in kept if one not in self.known]
        for address in [one for one in self._links if one not in self.known]:
            self._links.pop(address).close()
            self._ids.pop(address, None)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()
