"""A proxy without sockets, and one client of it."""

from __future__ import annotations

from tests.worlds import client as client
from tests.worlds import world as world
