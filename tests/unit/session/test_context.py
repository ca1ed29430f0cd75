"""What all sessions of a process have in common, as it is where nobody has said more."""

from __future__ import annotations

from nearhit.proxy.resp.inline import Dialect
from nearhit.proxy.session.context import Context

from tests.fakes import World


def test_without_more_there_is_a_redis_behind_and_nothing_of_our_own(world: World) -> None:
    given = world.context

    context = Context(
        given.lanes,
        given.clients,
        given.table,
        given.turn,
        given.scopes,
        given.loaders,
        given.start,
        given.learn,
    )

    assert context.dialect is Dialect.REDIS
    assert (context.fields, dict(context.customs), context.near) == ((), {}, None)
    assert context.info() == b""
