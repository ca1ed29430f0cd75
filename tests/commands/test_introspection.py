"""COMMAND and INFO through the proxy, against real servers: what clients learn of our commands.

redis-cli builds its hints and its help from COMMAND DOCS and ends itself where a frame in it is not
of the type that it expects; redis-py reads rows and keys."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Final

import pytest
from redis import Redis

from tests.servers import HOST, Kind, nearhit, server_binary, upstream, wait_for
from tests.wire.frames import children, payload
from tests.wire.link import Link, command

OURS: Final = {b"getorset", b"invalidate", b"lease", b"lock", b"mgetorset", b"stats", b"warm"}


@pytest.fixture(scope="module", params=["redis", "valkey"])
def ports(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The port of a server, and that of a proxy before it."""
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    with ExitStack() as stack:
        server = stack.enter_context(upstream(kind)).port
        yield server, stack.enter_context(nearhit(f"redis://{HOST}:{server}")).port


@pytest.fixture
def port(ports: tuple[int, int]) -> int:
    return ports[1]


def asked(port: int, *words: str, resp: int = 2) -> bytes:
    with closing(Link(port)) as link:
        link.ask("HELLO", resp)
        return link.ask(*words)


def names(frame: bytes) -> set[bytes]:
    return {payload(one) for one in children(frame)[1]}


def shape(frame: bytes) -> object:
    """The types of a frame, and of those in it; a set's or a list's members are taken to be
    alike."""
    _, inner = children(frame)
    return (frame[:1], shape(inner[0]) if inner else None)


@pytest.mark.parametrize("resp", [2, 3])
def test_command_has_the_servers_rows_and_ours(ports: tuple[int, int], resp: int) -> None:
    direct, proxied = (children(asked(port, "COMMAND", resp=resp))[1] for port in ports)

    added = {payload(children(row)[1][0]) for row in proxied[len(direct) :]}
    assert added == OURS
    assert len(proxied) == len(direct) + len(OURS)


def test_they_are_counted_and_listed(ports: tuple[int, int]) -> None:
    before, after = (int(asked(port, "COMMAND", "COUNT")[1:-2]) for port in ports)
    direct, proxied = (names(asked(port, "COMMAND", "LIST")) for port in ports)

    assert after == before + len(OURS)
    assert {name.partition(b"|")[0] for name in proxied - direct} == OURS
    assert b"lock|acquire" in proxied


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["PATTERN", "getor*"], {b"getorset"}),
        (["PATTERN", "LOCK|a*"], {b"lock|acquire"}),
        (["MODULE", "nearhit"], set()),
    ],
)
def test_they_are_filtered_as_the_servers_are(
    port: int, words: list[str], wanted: set[bytes]
) -> None:
    assert names(asked(port, "COMMAND", "LIST", "FILTERBY", *words)) == wanted


@pytest.mark.parametrize("resp", [2, 3])
def test_a_row_of_ours_is_made_as_the_servers(port: int, resp: int) -> None:
    words = ["COMMAND", "INFO", "getset", "getorset", "nosuch", "lock|acquire"]

    _, (theirs, ours, nothing, sub) = children(asked(port, *words, resp=resp))

    fields = [children(row)[1] for row in (theirs, ours, sub)]
    for at in range(9):  # an empty list of subcommands is a set in Redis 7.0, a list in Valkey
        if at == 7:
            continue  # GETSET has no tips, and others may have some
        assert shape(fields[1][at]) == shape(fields[0][at]), at
        assert shape(fields[2][at]) == shape(fields[0][at]), at
    assert payload(fields[1][0]) == b"getorset"
    assert payload(fields[2][0]) == b"lock|acquire"
    assert nothing == (b"_\r\n" if resp == 3 else b"$-1\r\n")


@pytest.mark.parametrize("resp", [2, 3])
def test_docs_of_some_and_of_all_are_maps(ports: tuple[int, int], resp: int) -> None:
    some = asked(
        ports[1], "COMMAND", "DOCS", "get", "getorset", "nosuch", "lock|acquire", resp=resp
    )
    direct, proxied = (children(asked(port, "COMMAND", "DOCS", resp=resp))[1] for port in ports)

    found = children(some)[1]
    assert [payload(name) for name in found[::2]] == [b"get", b"getorset", b"lock|acquire"]
    assert some[:4] == (b"%3\r\n" if resp == 3 else b"*6\r\n")
    assert {payload(name) for name in proxied[len(direct) :: 2]} == OURS


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("GETORSET k v EX 5", [b"k"]),
        ("LEASE SET k token v", [b"k"]),
        ("LOCK ACQUIRE r WAIT 5", [b"r"]),
        ("INVALIDATE a b", [b"a", b"b"]),
        ("INVALIDATE KEYS a b", [b"a", b"b"]),
        ("MGETORSET 2 a b PARTIAL", [b"a", b"b"]),
        ("WARM EX 5 KEYS a b", [b"a", b"b"]),
        ("WARM VALUES a 1 b 2", [b"a", b"b"]),
        ("WARM TAG t EX 5 TAG u VALUES a 1 b 2", [b"a", b"b"]),
        ("WARM TAG t KEYS a b", [b"a", b"b"]),
        ("INVALIDATE SOFT KEYS a b", [b"a", b"b"]),
        ("GETORSET k v TAG t TAG u", [b"k"]),
        ("LEASE SET k token v TAG t", [b"k"]),
    ],
)
def test_clients_learn_the_keys_of_a_request(port: int, words: str, keys: list[bytes]) -> None:
    got = asked(port, "COMMAND", "GETKEYS", *words.split())
    flagged = asked(port, "COMMAND", "GETKEYSANDFLAGS", *words.split())

    assert [payload(key) for key in children(got)[1]] == keys
    assert [payload(children(pair)[1][0]) for pair in children(flagged)[1]] == keys


