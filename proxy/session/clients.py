"""The clients of this proxy: who is connected, and what CLIENT LIST, INFO, KILL and UNBLOCK see of
them.

Ids, addresses and names are the proxy's own; the upstream knows only lanes. The fields of a line
are Redis 7.0's plus Valkey's: https://redis.io/docs/latest/commands/client-list/."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from ..errors import BadFilter
from ..resp.requests import integer_of
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from .identity import Identity
from .reasons import HOLD_REDIRECTED


class Berthed(Protocol):
    """Where a client's requests go (berth.py)."""

    lane_key: LaneKey
    blocking: int

    @property
    def lane(self) -> Lane | None: ...
    @property
    def own(self) -> Lane | None: ...
    @property
    def user(self) -> bytes: ...
    @property
    def flags(self) -> str: ...
    @property
    def subscriptions(self) -> tuple[int, int, int]: ...

    @property
    def quiet(self) -> bool: ...

    def pin_now(self) -> bool: ...
    def let_go(self, why: int) -> None: ...
    def settle(self) -> None: ...
    def hold(self, why: int) -> None: ...
    def choose_mode(self) -> None: ...
    def take_pause(self) -> None: ...


class Client(Protocol):
    """What a session shows of itself, and how it is ended."""

    active: float
    last: bytes
    queued: int

    @property
    def identity(self) -> Identity: ...
    @property
    def berth(self) -> Berthed: ...

    def stall(self, reason: int) -> object: ...
    def abort(self, why: str) -> None: ...
    def close(self) -> None: ...
    def drain(self) -> bool: ...


Test = Callable[[Client], bool]


class Clients:
    """Sessions by id; ids only grow, as Redis's do."""

    def __init__(self, limit: int, left: Callable[[], None]) -> None:
        self.limit = limit
        self._left = left
        self._by_id: dict[int, Client] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._by_id.values()))

    def __repr__(self) -> str:
        return f"<Clients {len(self)}/{self.limit}>"

    def join(self, client: Client) -> bool:
        """Number the client; False when the limit is reached."""
        self._last_id += 1
        client.identity.id = self._last_id
        if len(self._by_id) >= self.limit:
            return False
        self._by_id[client.identity.id] = client
        return True

    def leave(self, client: Client) -> None:
        self.redirect(client, None)
        self._by_id.pop(client.identity.id, None)
        self._left()

    def get(self, number: int) -> Client | None:
        return self._by_id.get(number)

    def redirect(self, client: Client, target: Client | None) -> None:
        """The client's invalidations go to the target from now on, None: to nobody else."""
        former = self._by_id.get(client.identity.redirect)
        client.identity.redirect = target.identity.id if target is not None else -1
        if target is not None and target is not client:
            target.identity.redirected.add(client.identity.id)
        if former is not None and former is not target:
            former.identity.redirected.discard(client.identity.id)
            self.release(former)

    def release(self, target: Client) -> None:
        """Let a target have a lane like anybody's again, if nobody redirects to it any more."""
        if not target.identity.redirected:
            target.berth.let_go(HOLD_REDIRECTED)
            if target.berth.quiet:
                target.berth.settle()

    def kill(self, tests: Iterable[Test], by: Client) -> int:
        """Close the clients that pass all tests; how many. The one who asks gets its answer
        first."""
        tests = list(tests)
        chosen = [client for client in self if all(test(client) for test in tests)]
        for client in chosen:
            if client is not by:
                client.abort("CLIENT KILL")
        return len(chosen)


# Whether a client of the type is subscribed; None: a link between servers, which a proxy has not.
_TYPES: Final = {
    b"NORMAL": False,
    b"PUBSUB": True,
    b"MASTER": None,
    b"PRIMARY": None,
    b"REPLICA": None,
    b"SLAVE": None,
}


def filters(words: Sequence[bytes], by: Client) -> list[Test]:
    """The tests that ``ID 5 ADDR a:1 ...`` stands for. BadFilter in Redis's words."""
    tests: list[Test] = []
    skip_me = True
    at = 0
    while at < len(words):
        option = words[at].upper()
        if at + 1 >= len(words):
            raise BadFilter("syntax error")
        value = words[at + 1]
        at += 2
        if option == b"SKIPME":
            if value.upper() not in (b"YES", b"NO"):
                raise BadFilter("syntax error")
            skip_me = value.upper() == b"YES"
            continue
        ids = [value]
        while option == b"ID" and at < len(words) and words[at].isdigit():
            ids.append(words[at])
            at += 1
        tests.append(_test(option, value, ids, by))
    if skip_me:
        tests.append(lambda client: client is not by)
    return tests


def _test(option: bytes, value: bytes, ids: list[bytes], by: Client) -> Test:
    text = value.decode("utf-8", "replace")
    if option == b"ID":
        wanted = {integer_of(word) or 0 for word in ids}
        if min(wanted) <= 0:
            raise BadFilter("client-id should be greater than 0")
        return lambda client: client.identity.id in wanted
    if option == b"TYPE":
        if value.upper() not in _TYPES:
            raise BadFilter(f"Unknown client type '{text}'")
        subscribed = _TYPES[value.upper()]
        return lambda client: (
            subscribed is not None and any(client.berth.subscriptions) is subscribed
        )
    if option == b"ADDR":
        return lambda client: client.identity.peer == text
    if option == b"LADDR":
        return lambda client: client.identity.local == text
    if option == b"NAME":
        return lambda client: client.identity.name == value
    if option == b"USER":
        return lambda client: client.berth.user == value
    if option == b"MAXAGE":
        age = integer_of(value)
        if age is None:
            raise BadFilter("maxage is not an integer or out of range")
        return lambda client: by.active - client.identity.born >= age
    raise BadFilter("syntax error")


def _command(last: bytes) -> str:
    """The name of the last command, out of the bytes of the last run."""
    words = last.split(b"\r\n", 3)
    return words[2].decode("utf-8", "replace").lower() if len(words) == 4 else "NULL"


def line(client: Client, now: float, fields: Sequence[bytes], command: str | None = None) -> bytes:
    """One client as CLIENT LIST shows it, with the fields that the upstream's own lines have."""
    who, berth = client.identity, client.berth
    sub, psub, ssub = berth.subscriptions
    values = {
        b"id": who.id,
        b"addr": who.peer,
        b"laddr": who.local,
        b"fd": who.id,
        b"name": who.name.decode("utf-8", "replace"),
        b"age": int(now - who.born),
        b"idle": int(now - client.active),
        b"flags": berth.flags,
        b"db": berth.lane_key.db,
        b"sub": sub,
        b"psub": psub,
        b"ssub": ssub,
        b"multi": client.queued,
        b"watch": 0,
        b"events": "r",
        b"cmd": command or _command(client.last),
        b"user": berth.user.decode("utf-8", "replace"),
        b"redir": who.redirect,
        b"resp": berth.lane_key.resp,
        b"lib-name": who.library[0].decode("utf-8", "replace"),
        b"lib-ver": who.library[1].decode("utf-8", "replace"),
    }
    return b" ".join(b"%b=%b" % (name, str(values.get(name, 0)).encode()) for name in fields)


# Redis 7.0.15's own, until the upstream has shown its.
FIELDS: Final = tuple(
    b"id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem "
    b"multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp".split()
)


def fields_of(reply: bytes) -> tuple[bytes, ...]:
    """The field names out of the first line of a CLIENT LIST or INFO reply."""
    for row in reply.split(b"\n"):
        if row.startswith((b"id=", b"txt:id=")):
            return tuple(word.partition(b"=")[0] for word in row.removeprefix(b"txt:").split())
    return FIELDS
