"""Addresses: what is listened on, where a URL leads, and mistakes that show no password."""

from __future__ import annotations

import re
import traceback

import pytest
from nearhit.proxy.settings.address import Listen, Tcp, Unix, Upstream, listeners

# --- Listening


@pytest.mark.parametrize(
    ("address", "text", "url", "http_url"),
    [
        (Tcp("h", 1), "h:1", "redis://h:1", "http://h:1"),
        (Tcp("::1", 1), "[::1]:1", "redis://[::1]:1", "http://[::1]:1"),
        (Unix("/s"), "unix:///s", "unix:///s", "http+unix:///s"),
    ],
)
def test_an_address_is_shown_as_it_is_written(
    address: Listen, text: str, url: str, http_url: str
) -> None:
    assert str(address) == text
    assert address.url == url
    assert address.http_url == http_url


@pytest.mark.parametrize(
    "address",
    [Tcp("127.0.0.1", 6380), Tcp("my-host_1.example", 0), Tcp("fe80::1%eth0", 65535), Unix("/a/b")],
)
def test_an_address_as_shown_is_read_back(address: Listen) -> None:
    assert listeners(str(address)) == (address,)


def test_addresses_are_joined_by_commas_in_their_order() -> None:
    assert listeners("b:2 , unix:///s,[::1]:1") == (Tcp("b", 2), Unix("/s"), Tcp("::1", 1))


@pytest.mark.parametrize(
    "text", ["", "6380", ":1", "h", "::1:1", "[::1]", "[h]:1", "unix://s", "unix:///", "unix:///s/"]
)
def test_what_is_no_address_is_a_mistake_without_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        listeners(text)


@pytest.mark.parametrize("port", ["", "x", "-1", "65536", "000001", "٣"])
def test_a_port_is_a_number_from_0_to_65535(port: str) -> None:
    with pytest.raises(ValueError, match=r"^its port is not a number from 0 to 65535$"):
        listeners(f"h:{port}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a:1,b", "see 'b'"),
        ("a:1,", "see ''"),
        ("a:1, b:x ,c:1", "see 'b:x'"),
        ("h:x", "its port is not a number from 0 to 65535"),
        ("a:1,unix:///s,a:1", "a:1 is there twice"),
    ],
)
def test_of_several_addresses_the_wrong_one_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        listeners(text)


# --- The upstream


def test_a_url_of_nothing_leads_to_the_server_on_this_machine() -> None:
    assert Upstream.parse("redis://") == Upstream("localhost", 6379, db=0, tls=False)


@pytest.mark.parametrize(
    ("url", "upstream"),
    [
        ("redis://u:p@h:1/2", Upstream("h", 1, username="u", password="p", db=2)),
        ("redis://:p%40@[::1]:7", Upstream("::1", 7, password="p@")),
        ("redis://h?username=u&password=p&db=3", Upstream("h", username="u", password="p", db=3)),
        ("redis://h/2?db=3", Upstream("h", db=3)),
        ("rediss://h?ssl_keyfile=k", Upstream("h", tls=True, options={"ssl_keyfile": "k"})),
        ("redis://h?socket_timeout=5&protocol=3&client_name=x", Upstream("h")),
        ("unix://u:p@/a%20b?db=1", Upstream(path="/a b", username="u", password="p", db=1)),
    ],
)
def test_each_part_of_a_url_has_its_place(url: str, upstream: Upstream) -> None:
    assert Upstream.parse(url) == upstream


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", ""),
        ("localhost:6379", ""),
        ("http://h", ""),
        ("redis://u:secret@[::1", ""),
        ("redis://u:secret@h:65536", "its port is not a number from 0 to 65535"),
        ("redis://u:secret@h:x", "its port is not a number from 0 to 65535"),
        ("redis://u:secret@h/x", "its database is not a number"),
        ("redis://u:secret@h?db=-1", "its database is not a number"),
        ("redis://u:secret@h?ssl_cert_req=none", "it has an unknown option ssl_cert_req"),
        (
            "unix://u:secret@run/redis.sock",
            "the path must be absolute, as in unix:///run/redis.sock",
        ),
        ("unix://", "the path must be absolute, as in unix:///run/redis.sock"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$") as caught:
        Upstream.parse(url)

    # Not in what a traceback shows of other errors either.
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_password_is_not_in_the_repr() -> None:
    upstream = Upstream.parse("rediss://u:secret@h?ssl_password=secret")

    assert upstream.password == "secret"
    assert "secret" not in repr(upstream)
