"""What each mode of a session makes of a command's route.

Owns one table of transforms, out of which Table makes a map for the kernel for each mode. Refuses
to say when a session changes its mode: that is hot/modes.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..resp.modes import Mode
from ..resp.routes import Route

# (name, the command's own route) -> its route in a mode; ODD: it is looked at as unknown ones are.
Transform = Callable[[bytes, Route], Route]

# What a queued command may do to its connection when EXEC runs it, or EXEC's answer for it is ours
# to complete.
UNSAFE_IN_MULTI: Final = frozenset(
    {
        Route.AUTH,
        Route.CLIENT,
        Route.COMMAND,
        Route.CUSTOM,
        Route.GETORSET,
        Route.HELLO,
        Route.INFO,
        Route.MONITOR,
        Route.SELECT,
        Route.STICKY,
        Route.SUBSCRIBE,
        Route.TUNNEL,
        Route.UNSUBSCRIBE,
        Route.WAIT,
    }
)
# What is answered at once inside MULTI, and not queued.
_NOT_QUEUED: Final = frozenset(
    {Route.DISCARD, Route.EXEC, Route.MULTI, Route.QUIT, Route.RESET, Route.WATCH}
)
# Queued too, but their keys are noted.
_NOTED: Final = frozenset({Route.BLOCK, Route.SCRIPTED, Route.WRITE, Route.WRITE_ONE})
_INSIDE: Final = frozenset(
    {Route.NEAR, Route.NEAR_ANY, Route.NEAR_MANY, Route.READ, Route.TELL, Route.WRITE_ONE}
)
# What RESP2 subscribe mode takes, and what of our own is to be refused in it.
_SUBSCRIBED: Final = frozenset(
    {
        Route.CUSTOM,
        Route.GETORSET,
        Route.QUIT,
        Route.RESET,
        Route.SUBSCRIBE,
        Route.UNSUBSCRIBE,
    }
)


def transforms(*, keys_matter: bool) -> Mapping[Mode, Transform]:
    """The transform of each mode. ``keys_matter``: the keys of what writes are looked at, those of
    scripts too, for loads or the near cache depend on them."""
    return {
        Mode.LOCKED: lambda name, route: Route.ODD,
        Mode.NEAR: _same,
        Mode.FAR: _far,
        Mode.QUEUEING: _queueing,
        Mode.SUBSCRIBED: lambda name, route: route if route in _SUBSCRIBED else Route.PLAIN,
        Mode.SCRIPTING: _same if keys_matter else _scripting,
        Mode.TRACKED: _tracked,
        Mode.OWN: _own,
        Mode.INSIDE: lambda name, route: Route.PLAIN if route in _INSIDE else route,
    }


def _same(name: bytes, route: Route) -> Route:
    return route


def _far(name: bytes, route: Route) -> Route:
    if route is Route.NEAR_ANY:
        return Route.FAR_ANY
    return Route.READ if route in (Route.NEAR, Route.NEAR_MANY) else route


def _tracked(name: bytes, route: Route) -> Route:
    if route is Route.NEAR_ANY:
        return route
    return Route.READ if name in (b"GET", b"MGET") else _own(name, route)


def _scripting(name: bytes, route: Route) -> Route:
    return Route.PLAIN if route is Route.SCRIPTED else route


def _own(name: bytes, route: Route) -> Route:
    return route if route in (Route.GETORSET, Route.CUSTOM) else Route.ODD


def _queueing(name: bytes, route: Route) -> Route:
    if route in _NOTED:
        return Route.WRITE
    return route if route in UNSAFE_IN_MULTI | _NOT_QUEUED else Route.PLAIN
