"""Where the name of a command alone does not tell its path."""

from __future__ import annotations

import pytest
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.table.route import refined


@pytest.mark.parametrize(
    ("route", "request_", "taken"),
    [
        (Route.BLOCK_OPTION, b"XREAD COUNT 2 STREAMS s 0", Route.PLAIN),
        (Route.BLOCK_OPTION, b"XREAD BLOCK 0 STREAMS s 0", Route.BLOCK),
        (Route.BLOCK_OPTION, b"xread count 2 block 0 streams s 0", Route.BLOCK),
        (Route.BLOCK_OPTION, b"XREAD", Route.PLAIN),
        (Route.BLOCK_OPTION, b"XREADGROUP GROUP g c BLOCK 5 STREAMS s >", Route.BLOCK),
        # A group named STREAMS must not hide the option; a key named BLOCK costs a lane, no more.
        (Route.BLOCK_OPTION, b"XREADGROUP GROUP streams c BLOCK 0 STREAMS s >", Route.BLOCK),
        (Route.BLOCK_OPTION, b"XREAD STREAMS BLOCK 0", Route.BLOCK),
        (Route.BLOCK_OPTION, b"XREADGROUP GROUP block c STREAMS s >", Route.BLOCK),
        (Route.DEBUG, b"DEBUG SLEEP 0", Route.PLAIN),
        (Route.DEBUG, b"DEBUG", Route.PLAIN),
        (Route.DEBUG, b"DEBUG protocol push", Route.STICKY),
        (Route.SCRIPT, b"SCRIPT LOAD x", Route.SCRIPT),
        (Route.SCRIPT, b"FUNCTION load REPLACE x", Route.SCRIPT),
        (Route.SCRIPT, b"SCRIPT LOAD", Route.PLAIN),
        (Route.SCRIPT, b"FUNCTION LIST", Route.PLAIN),
        (Route.SCRIPT, b"SCRIPT", Route.PLAIN),
        (Route.SCRIPT, b"SCRIPT debug yes", Route.TUNNEL),
        (Route.SCRIPT, b"script Kill", Route.BLOCK),
        (Route.SCRIPT, b"FUNCTION KILL", Route.BLOCK),
        (Route.TUNNEL, b"REPLCONF capa eof CAPA psync2", Route.STICKY),
        (Route.TUNNEL, b"replconf listening-port 7", Route.STICKY),
        (Route.TUNNEL, b"REPLCONF capa", Route.STICKY),  # a syntax error is answered
        (Route.TUNNEL, b"REPLCONF", Route.STICKY),
        (Route.TUNNEL, b"REPLCONF ACK 5", Route.TUNNEL),
        (Route.TUNNEL, b"REPLCONF capa eof ack 5", Route.TUNNEL),
        (Route.TUNNEL, b"REPLCONF getack *", Route.TUNNEL),
        (Route.TUNNEL, b"REPLCONF new-option 1", Route.TUNNEL),
        (Route.TUNNEL, b"PSYNC ? -1", Route.TUNNEL),
        (Route.PLAIN, b"GET BLOCK", Route.PLAIN),
        (Route.MULTI, b"MULTI", Route.MULTI),
        (Route.ODD, b"FOO", Route.ODD),
    ],
)
def test_arguments_refine_the_route(route: Route, request_: bytes, taken: Route) -> None:
    assert refined(route, request_.split()) is taken


def test_every_path_that_is_taken_has_an_act() -> None:
    from nearhit.proxy.session.acts.conduct import ACTS

    inner = {Route.BLOCK_OPTION, Route.DEBUG}

    assert set(ACTS) == set(Route) - inner
