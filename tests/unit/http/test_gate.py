"""The token of HTTP: what needs it, and what it is compared with."""

from __future__ import annotations

import pytest
from nearhit.proxy.http.body import Refusal
from nearhit.proxy.http.gate import Gate

TOKEN = "0123456789abcdef"
GET = "/api/cache/k"


def refused(gate: Gate, path: str, shown: str | None) -> int:
    with pytest.raises(Refusal) as caught:
        gate.check(path, shown)
    assert TOKEN not in str(caught.value)
    return caught.value.status


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", f"bearer  {TOKEN} "])
def test_the_token_lets_in(shown: str) -> None:
    Gate(TOKEN).check(GET, shown)


@pytest.mark.parametrize(
    "shown",
    [None, "", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \udcff", "Bearer ü"],
)
def test_nothing_else_does(shown: str | None) -> None:
    assert refused(Gate(TOKEN), GET, shown) == 401
    assert refused(Gate(TOKEN), "/metrics", shown) == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/status.js", "/status.css"])
def test_probes_and_files_need_none(path: str) -> None:
    Gate(TOKEN).check(path, None)


def test_without_a_token_all_is_open() -> None:
    Gate().check(GET, None)
    Gate().check("/metrics", None)


def test_metrics_have_a_switch_of_their_own() -> None:
    Gate(TOKEN, "open").check("/metrics", None)
    assert refused(Gate(TOKEN, "off"), "/metrics", f"Bearer {TOKEN}") == 404
    assert refused(Gate(None, "off"), "/metrics", None) == 404


def test_it_never_shows_the_token() -> None:
    assert repr(Gate(TOKEN)) == "<Gate by token metrics=token>"


def test_what_the_status_page_shows_needs_the_token() -> None:
    for path in ("/api/status", "/api/status/key"):
        assert refused(Gate(TOKEN), path, None) == 401