@pytest.mark.parametrize(
    ("words", "like"),
    [
        ("GETORSET", "GET"),
        ("STATS RESET x y", "CONFIG RESETSTAT x y"),
        ("LOCK RELEASE", "XGROUP DESTROY"),
        ("LOCK NOSUCH x", "XGROUP NOSUCH x"),
        ("NOSUCH x y", "NOSUCH x y"),
    ],
)
def test_what_has_no_keys_is_refused_as_the_server_refuses_its_like(
    ports: tuple[int, int], words: str, like: str
) -> None:
    direct = asked(ports[0], "COMMAND", "GETKEYS", *like.split())
    proxied = asked(ports[1], "COMMAND", "GETKEYS", *words.split())

    assert proxied == direct
    assert proxied.startswith(b"-ERR ")


@pytest.mark.parametrize("resp", [2, 3])
def test_exec_answers_with_ours_too(port: int, resp: int) -> None:
    with closing(Link(port)) as link:
        link.ask("HELLO", resp)
        link.send(
            command("MULTI")
            + command("COMMAND", "GETKEYS", "GETORSET", "k")
            + command("INFO", "nearhit")
            + command("SET", "k", "v")
            + command("EXEC")
        )
        *_, reply = link.read(5)

    keys, info, done = children(reply)[1]
    assert keys == b"*1\r\n$1\r\nk\r\n"
    assert b"# Nearhit\r\n" in info
    assert done == b"+OK\r\n"


# --- INFO


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("sections", [[], ["all"], ["default"], ["Everything"], ["cpu", "nearhit"]])
def test_info_ends_with_our_section(port: int, sections: list[str], resp: int) -> None:
    frame = asked(port, "INFO", *sections, resp=resp)

    text = payload(frame)
    titles = [line for line in text.split(b"\r\n") if line.startswith(b"# ")]
    assert titles[-1] == b"# Nearhit"
    assert b"\r\n\r\n# Nearhit\r\n" in text
    assert text.endswith(b"\r\n")
    assert frame.startswith(b"=" if resp == 3 else b"$")


def test_info_of_our_section_is_nothing_else(port: int) -> None:
    assert payload(asked(port, "INFO", "nearhit")).startswith(b"# Nearhit\r\n")
    assert b"# Nearhit" not in asked(port, "INFO", "server")


# --- Clients


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="no redis-cli on this machine")
@pytest.mark.parametrize("protocol", [[], ["-3"]])
def test_redis_cli_helps_with_our_commands(port: int, protocol: list[str]) -> None:
    asking = b"help getorset\nhelp lock acquire\nhelp invalidate\nhelp stats\n"

    done = subprocess.run(
        ["redis-cli", *protocol, "-p", str(port)],
        input=asking,
        capture_output=True,
        timeout=20,
        check=True,
    )

    assert not done.stderr
    for title in (b"GETORSET", b"LOCK ACQUIRE", b"INVALIDATE", b"STATS RESET"):
        assert b"\x1b[1m%b\x1b[0m" % title in done.stdout
    assert b"since:\x1b[0m 0.1.0" in done.stdout
    assert b"PX milliseconds" in done.stdout


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_reads_our_rows_and_keys(port: int, protocol: int) -> None:
    with Redis(host=HOST, port=port, protocol=protocol) as client:
        rows = client.command()
        keys = client.command_getkeys("GETORSET", "k", "v")
        section = client.info()

    assert rows["getorset"]["first_key_pos"] == 1
    assert "write" in rows["getorset"]["flags"]
    assert "movablekeys" in rows["warm"]["flags"]
    assert keys in ([b"k"], ["k"])
    assert "hits" in section


@pytest.mark.parametrize(
    ("words", "cmd"),
    [
        ("LOCK ACQUIRE r PX 100", b"lock|acquire"),
        ("lock nope", b"NULL"),
        ("LOCK", b"lock"),
        ("LEASE GET x", b"lease|get"),
        ("GETORSET k v", b"getorset"),
        ("GETORSET k", b"getorset"),
        ("STATS", b"stats"),
    ],
)
def test_client_list_names_our_commands(port: int, words: str, cmd: bytes) -> None:
    with closing(Link(port)) as one:
        own = one.ask("CLIENT", "ID")[1:-2].decode()
        for _ in range(3):  # GETORSET: cold, filling, near
            one.ask(*words.split())
            assert b" cmd=%b " % cmd in asked(port, "CLIENT", "LIST", "ID", own)


def test_who_waits_for_a_lock_is_blocked_as_list_and_info_have_it(port: int) -> None:
    with closing(Link(port)) as holder, closing(Link(port)) as waiter:
        own = waiter.ask("CLIENT", "ID")[1:-2].decode()
        holder.ask("LOCK", "ACQUIRE", "held", "PX", 10_000)
        waiter.send(command("LOCK", "ACQUIRE", "held", "PX", 100, "WAIT", 10_000))

        wait_for(lambda: b" flags=b " in asked(port, "CLIENT", "LIST", "ID", own), what="it waits")
        info = asked(port, "INFO", "clients")
        assert b"\r\nblocked_clients:1\r\n" in info
        assert b"\r\nclients_in_timeout_table:1\r\n" in info
        assert b"upstream_blocked_clients:0\r\n" in asked(port, "INFO")
