"""The modules that a lane talks to have what it calls; mypy compares the signatures."""

from __future__ import annotations

import pytest
from nearhit.proxy.session.reports import Reports
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lanes import Lanes
from nearhit.proxy.upstream.ports import Framing, Home, Listener, Owner
from nearhit.proxy.upstream.subscriptions import Channels
from nearhit.proxy.upstream.tracked import TrackedLane


def as_home(lanes: Lanes) -> Home[Lane]:
    return lanes


def as_owner(session: Reports) -> Owner[Lane]:
    return session


def as_listener(tracked: TrackedLane) -> Listener:
    return tracked


def as_framing(channels: Channels) -> Framing:
    return channels


@pytest.mark.parametrize(
    ("port", "kind"),
    [(Home, Lanes), (Owner, Reports), (Listener, TrackedLane), (Framing, Channels)],
)
def test_who_a_lane_talks_to_has_every_method_of_its_port(port: type, kind: type) -> None:
    wanted = {name for name, value in vars(port).items() if name[0] != "_" and callable(value)}

    assert wanted <= set(dir(kind))
