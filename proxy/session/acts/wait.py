"""WAIT and WAITAOF: on how many servers is what this client has written?

Servers count from the last write of the connection that asks, and what a client writes goes over
connections of many. WAIT is asked by ROLE (upstream/heard.py). Of the disks of WAITAOF no other
command tells: a write that changes nothing is made on the connection that asks, behind all that the
client has written. In a cluster both are the virtual connection's (cluster/waits.py).

A client that is connected to a server loses its connection when that fails over, and knows that its
last writes may be lost; here it keeps it, and the first WAIT after a failover tells it."""

from __future__ import annotations

import asyncio
from typing import Final

from ...cluster.lanes import ClusterLanes
from ...errors import OTHER_MASTER, BadInput, ProxyError
from ...hot.sending import MUTE_SKIP
from ...upstream.ask import Done, Reply
from ...upstream.heard import Heard, Role, Wanted
from ...upstream.lane import Lane
from ..conducted import Conducted
from ..reasons import HOLD_BLOCKED, STALL_END, STALL_REPLY
from ..slots import PeekSlot, line_of
from ..waiting import waiting
from .blocking import block

# Replicas are sent what is published there as they are sent writes; nobody else hears it.
CHANNEL: Final = b"nh{wait}"


def wait(session: Conducted, args: list[bytes]) -> bool:
    """WAIT and WAITAOF."""
    if session.berth.vouched != (moves := session.context.lanes.dial.moves):
        session.berth.vouched = moves
        session.say(OTHER_MASTER)
        return True
    if isinstance(session.context.lanes, ClusterLanes):
        return block(session, args)
    # What is outstanding may be written after ROLE has told how far the server is.
    if not session.berth.idle() or not session.berth.pin():
        return False
    if session.berth.leaving:
        session.stall(STALL_END)
        return True
    if args[0].upper() == b"WAITAOF":
        _wait_for_disks(session, args)
        return True
    wanted = Wanted.of(args)
    if wanted is None:
        return block(session, args)
    _wait(session, args, wanted)
    return True


def _wait(session: Conducted, args: list[bytes], wanted: Wanted) -> None:
    berth, lane = session.berth, session.berth.lane
    assert lane is not None
    place = PeekSlot(session.answers, bytes, line_of, bool(session.mute))
    session.mute &= ~MUTE_SKIP
    session.take_place(place)
    resume = session.stall(STALL_REPLY)
    session.client.identity.waits = waiting(session.client.last, args)
    berth.blocking += 1
    berth.hold(HOLD_BLOCKED)

    def done(reply: Reply) -> None:
        berth.blocking -= 1
        berth.let_go(HOLD_BLOCKED)
        place.want = 0
        place.feed(reply if isinstance(reply, bytes) else reply.line)
        resume()

    Heard(wanted, lane.ask, _roles(session, lane), asyncio.get_running_loop(), done).begin()


def _roles(session: Conducted, lane: Lane) -> list[Role]:
    """As the proxy's own user, and as the client's, where that is another or there is no own."""
    lanes = session.context.lanes

    def as_own(done: Done) -> None:
        lanes.shared(lanes.primary_key).ask(done, b"ROLE")

    def as_client(done: Done) -> None:
        lane.ask(done, b"ROLE")

    return [as_client] if lanes.locked(lanes.primary_key) else [as_own, as_client]


def _wait_for_disks(session: Conducted, args: list[bytes]) -> None:
    """WAITAOF behind a write of its own connection."""
    resume, lane = session.stall(STALL_REPLY), session.berth.lane
    assert lane is not None

    def told(reply: Reply) -> None:
        if session.berth.left:
            return
        if isinstance(reply, ProxyError):
            session.say(reply.line)
        elif reply.startswith(b"-NOPERM"):
            why = reply[1:].decode("utf-8", "replace").rstrip()
            session.say(BadInput(f"WAITAOF needs SPUBLISH {CHANNEL.decode()}: {why}").line)
        else:  # who knows no SPUBLISH knows no WAITAOF either
            block(session, args)
        resume()

    lane.ask(told, b"SPUBLISH", CHANNEL, b"")
