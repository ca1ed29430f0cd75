"""How a client is told that a lock is lost; the tenure itself is tests/unit/locking's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from nearhit.proxy.session import tenures
from nearhit.proxy.session.slots import PeekSlot

PUSH = b">3\r\n$9\r\nlock-lost\r\n$1\r\nr\r\n:7\r\n"


def session(resp: int, head: object = None, tunnel: object = None) -> Any:
    said: list[tuple[str, bytes]] = []
    answers = SimpleNamespace(
        head=head,
        write=lambda data: said.append(("at once", data)),
        answer=lambda data: said.append(("in its place", data)),
    )
    berth = SimpleNamespace(
        lane_key=SimpleNamespace(resp=resp), tunnel=tunnel, run=None, left=False
    )
    client = SimpleNamespace(identity=SimpleNamespace(tenure=None))
    return SimpleNamespace(answers=answers, berth=berth, client=client, said=said)


BLOCKED = PeekSlot.__new__(PeekSlot)


@pytest.mark.parametrize(
    ("head", "how"),
    [(None, "at once"), (BLOCKED, "at once"), (object(), "in its place")],
    ids=["idle", "blocked", "in a reply"],
)
def test_a_push_stands_between_replies(head: object, how: str) -> None:
    client = session(3, head)

    assert tenures._tell(client, b"r", 7)

    assert client.said == [(how, PUSH)]


@pytest.mark.parametrize("options", [{"resp": 2}, {"resp": 3, "tunnel": object()}])
def test_who_knows_no_push_is_not_told_now(options: dict[str, Any]) -> None:
    client = session(**options)

    assert not tenures._tell(client, b"r", 7)
    assert not client.said


def test_a_client_has_one_tenure() -> None:
    client = session(3)

    assert tenures.tenure_of(client) is tenures.tenure_of(cast(Any, client))
