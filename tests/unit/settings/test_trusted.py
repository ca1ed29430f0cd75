"""``trusted_proxies``: whose word is taken for who a client is."""

from __future__ import annotations

import pytest
from nearhit.proxy.settings.trusted import TRUSTED


@pytest.mark.parametrize(
    ("text", "host", "trusted"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "10.0.0.8", False),
        ("10.0.0.7, 192.168.0.0/16", "192.168.3.4", True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("2001:db8::/32", "2001:db8::5", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("2001:db8::/32", "10.0.0.1", False),
        ("unix", "10.0.0.1", False),
        ("0.0.0.0/0", "no address", False),
    ],
)
def test_an_address_is_one_of_them_or_not(text: str, host: str, trusted: bool) -> None:
    assert TRUSTED.parse(text).trusts(host) is trusted


def test_unix_is_a_word_of_its_own() -> None:
    assert TRUSTED.parse("10.0.0.1,Unix").unix
    assert not TRUSTED.parse("10.0.0.1").unix


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("host", "'host'"),
        ("10.0.0.1/8", "host bits"),
        ("", "''"),
        ("10.0.0.1,,", "does not appear"),
    ],
)
def test_what_is_no_network_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        TRUSTED.parse(text)
