"""Which names HTTP may be asked under."""

from __future__ import annotations

import pytest
from nearhit.proxy.http.hosts import Hosts


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LocalHost:3000",
        "localhost.",
        "app.localhost:3000",
        "127.0.0.1:3000",
        "10.0.0.7",
        "[::1]:3000",
        "[fe80::1]",
        "nearhit:3000",
        "NEARHIT.svc.cluster.local",
    ],
)
def test_addresses_localhost_and_the_names_given_are_allowed(host: str | None) -> None:
    assert Hosts(["nearhit", "nearhit.svc.cluster.local."]).allow(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "nearhit.evil.example:3000", "127.0.0.1.evil.example", "localhost.evil",
     "[evil.example]", "2130706433", "127.1", "[", ":3000", "nearhit, evil"],
)  # fmt: skip
def test_other_names_are_not(host: str) -> None:
    assert not Hosts(["nearhit"]).allow(host)


def test_a_star_allows_any_name() -> None:
    assert Hosts(["*"]).allow("evil.example")
    assert repr(Hosts(["b", "a"])) == "<Hosts a b>"
    assert repr(Hosts()) == "<Hosts no names>"
