"""CLIENT ID, LIST, INFO and KILL: identities, which a proxy has to give its own clients.

Nothing here can be compared byte for byte, so each promise is tested for itself: on a real server
(which shows that the test is right) and through the proxy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.servers import wait_for

from .conftest import Side
from .frames import children, payload
from .link import PATIENCE, Link, command

Connect = Callable[[], Link]


@pytest.fixture
def connect(side: Side, resp: int) -> Iterator[Connect]:
    """Opens connections that speak the protocol of the test and are closed with it."""
    with ExitStack() as stack:

        def opened() -> Link:
            link = stack.enter_context(closing(Link(side.port)))
            link.ask("HELLO", resp)
            return link

        yield opened


def number(frame: bytes) -> int:
    assert frame.startswith(b":"), frame
    return int(frame[1:-2])


def lines(frame: bytes) -> list[dict[str, str]]:
    """The fields of each client that a CLIENT LIST or CLIENT INFO names."""
    text = payload(frame).removeprefix(b"txt:").decode()
    return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines()]


def line_of(asker: Link, identity: int) -> dict[str, str]:
    found = [one for one in lines(asker.ask("CLIENT", "LIST")) if one["id"] == str(identity)]
    assert len(found) == 1, f"{len(found)} clients of id {identity}"
    return found[0]


def id_of(link: Link) -> int:
    return number(link.ask("CLIENT", "ID"))


def is_gone(link: Link) -> bool:
    return link.rest(PATIENCE) == b""


def test_the_id_is_the_same_everywhere_and_stays(connect: Connect, resp: int) -> None:
    link = connect()
    own = id_of(link)

    _, hello = children(link.ask("HELLO", resp))
    assert number(hello[hello.index(b"$2\r\nid\r\n") + 1]) == own
    assert lines(link.ask("CLIENT", "INFO"))[0]["id"] == str(own)
    assert lines(link.ask("CLIENT", "LIST", "ID", own))[0]["id"] == str(own)

    for words in (["SELECT", "3"], ["MULTI"], ["SET", "k", "v"], ["EXEC"], ["WATCH", "k"]):
        link.ask(*words)
        if words != ["MULTI"] and words[0] != "SET":
            assert id_of(link) == own
    link.ask("RESET")
    assert id_of(link) == own


def test_the_id_is_the_same_inside_a_transaction_and_of_later_clients_larger(
    connect: Connect,
) -> None:
    link = connect()
    own = id_of(link)

    link.ask("MULTI")
    link.ask("CLIENT", "ID")
    _, inner = children(link.ask("EXEC"))

    assert number(inner[0]) == own
    assert id_of(connect()) > own


def test_the_list_shows_every_client_once_with_its_address_name_and_database(
    connect: Connect, side: Side
) -> None:
    links = [connect() for _ in range(3)]
    for place, link in enumerate(links):
        link.ask("CLIENT", "SETNAME", f"lister-{place}")
        link.ask("SELECT", place)

    listed = lines(links[0].ask("CLIENT", "LIST"))

    for place, link in enumerate(links):
        found = [one for one in listed if one["name"] == f"lister-{place}"]
        assert len(found) == 1
        host, port = link.socket.getsockname()
        assert found[0]["id"] == str(id_of(link))
        assert found[0]["addr"] == f"{host}:{port}"
        assert found[0]["laddr"] == f"{host}:{side.port}"
        assert found[0]["db"] == str(place)
        assert found[0]["user"] == "default"


def test_info_is_the_clients_own_line(connect: Connect, resp: int) -> None:
    link = connect()
    link.ask("CLIENT", "SETNAME", "me")
    link.ask("SELECT", 2)

    own = lines(link.ask("CLIENT", "INFO"))

    assert len(own) == 1
    assert own[0]["name"] == "me"
    assert own[0]["db"] == "2"
    assert own[0]["resp"] == str(resp)
    assert own[0]["cmd"] == "client|info"
    assert own[0].keys() == line_of(link, id_of(link)).keys()


def test_the_list_can_be_asked_for_some_clients_only(connect: Connect) -> None:
    one, other, hearer = connect(), connect(), connect()
    hearer.ask("SUBSCRIBE", "asked")
    wanted = {str(id_of(one)), str(id_of(other))}

    by_id = lines(one.ask("CLIENT", "LIST", "ID", *sorted(wanted), 987654321))
    hearing = lines(one.ask("CLIENT", "LIST", "TYPE", "pubsub"))
    normal = lines(one.ask("CLIENT", "LIST", "TYPE", "normal"))

    assert {client["id"] for client in by_id} == wanted
    assert [client["sub"] for client in hearing] == ["1"]
    assert wanted <= {client["id"] for client in normal}
    assert hearing[0]["id"] not in {client["id"] for client in normal}


def test_the_list_shows_modes(connect: Connect) -> None:
    watcher, one = connect(), connect()
    own = id_of(one)

    one.ask("MULTI")
    one.ask("PING")
    assert line_of(watcher, own)["multi"] == "1"
    one.ask("DISCARD")
    assert line_of(watcher, own)["multi"] != "1"
    one.ask("PSUBSCRIBE", "p*")
    assert line_of(watcher, own)["psub"] == "1"
    one.ask("PUNSUBSCRIBE", "p*")
    assert line_of(watcher, own)["psub"] == "0"
    one.ask("CLIENT", "NO-EVICT", "on")
    assert "e" in line_of(watcher, own)["flags"]


def test_a_client_that_left_is_not_listed(connect: Connect) -> None:
    watcher, one = connect(), connect()
    own = id_of(one)

    one.close()

    wait_for(lambda: lines(watcher.ask("CLIENT", "LIST", "ID", own)) == [], what="gone from LIST")


@pytest.mark.parametrize("how", ["id", "addr", "old form", "filters together"])
def test_kill_closes_the_client_it_names(how: str, connect: Connect) -> None:
    killer, victim, bystander = connect(), connect(), connect()
    own = str(id_of(victim))
    host, port = victim.socket.getsockname()
    ways = {
        "id": ["ID", own],
        "addr": ["ADDR", f"{host}:{port}"],
        "old form": [f"{host}:{port}"],
        "filters together": ["ID", own, "ADDR", f"{host}:{port}", "TYPE", "normal"],
    }

    killed = killer.ask("CLIENT", "KILL", *ways[how])

    assert killed == (b"+OK\r\n" if how == "old form" else b":1\r\n")
    assert is_gone(victim)
    assert bystander.ask("PING") == b"+PONG\r\n"
    assert killer.ask("CLIENT", "KILL", "ID", own) == b":0\r\n"


def test_kill_of_filters_that_disagree_closes_nobody(connect: Connect) -> None:
    killer, one, other = connect(), connect(), connect()
    _, port = other.socket.getsockname()

    killed = killer.ask("CLIENT", "KILL", "ID", id_of(one), "ADDR", f"127.0.0.1:{port}")

    assert killed == b":0\r\n"
    assert one.ask("PING") == other.ask("PING") == b"+PONG\r\n"


def test_kill_of_oneself_needs_skipme_no_and_answers_before_the_close(connect: Connect) -> None:
    link = connect()
    own = id_of(link)

    assert link.ask("CLIENT", "KILL", "ID", own) == b":0\r\n"
    assert link.ask("CLIENT", "KILL", "ID", own, "SKIPME", "no") == b":1\r\n"
    assert is_gone(link)


def test_kill_by_type_closes_the_subscribers(connect: Connect) -> None:
    killer, one, other, bystander = connect(), connect(), connect(), connect()
    one.ask("SUBSCRIBE", "doomed")
    other.ask("PSUBSCRIBE", "doom*")

    assert killer.ask("CLIENT", "KILL", "TYPE", "pubsub") == b":2\r\n"

    assert is_gone(one)
    assert is_gone(other)
    assert bystander.ask("PING") == b"+PONG\r\n"
    assert killer.ask("PUBLISH", "doomed", "x") == b":0\r\n"


def test_kill_by_user_closes_that_users_clients(connect: Connect) -> None:
    killer, one, other = connect(), connect(), connect()
    killer.ask("ACL", "SETUSER", "alice", "on", ">pw", "~*", "+@all")
    killer.ask("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all")
    assert one.ask("AUTH", "alice", "pw") == b"+OK\r\n"
    assert other.ask("AUTH", "bob", "pw") == b"+OK\r\n"
    assert line_of(killer, id_of(one))["user"] == "alice"

    assert killer.ask("CLIENT", "KILL", "USER", "alice") == b":1\r\n"

    assert is_gone(one)
    assert other.ask("PING") == b"+PONG\r\n"
    assert killer.ask("CLIENT", "KILL", "USER", "alice") == b":0\r\n"


def test_kill_ends_a_blocked_client_and_nothing_is_popped_for_it(
    connect: Connect, side: Side
) -> None:
    killer, blocked = connect(), connect()
    own = id_of(blocked)
    blocked.send(command("BLPOP", "q", 0))
    side.control.wait_blocked(1)

    assert killer.ask("CLIENT", "KILL", "ID", own) == b":1\r\n"
    assert is_gone(blocked)

    side.control.wait_blocked(0)
    killer.ask("RPUSH", "q", "kept")
    assert killer.ask("LLEN", "q") == b":1\r\n"


def test_unblock_wakes_a_blocked_client(connect: Connect, side: Side, resp: int) -> None:
    waker, blocked = connect(), connect()
    own = id_of(blocked)
    assert waker.ask("CLIENT", "UNBLOCK", own) == b":0\r\n"

    blocked.send(command("BLPOP", "q", 0))
    side.control.wait_blocked(1)
    assert waker.ask("CLIENT", "UNBLOCK", own) == b":1\r\n"
    assert blocked.read(1) == [b"_\r\n" if resp == 3 else b"*-1\r\n"]

    blocked.send(command("BRPOP", "q", 0))
    side.control.wait_blocked(1)
    assert waker.ask("CLIENT", "UNBLOCK", own, "ERROR") == b":1\r\n"
    assert blocked.read(1) == [b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"]

    assert blocked.ask("PING") == b"+PONG\r\n"
    assert waker.ask("CLIENT", "UNBLOCK", own) == b":0\r\n"


def test_tracking_can_be_redirected_to_another_client(connect: Connect) -> None:
    reader, hearer, writer = connect(), connect(), connect()
    target = id_of(hearer)
    hearer.ask("SUBSCRIBE", "__redis__:invalidate")

    assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", target) == b"+OK\r\n"
    reader.ask("GET", "k")
    writer.ask("SET", "k", "v")

    heard = hearer.read(1)
    assert len(heard) == 1
    assert b"$1\r\nk\r\n" in heard[0]


TO_ONESELF = ["CLIENT TRACKING ON REDIRECT {} BCAST", "SUBSCRIBE __redis__:invalidate"]


@pytest.mark.parametrize("order", [1, -1], ids=["before", "behind"])
def test_a_fresh_connection_may_redirect_to_itself(connect: Connect, resp: int, order: int) -> None:
    """In RESP2 only a few commands may follow SUBSCRIBE, and CLIENT is none of them."""
    link, writer = connect(), connect()
    own = id_of(link)

    replies = [link.ask(*words.format(own).split()) for words in TO_ONESELF[::order]]

    if order > 0 or resp == 3:
        assert replies[::order][0] == b"+OK\r\n"
        writer.ask("SET", "k", "v")
        heard = link.read(1)
        assert len(heard) == 1
        assert b"$1\r\nk\r\n" in heard[0]
    else:
        assert replies[1].startswith(b"-ERR Can't execute 'client|tracking'")


def test_where_the_target_has_gone_there_is_nobody_to_redirect_to(connect: Connect) -> None:
    reader, hearer = connect(), connect()
    target = id_of(hearer)
    hearer.ask("QUIT")
    assert is_gone(hearer)

    got = reader.ask("CLIENT", "TRACKING", "ON", "REDIRECT", target)

    assert got == b"-ERR The client ID you want redirect to does not exist\r\n"


def test_that_the_target_is_gone_is_told_by_the_id_that_was_given(connect: Connect) -> None:
    reader, hearer, writer = connect(), connect(), connect()
    target = id_of(hearer)
    hearer.ask("SUBSCRIBE", "__redis__:invalidate")
    reader.ask("HELLO", 3)
    assert reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", target) == b"+OK\r\n"
    reader.ask("GET", "k")
    hearer.ask("QUIT")
    assert is_gone(hearer)

    writer.ask("SET", "k", "v")

    assert reader.read(1) == [b">2\r\n$21\r\ntracking-redir-broken\r\n:%d\r\n" % target]


def test_the_redirection_is_told_by_the_id_that_was_given(connect: Connect) -> None:
    reader, hearer = connect(), connect()
    target = id_of(hearer)

    reader.ask("CLIENT", "TRACKING", "on", "REDIRECT", target)

    assert number(reader.ask("CLIENT", "GETREDIR")) == target
    assert b":%d\r\n" % target in reader.ask("CLIENT", "TRACKINGINFO")
