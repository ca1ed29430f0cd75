"""A session has what its berth needs of it; mypy compares the types."""

from __future__ import annotations

import inspect

from nearhit.proxy.session.moored import Moored
from nearhit.proxy.session.session import Session

from tests.fakes import Client


def as_moored(session: Session) -> Moored:
    return session


async def test_a_session_has_all_of_it(client: Client) -> None:
    session = as_moored(client.session)
    methods = {name for name, _ in inspect.getmembers(Moored, inspect.isfunction)}

    assert [name for name in Moored.__annotations__ if not hasattr(session, name)] == []
    assert [name for name in methods if not hasattr(session, name)] == []
