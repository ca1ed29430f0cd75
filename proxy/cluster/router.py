"""Requests for a cluster, each to the node that has its keys, and what to do with redirections.

    special ─ one key, slot on the move ─▶ Gate          look ─ MOVED ─▶ Gate, then the new owner
              keys of one slot ─────────▶ its node              ASK ───▶ ASKING and the request, there
              keys of several ──────────▶ Gathering             TRYAGAIN, CLUSTERDOWN ... ─▶ later
              none ─────────────────────▶ where the table says
                                                        lost ─ not sent, or a read ─▶ again
                                                               else ─▶ the one clear error

A request is sent again only where the server has refused it before running it, or where running
it twice is the same as once. Hosts that a redirection names are dialled only where the map knows
them: any client can forge one with EVAL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from ..errors import CROSSSLOT, ProxyError
from ..hot.answers import RunSlot, Slot
from ..hot.parts import Part, RouterCore, Weave
from ..resp.kernel import Cutter, split
from ..resp.requests import encode
from ..upstream.ask import AskSlot, Reply, drop
from ..upstream.lane import Lane
from .gates import Gate
from .redirects import LATER, Kind, Redirect, redirect
