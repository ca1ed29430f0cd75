"""The ACL decides behind the near cache as in front of it: users by commands, each cell compared
with what the server itself says to that user, also when a right is taken away behind our back."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import count
from typing import NamedTuple

import pytest

from tests.clusters import cluster, key_in
from tests.servers import HOST, Kind, free_port, nearhit, server_binary, upstream, wait_for
from tests.wire.link import Link, command

OK = b"+OK\r\n"
NUMBERS = count(1)  # of users: each test has one of its own
# What a tracked lane needs: without it nothing is kept, and there is nothing to get wrong.
TRACKS = "+client|tracking +client|caching +pttl"
USERS = {
    "all": "~* +@all",
    "reads": f"~* +get +mget {TRACKS}",
    "get-only": f"~* +get {TRACKS}",
    "mget-only": f"~* +mget {TRACKS}",
    "other-keys": "~a:* +@all",
    "readable-keys": "%R~* +@all",
    "selector": f"~* +get {TRACKS} (~a:* +mget)",
    "writes": f"~* +set +del {TRACKS}",
    "no-tags": "~k ~new ~lease:* +@all",
    "nothing": "",
}
# Each command of our own, its keys, and what it does with them as a script. (LOCK's and LEASE's
# shortest way: what a request is refused by first.)
OWN = {
    ("GETORSET", "new", "v"): ("new lease:{new}", "GET new, SET new v, DEL lease:{new}"),
    ("GETORSET", "new", "v", "TAG", "t"): (
        "new lease:{new} tag:{t} tagepoch:{t}",
        "GET tagepoch:{t}, GET new, SET lease:{new} t, ZADD tag:{t} 1 new, SET new v",
    ),
    ("INVALIDATE", "TAG", "t"): (
        "tag:{t} tagepoch:{t} tagclosed:{t}",
        "ZCARD tag:{t}, SET tagepoch:{t} 1, SMEMBERS tagclosed:{t}",
    ),
    ("INVALIDATE", "SOFT", "TAG", "t"): ("tagepoch:{t}", "GET tagepoch:{t}, SET tagepoch:{t} 1"),
    ("LEASE", "SET", "new", "t", "v", "TAG", "t"): (
        "tag:{t} tagepoch:{t}",
        "ZADD tag:{t} 1 new, GET tagepoch:{t}",
    ),
    ("LEASE", "GET", "new"): ("new lease:{new}", "GET new, SET lease:{new} t"),
    ("LEASE", "SET", "new", "t", "v"): ("new lease:{new}", "GET lease:{new}"),
    ("LEASE", "CANCEL", "new", "t"): ("new lease:{new}", "GET lease:{new}"),
    ("LOCK", "ACQUIRE", "r", "TOKEN", "t"): ("lock:{r}", "SET lock:{r} t"),
    ("LOCK", "EXTEND", "r", "t", "PX", "5000"): ("lock:{r}", "GET lock:{r}"),
    ("LOCK", "INFO", "r"): ("lock:{r}", "GET lock:{r}, PTTL lock:{r}"),
    ("LOCK", "RELEASE", "r", "t"): ("lock:{r}", "GET lock:{r}"),
}
PLAIN = {
    ("GETORSET", "k"): ("GET", "k"),
    ("INVALIDATE", "new"): ("UNLINK", "new"),
    ("STATS",): ("INFO", "nearhit"),
}


def script(keys: str, calls: str) -> tuple[str, ...]:
    """EVAL of these calls."""
    each = ("','".join(call.split()) for call in calls.split(", "))
    text = " ".join(f"redis.call('{words}')" for words in each)
    return ("EVAL", text, str(len(keys.split())), *keys.split())


class User(NamedTuple):
    name: str
    direct: Link
    proxied: Link


class Ports(NamedTuple):
    server: int
    proxy: int
    web: int  # HTTP of a proxy that is the user ``web``


@pytest.fixture(scope="module", params=["redis", "valkey"])
def ports(request: pytest.FixtureRequest) -> Iterator[Ports]:
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    with ExitStack() as stack:
        server = stack.enter_context(upstream(kind)).port
        with closing(Link(server)) as boss:
            boss.ask("ACL", "SETUSER", "web", "on", ">pw", "~*", "+@all")
        web = free_port()
        url = f"redis://web:pw@{HOST}:{server}"
        stack.enter_context(nearhit(url, "--http", f"{HOST}:{web}"))
        proxy = stack.enter_context(nearhit(f"redis://{HOST}:{server}"))
        yield Ports(server, proxy.port, web)


@pytest.fixture
def boss(ports: Ports) -> Iterator[Link]:
    with closing(Link(ports.server)) as link:
        link.ask("FLUSHALL")
        for key in ("k", "l", "m", "n", "a:k"):
            link.ask("SET", key, f"value of {key}")
        yield link


@pytest.fixture
def both(ports: Ports, boss: Link) -> Iterator[Callable[[str], User]]:
    """Connections of a user with these rights: to the server, and to the proxy."""
    with ExitStack() as stack:

        def made(rules: str) -> User:
            name = f"u{next(NUMBERS)}"
            assert boss.ask("ACL", "SETUSER", name, "reset", "on", ">pw", *rules.split()) == OK
            links = Link(ports.server), Link(ports.proxy)
            for link in links:
                stack.callback(link.close)
                assert link.ask("AUTH", name, "pw") == OK
            return User(name, *links)

        yield made


ROUNDS = 5  # the third answer may come out of the near cache


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("first", ["GET", "MGET", "GETORSET"])
def test_reads_are_answered_cold_and_warm_as_by_the_server(
    both: Callable[[str], User], user: str, first: str
) -> None:
    _, direct, proxied = both(USERS[user])

    for name in (first, "GET", "MGET", "GETORSET"):
        plain = "GET" if name == "GETORSET" else name
        for key in ("k", "a:k", "none"):
            if (name, key) == ("GETORSET", "none"):
                continue
            wanted = direct.ask(plain, key)
            for _ in range(ROUNDS):
                assert proxied.ask(name, key) == wanted, (name, key)


@pytest.mark.parametrize("user", USERS)
def test_commands_of_our_own_are_refused_where_their_plain_ones_are(
    both: Callable[[str], User], boss: Link, user: str
) -> None:
    _, direct, proxied = both(USERS[user])

    for words, plain in {**PLAIN, **{own: script(*how) for own, how in OWN.items()}}.items():
        boss.ask("DEL", "new", "lease:{new}", "tag:{t}", "tagepoch:{t}")
        wanted = direct.ask(*plain).startswith(b"-")
        boss.ask("DEL", "new", "lease:{new}", "tag:{t}", "tagepoch:{t}")
        said = proxied.ask(*words)
        assert said.startswith(b"-NOPERM") is wanted, (words, said)


CHANGES = ["-get", "-mget", "-@all", "resetkeys", "resetkeys ~a:*", "off", "resetpass"]


@pytest.mark.parametrize("through", [False, True], ids=["directly", "through the proxy"])
def test_what_a_user_lost_he_loses_near(
    ports: Ports, boss: Link, both: Callable[[str], User], through: bool
) -> None:
    users = [(change, both("~* +@all")) for change in CHANGES]
    with closing(Link(ports.proxy)) as other:
        for _, user in users:
            wait_for(lambda: _is_near(user.proxied, other), 4, "near hits")  # noqa: B023
        for change, user in users:
            admin = other if through else boss
            assert admin.ask("ACL", "SETUSER", user.name, *change.split()) == OK

        for _, user in users:
            for words in (("GET", "k"), ("MGET", "k", "l"), ("GETORSET", "k")):
                plain = ("GET", "k") if words[0] == "GETORSET" else words
                wanted = user.direct.ask(*plain)
                if through:
                    assert user.proxied.ask(*words) == wanted
                else:  # within a second: the unit test of rights.py has the bound
                    wait_for(lambda: user.proxied.ask(*words) == wanted, 3, f"{words}")  # noqa: B023


def test_nobody_reads_on_as_a_user_who_is_deleted(
    ports: Ports, boss: Link, both: Callable[[str], User]
) -> None:
    user, _, proxied = both("~* +@all")
    with closing(Link(ports.proxy)) as other:
        wait_for(lambda: _is_near(proxied, other), 4, "near hits")
    boss.ask("ACL", "DELUSER", user)

    def refused() -> bool:
        proxied.send(command("GET", "k"))
        return not b"".join(proxied.read(1)).startswith(b"$")  # as by the server: it is closed

    wait_for(refused, 3, "the refusal")


def _is_near(client: Link, other: Link) -> bool:
    """Whether GETs and MGETs of the client are answered near."""
    before = _hits(other)
    for _ in range(3):
        client.ask("GET", "k")
        client.ask("MGET", "k", "l")
    return _hits(other) >= before + 9


def _hits(link: Link) -> int:
    return int(link.ask("INFO", "nearhit").split(b"near_hits:")[1].split(b"\r\n")[0])


@pytest.mark.parametrize("user", USERS)
def test_http_may_what_the_user_of_the_url_may(ports: Ports, boss: Link, user: str) -> None:
    boss.ask("ACL", "SETUSER", "web", "reset", "on", ">pw", *USERS[user].split())
    with closing(Link(ports.server)) as direct:
        direct.ask("AUTH", "web", "pw")
        wanted = direct.ask("GET", "k").startswith(b"$")
    try:
        for _ in range(ROUNDS):
            asked = http.client.HTTPConnection(HOST, ports.web, timeout=4)
            with closing(asked):
                asked.request("GET", "/api/cache/k")
                assert asked.getresponse().status == (200 if wanted else 403)
    finally:
        boss.ask("ACL", "SETUSER", "web", "reset", "on", ">pw", "~*", "+@all")


NARROW = {
    "INFO": "+info",
    "ACL GETUSER": "+acl|getuser",
    "neither": "",
}


@pytest.mark.parametrize("rights", NARROW.values(), ids=NARROW)
def test_a_proxy_that_may_little_notices_too(
    ports: Ports, boss: Link, both: Callable[[str], User], rights: str
) -> None:
    may = f"~* -@all +get +set +ping +client +hello {rights}"
    boss.ask("ACL", "SETUSER", "proxy", "reset", "on", ">pw", *may.split())
    user, direct, _ = both("~* +@all")
    with (
        nearhit(f"redis://proxy:pw@{HOST}:{ports.server}") as proxy,
        closing(Link(proxy.port)) as client,
    ):
        assert client.ask("AUTH", user, "pw") == OK
        for _ in range(ROUNDS):
            client.ask("GET", "k")
        boss.ask("ACL", "SETUSER", user, "-get")
        refusal = direct.ask("GET", "k")
        wait_for(lambda: client.ask("GET", "k") == refusal, 3, "the refusal")


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[list[int], int]]:
    """The ports of a cluster's primaries, and of a proxy in front of them."""
    kind: Kind = "redis" if server_binary("redis") else "valkey"
    with cluster(kind, 3, 0) as made, nearhit(made.url) as proxy:
        yield [member.port for member in made.nodes], proxy.port


def test_each_node_of_a_cluster_has_its_own_acl(nodes: tuple[list[int], int]) -> None:
    servers, port = nodes
    keys = [key_in(slot).decode() for slot in (100, 8000, 16000)]
    with ExitStack() as stack:
        bosses = [stack.enter_context(closing(Link(server))) for server in servers]
        client, plain = (stack.enter_context(closing(Link(port))) for _ in range(2))
        for boss in bosses:
            boss.ask("ACL", "SETUSER", "u", "reset", "on", ">pw", "~*", "+@all")
        assert client.ask("AUTH", "u", "pw") == OK
        for key in keys:
            client.ask("SET", key, key)

        def near() -> bool:
            before = _hits(plain)
            for key in keys:
                client.ask("GET", key)
            return _hits(plain) == before + len(keys)

        wait_for(near, 4, "near hits")
        for at, boss in enumerate(bosses):
            boss.ask("ACL", "SETUSER", "u", "-get")
            wait_for(lambda: client.ask("GET", keys[at]).startswith(b"-NOPERM"), 3, keys[at])  # noqa: B023
            for key in keys[at + 1 :]:
                assert client.ask("GET", key).startswith(b"$")
