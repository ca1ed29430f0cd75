"""A serving process: its life from the start to the last signal.

    start ─▶ ready ─▶ ... ─▶ SIGTERM ─▶ linger ─▶ drain ─▶ close
      ▲                │ SIGHUP: settings are read again
      └─ a new Server, as of a cluster ◀─ give_way ◀─ is_cluster

Whether one server is a node of a cluster shows in the first answer of whatever connection, and none
to such a node is ever used (upstream/connecting.py): the Server that took it for a server alone has
sent nothing there. It ends, and another takes its place, on the same sockets. cli runs ``serve``,
in this process or in each worker."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import time
from collections.abc import Callable
from typing import Final

from ..errors import ExitCode
from ..log import event
from ..stats.shared import Place
from .listen import Doors
from .notify import Notifier
from .reload import Settings
from .server import AT_ONCE, Server, close, raise_file_limit
from .signals import OTHERS, STOP, Ending, heard, tell_ignored

log = logging.getLogger(__name__)

GRACE: Final = 5.0  # seconds beyond the drain for everything else that ends


def _copies(doors: Doors[socket.socket]) -> Doors[socket.socket]:
    """The same, for one Server to close: clients that come meanwhile wait for the next."""
    return doors.each(lambda group: [one.dup() for one in group])


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    loop = asyncio.get_running_loop()
    waits = [loop.create_task(each.wait()) for each in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


async def _beat(notifier: Notifier) -> None:
    """Tell the service manager that the event loop turns, as often as it wants to hear it."""
    while True:
        due = notifier.beat(time.monotonic())
        if due == math.inf:
            return
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def serve(
    settings: Settings,
    upstream: str,
    *,
    doors: Doors[socket.socket],
    ready: Callable[[str], None],
    place: Place | None = None,
    notifier: Notifier | None = None,
) -> int:
    """Serve on the doors until SIGTERM or SIGINT; a second one ends the drain, and one before the
    upstream has answered the start. SIGHUP has the settings read again. ``ready`` is told the
    upstream's version once, unless it ends before; the value is the exit code. ``notifier`` tells a
    service manager of all that. StartError: the upstream refuses us."""
    notifier = notifier or Notifier({})
    config = settings.config
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    ending = Ending()
    raise_file_limit(config.max_clients)
    server = Server(config, upstream, place)

    def signalled(again: bool) -> None:
        if again or not server.started:
            server.hurry()
        stop.set()

    came: list[int] = []

    def stopping(number: int) -> None:
        # In the handler, not in the loop: a loop that is kept busy must not keep the process.
        came.append(number)
        if len(came) <= 2:
            config = settings.config
            drain = config.drain_delay + config.drain_timeout
            ending.within(AT_ONCE if len(came) > 1 else drain + GRACE)
        loop.call_soon_threadsafe(signalled, len(came) > 1)

    def other(number: int) -> None:
        loop.call_soon_threadsafe(tell_ignored, number)

    def reloading() -> None:
        if not stop.is_set():
            notifier.reloading()
            settings.again(server.take, server.renew)
            notifier.ready()

    def again(number: int) -> None:
        loop.call_soon_threadsafe(reloading)

    beating = loop.create_task(_beat(notifier))
    with heard(STOP, stopping), heard(OTHERS, other), heard((signal.SIGHUP,), again):
        try:
            told = False
            while not stop.is_set():
                await server.start(_copies(doors), again=told)
                if not (told or stop.is_set() or server.is_cluster.is_set()):
                    told = True
                    ready(server.version)
                await _first(stop, server.is_cluster)
                if not stop.is_set():
                    await server.give_way()
                    server = Server(settings.config, upstream, place, as_cluster=True)
            notifier.stopping()
            event(log, logging.INFO, "stopping", clients=len(server.clients))
            if settings.config.drain_delay:
                await server.linger(settings.config.drain_delay)
            close(doors)
            await server.stop()
        finally:
            beating.cancel()
            ending.done()
    return ExitCode.ALL_DONE
