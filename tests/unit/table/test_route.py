"""Where the name of a command alone does not tell its path."""

from __future__ import annotations

import pytest
from nearhit.proxy.table.route import route
from nearhit.proxy.table.table import Path


@pytest.mark.parametrize(
    ("path", "request_", "taken"),
    [
        (Path.BLOCK_OPTION, b"XREAD COUNT 2 STREAMS s 0", Path.PLAIN),
        (Path.BLOCK_OPTION, b"XREAD BLOCK 0 STREAMS s 0", Path.BLOCK),
        (Path.BLOCK_OPTION, b"xread count 2 block 0 streams s 0", Path.BLOCK),
        (Path.BLOCK_OPTION, b"XREAD", Path.PLAIN),
        (Path.BLOCK_OPTION, b"XREADGROUP GROUP g c BLOCK 5 STREAMS s >", Path.BLOCK),
        # A group named STREAMS must not hide the option; a key named BLOCK costs a lane, no more.
        (Path.BLOCK_OPTION, b"XREADGROUP GROUP streams c BLOCK 0 STREAMS s >", Path.BLOCK),
        (Path.BLOCK_OPTION, b"XREAD STREAMS BLOCK 0", Path.BLOCK),
        (Path.BLOCK_OPTION, b"XREADGROUP GROUP block c STREAMS s >", Path.BLOCK),
        (Path.DEBUG, b"DEBUG SLEEP 0", Path.PLAIN),
        (Path.DEBUG, b"DEBUG", Path.PLAIN),
        (Path.DEBUG, b"DEBUG protocol push", Path.STICKY),
        (Path.SCRIPT, b"SCRIPT LOAD x", Path.PLAIN),
        (Path.SCRIPT, b"SCRIPT", Path.PLAIN),
        (Path.SCRIPT, b"SCRIPT debug yes", Path.TUNNEL),
        (Path.SCRIPT, b"script Kill", Path.BLOCK),
        (Path.SCRIPT, b"FUNCTION KILL", Path.BLOCK),
        (Path.PLAIN, b"GET BLOCK", Path.PLAIN),
        (Path.MULTI, b"MULTI", Path.MULTI),
        (Path.ODD, b"FOO", Path.ODD),
    ],
)
def test_arguments_refine_the_path(path: Path, request_: bytes, taken: Path) -> None:
    assert route(path, request_.split()) is taken


def test_every_path_that_is_taken_has_an_act() -> None:
    from nearhit.proxy.session.acts.conduct import ACTS

    refined = {Path.BLOCK_OPTION, Path.DEBUG, Path.SCRIPT}

    assert set(ACTS) == set(Path) - refined
