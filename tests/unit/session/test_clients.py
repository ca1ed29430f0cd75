"""Who is connected, and what KILL does to them."""

from __future__ import annotations

import pytest
from nearhit.proxy.session.clients import Clients
from nearhit.proxy.session.filters import filters
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.people import Someone


@pytest.fixture
def clients() -> Clients:
    clients: Clients = Clients(10, lambda: None)
    for one in (
        Someone(name=b"a"),
        Someone(name=b"b", peer="10.0.0.9:1", subscriptions=(1, 0, 0), born=150.0, active=200.0),
        Someone(lane_key=LaneKey(user=User(b"alice", b"p")), local="10.0.0.3:1"),
    ):
        assert clients.join(one)
    return clients


# --- Joining and leaving


def test_ids_only_grow() -> None:
    clients: Clients = Clients(10, lambda: None)
    first, second = Someone(), Someone()

    clients.join(first)
    clients.leave(first)
    clients.join(second)

    assert (first.id, second.id) == (1, 2)
    assert clients.get(1) is None
    assert clients.get(2) is second
    assert len(clients) == 1


def test_past_the_limit_nobody_joins() -> None:
    clients: Clients = Clients(1, lambda: None)
    late = Someone()
    clients.join(Someone())

    assert not clients.join(late)

    clients.leave(late)  # its connection ends, too
    assert len(clients) == 1
    assert repr(clients) == "<Clients 1/1>"


def test_clients_may_leave_while_they_are_counted_through(clients: Clients) -> None:
    for one in clients:
        clients.leave(one)

    assert len(clients) == 0


# --- KILL


def test_kill_cuts_the_chosen_and_counts_them(clients: Clients) -> None:
    me, other = clients.get(1), clients.get(2)
    assert me is not None
    assert other is not None

    assert clients.kill(filters([b"ID", b"2"], me), me) == 1

    assert other.cut == "CLIENT KILL"
    assert not me.cut


def test_who_kills_itself_is_counted_but_gets_its_answer_first(
    clients: Clients,
) -> None:
    me = clients.get(1)
    assert me is not None

    assert clients.kill(filters([b"SKIPME", b"no"], me), me) == 3

    assert not me.cut
    assert not me.ended  # it ends itself, behind its answer


def test_who_is_cut_already_is_not_counted_again(clients: Clients) -> None:
    me = clients.get(1)
    assert me is not None

    assert clients.kill(filters([b"ID", b"2"], me), me) == 1
    assert clients.kill(filters([b"ID", b"2"], me), me) == 0
