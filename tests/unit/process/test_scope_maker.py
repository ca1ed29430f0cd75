"""What the commands of a db and user have; what it is made of is tests of wiring's."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import CacheBusy, LockBusy
from nearhit.proxy.process.scope_maker import Rooms


def test_loads_and_locks_wait_in_different_rooms() -> None:
    rooms = Rooms(1)

    with rooms.loads, pytest.raises(CacheBusy), rooms.loads:
        pass
    with rooms.locks, pytest.raises(LockBusy), rooms.locks:
        pass

    assert repr(rooms) == "<Rooms loads=0 locks=0>"
