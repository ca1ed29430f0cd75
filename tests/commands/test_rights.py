"""The ACL decides behind the near cache as in front of it: users by reads, by each form of each
command of our own, and by HTTP; each cell compared with what the server itself says to that user,
also when a right is taken away behind our back."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import count
from typing import NamedTuple

import pytest
from nearhit.commands import COMMANDS
from nearhit.commands.jobs import WORDS

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


def script(keys: str, calls: str = "") -> tuple[str, ...]:
    """EVAL of these calls."""
    each = ("','".join(call.split()) for call in calls.split(", ") if call)
    text = " ".join(f"redis.call('{words}')" for words in each) or "return 1"
    return ("EVAL", text, str(len(keys.split())), *keys.split())


Words = tuple[str, ...]
INFO: Words = ("INFO", "nearhit")
SCAN: Words = ("SCAN", "0")
UNLINK: Words = ("UNLINK", "gone")
NO_LEASE: Words = ("DEL", "lease:{gone}")
TAGS = "tag:{t} tagepoch:{t}"
LOCKS = "lock:{r}"
# Each command of our own in each of its forms, and what the server must let who asks do for it.
# (LOCK's and LEASE's shortest way: what a request is refused by first.)
OWN: dict[Words, Sequence[Words]] = {
    ("GETORSET", "k"): [("GET", "k")],
    ("GETORSET", "new", "v"): [script("new lease:{new}", "GET new, SET new v, DEL lease:{new}")],
    ("GETORSET", "new", "v", "TAG", "t"): [
        script(
            "new lease:{new} tag:{t} tagepoch:{t}",
            "GET tagepoch:{t}, GET new, SET lease:{new} t, ZADD tag:{t} 1 new, SET new v",
        )
    ],
    ("MGETORSET", "2", "k", "none"): [("MGET", "k", "none")],
    ("MGETORSET", "1", "new", "PARTIAL"): [("MGET", "new")],
    ("INVALIDATE", "gone"): [NO_LEASE, UNLINK],
    ("INVALIDATE", "KEYS", "gone"): [NO_LEASE, UNLINK],
    ("INVALIDATE", "SOFT", "KEYS", "gone"): [NO_LEASE, UNLINK],
    ("INVALIDATE", "PATTERN", "gone*"): [SCAN, UNLINK],
    ("INVALIDATE", "SOFT", "PATTERN", "gone*"): [SCAN, NO_LEASE, UNLINK],
    ("INVALIDATE", "TAG", "t"): [
        script(
            "tag:{t} tagepoch:{t} tagclosed:{t}",
            "ZCARD tag:{t}, SET tagepoch:{t} 1, SMEMBERS tagclosed:{t}",
        )
    ],
    ("INVALIDATE", "SOFT", "TAG", "t"): [
        script("tagepoch:{t}", "GET tagepoch:{t}, SET tagepoch:{t} 1")
    ],
    # What a job may not do is told by its STATUS.
    ("INVALIDATE", "ASYNC", "PATTERN", "gone*"): [SCAN],
    ("INVALIDATE", "ASYNC", "TAG", "t"): [script(TAGS)],
    ("INVALIDATE", "STATUS", "x"): [],
    ("INVALIDATE", "CANCEL", "x"): [],
    ("INVALIDATE", "JOBS"): [],
    ("WARM", "VALUES", "new", "v"): [("SET", "new", "v")],
    ("WARM", "REFRESH", "VALUES", "new", "v"): [("SET", "new", "v")],
    ("WARM", "TAG", "t", "VALUES", "new", "v"): [
        script("new lease:{new} tag:{t} tagepoch:{t}", "ZADD tag:{t} 1 new, SET new v")
    ],
    ("WARM", "KEYS", "k"): [script("k")],  # has no loader, which who may write it is told
    ("WARM", "ASYNC", "VALUES", "new", "v"): [],
    ("WARM", "STATUS", "x"): [],
    ("WARM", "CANCEL", "x"): [],
    ("WARM", "JOBS"): [],
    ("LEASE", "GET", "new"): [script("new lease:{new}", "GET new, SET lease:{new} t")],
    ("LEASE", "SET", "new", "t", "v"): [script("new lease:{new}", "GET lease:{new}")],
    ("LEASE", "SET", "new", "t", "v", "TAG", "t"): [
        script(TAGS, "ZADD tag:{t} 1 new, GET tagepoch:{t}")
    ],
    ("LEASE", "CANCEL", "new", "t"): [script("new lease:{new}", "GET lease:{new}")],
    ("LEASE", "HELP"): [],
    ("LOCK", "ACQUIRE", "r", "TOKEN", "t"): [script(LOCKS, "SET lock:{r} t")],
    ("LOCK", "ACQUIRE", "r", "TOKEN", "t", "RENEW"): [script(LOCKS, "SET lock:{r} t")],
    ("LOCK", "ACQUIRE", "r", "TOKEN", "t", "PX", "50", "REPLICAS", "1"): [
        script(LOCKS, "SET lock:{r} t"),
        ("WAIT", "0", "0"),
    ],
    ("LOCK", "EXTEND", "r", "t", "PX", "5000"): [script(LOCKS, "GET lock:{r}")],
    ("LOCK", "INFO", "r"): [script(LOCKS, "GET lock:{r}, PTTL lock:{r}")],
    ("LOCK", "RELEASE", "r", "t"): [script(LOCKS, "GET lock:{r}")],
    ("LOCK", "LIST"): [SCAN],
    ("LOCK", "HELP"): [],
    ("STATS",): [INFO],
    ("STATS", "HOTKEYS"): [INFO],
    ("STATS", "BIGKEYS"): [INFO],
    ("STATS", "PREFIXES"): [INFO],
    ("STATS", "LATENCY"): [INFO],
    ("STATS", "SLOWLOG"): [INFO, ("SLOWLOG", "GET")],
    ("STATS", "PROXY"): [INFO],
    ("STATS", "RESET"): [("CONFIG", "RESETSTAT")],
    ("STATS", "HELP"): [],
}
HELD = ("new", "lease:{new}", "tag:{t}", "tagepoch:{t}", "lock:{r}")


def fresh(boss: Link) -> None:
    """As each cell of the matrix finds it."""
    boss.ask("DEL", *HELD)
    boss.ask("SET", "gone", "v")


def refused(asked: Link, boss: Link, every: Sequence[Words]) -> bool:
    """Whether the server refuses one of these to who asks."""
    answers: list[bytes] = []
    for words in every:
        fresh(boss)
        answers.append(asked.ask(*words))
    return any(answer.startswith(b"-") for answer in answers)


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

    for words, plain in OWN.items():
        wanted = refused(direct, boss, plain)
        fresh(boss)
        said = proxied.ask(*words)
        assert (b"NOPERM" in said) is wanted, (words, said)
        if words[:2] == ("LOCK", "ACQUIRE"):
            proxied.ask("LOCK", "RELEASE", "r", "t")


def test_each_form_of_our_own_commands_is_in_the_matrix() -> None:
    forms = {
        (spec.name.decode(), word.name)
        for spec in COMMANDS
        for word in spec.subcommands
        if spec.subcommands
    }
    forms |= {("WARM", word.decode()) for word in WORDS} | {
        ("INVALIDATE", b.decode()) for b in WORDS
    }

    assert {spec.name.decode() for spec in COMMANDS} == {words[0] for words in OWN}
    assert forms <= {words[:2] for words in OWN}


def test_commands_of_our_own_are_refused_once_the_right_is_lost(
    both: Callable[[str], User], boss: Link
) -> None:
    user, _, proxied = both("~* +@all")
    for words in OWN:
        fresh(boss)
        assert b"NOPERM" not in proxied.ask(*words), words
        if words[:2] == ("LOCK", "ACQUIRE"):
            proxied.ask("LOCK", "RELEASE", "r", "t")

    boss.ask("ACL", "SETUSER", user, "-@all")

    for words, plain in OWN.items():
        wait_for(lambda: b"NOPERM" in proxied.ask(*words) or not plain, 3, f"{words}")  # noqa: B023


# Reads, and what they are without the near cache and loaders.
LOOKS = {
    ("GET", "k"): ("GET", "k"),
    ("MGET", "k", "l"): ("MGET", "k", "l"),
    ("GETORSET", "k"): ("GET", "k"),
    ("MGETORSET", "2", "k", "l"): ("MGET", "k", "l"),
}
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
            for words, plain in LOOKS.items():
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


# Of HTTP, what it is given, and what that is on the wire.
WEB: dict[tuple[str, str], Words] = {
    ("/api/cache/k", ""): ("GETORSET", "k"),
    ("/api/cache/mget", '{"keys": ["k", "none"]}'): ("MGETORSET", "2", "k", "none"),
    ("/api/cache/invalidate", '{"key": "gone"}'): ("INVALIDATE", "gone"),
    ("/api/cache/invalidate", '{"key": "gone", "soft": true}'): (
        *("INVALIDATE", "SOFT", "KEYS"),
        "gone",
    ),
    ("/api/cache/invalidate", '{"pattern": "gone*"}'): ("INVALIDATE", "PATTERN", "gone*"),
    ("/api/cache/invalidate", '{"tag": "t"}'): ("INVALIDATE", "TAG", "t"),
    ("/api/cache/invalidate", '{"pattern": "gone*", "async": true}'): (
        *("INVALIDATE", "ASYNC", "PATTERN"),
        "gone*",
    ),
    ("/api/cache/warm", '{"keys": ["k"]}'): ("WARM", "KEYS", "k"),
    ("/api/cache/stats", ""): ("STATS",),
    ("/api/cache/lock/acquire", '{"resource": "r"}'): ("LOCK", "ACQUIRE", "r", "TOKEN", "t"),
}


@pytest.mark.parametrize("user", USERS)
def test_http_may_what_the_user_of_the_url_may(ports: Ports, boss: Link, user: str) -> None:
    boss.ask("ACL", "SETUSER", "web", "reset", "on", ">pw", *USERS[user].split())
    try:
        with closing(Link(ports.server)) as direct:
            direct.ask("AUTH", "web", "pw")
            for (path, given), words in WEB.items():
                # The counts of all proxies are kept as the URL's user.
                counts = [("HMGET", "nearhit:stats", "hits")] if words == ("STATS",) else []
                wanted = refused(direct, boss, [*OWN[words], *counts])
                for _ in range(ROUNDS if words[0] == "GETORSET" else 1):
                    fresh(boss)
                    status, said = web(ports.web, path, given)
                    no = status == 403 or (words[0] == "WARM" and '"NOPERM' in said)
                    assert no is wanted, (path, given, said)
    finally:
        boss.ask("ACL", "SETUSER", "web", "reset", "on", ">pw", "~*", "+@all")


def web(port: int, path: str, given: str) -> tuple[int, str]:
    """GET, or POST where something is given: the status, and the body."""
    asked = http.client.HTTPConnection(HOST, port, timeout=4)
    with closing(asked):
        head = {"Content-Type": "application/json"} if given else {}
        asked.request("POST" if given else "GET", path, given or None, head)
        answer = asked.getresponse()
        return answer.status, answer.read().decode()


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
