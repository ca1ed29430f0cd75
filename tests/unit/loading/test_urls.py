"""URLs of requests, and where redirects lead."""

from __future__ import annotations

import base64

import pytest
from nearhit.proxy.loading.urls import Url


@pytest.mark.parametrize(
    ("text", "host", "target"),
    [
        ("http://a", "a", "/"),
        ("http://A:80/b%2Fc%41?d=%2f#e", "a", "/b%2Fc%41?d=%2f"),
        ("http://a:8080?b", "a:8080", "/?b"),
        ("https://a:443/", "a", "/"),
        ("https://a:80/", "a:80", "/"),
        ("http://[::1]:81/x", "[::1]:81", "/x"),
        ("http://a//b/../c", "a", "//b/../c"),
        ("http://bücher.example/ü?ö", "xn--bcher-kva.example", "/%C3%BC?%C3%B6"),
        ("http://a/b c", "a", "/b%20c"),
    ],
)
def test_a_url_has_a_host_and_a_target(text: str, host: str, target: str) -> None:
    url = Url.parse(text)

    assert (url.host_header, url.target) == (host, target)


@pytest.mark.parametrize(
    "text", ["", "a", "ftp://a/", "http://", "http:///a", "http://a:x/", "http://a:99999/",
             "http://[s3cret", "javascript:s3cret", f"http://{'ü' * 70}/", "http://a%20b/"]
)  # fmt: skip
def test_anything_else_is_none_in_words_that_do_not_quote_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it is no (http )?URL$"):
        Url.parse(text)


@pytest.mark.parametrize(
    ("user", "sent"),
    [("u:p@", b"u:p"), ("u@", b"u:"), (":p@", b":p"), ("u%40:p%2F%C3%A4@", b"u@:p/\xe4")],
)
def test_its_user_is_who_asks(user: str, sent: bytes) -> None:
    url = Url.parse(f"http://{user}a/")

    assert url.user == f"Basic {base64.b64encode(sent).decode()}"
    assert url.host_header == "a"
    assert "p" not in repr(url).removeprefix("<Url of ")


@pytest.mark.parametrize("user", ["a%3Ab:p@", "u:%E2%82%AC@"])
def test_a_user_that_cannot_be_sent_is_an_error(user: str) -> None:
    with pytest.raises(ValueError, match="user"):
        Url.parse(f"http://{user}a/")


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("/c%2Fd", "http://a/c%2Fd"),
        ("c", "http://a/b/c"),
        ("../c", "http://a/c"),
        ("?x=%41", "http://a/b/x?x=%41"),
        (" /c ", "http://a/c"),
        ("", "http://a/b/x"),
        ("//b:81/c", "http://b:81/c"),
        ("https://a/c d", "https://a/c%20d"),
        ("/ü", "http://a/%C3%BC"),
    ],
)
def test_a_location_leads_on_from_here(location: str, there: str) -> None:
    assert Url.parse("http://a/b/x").join(location) == Url.parse(there)


def test_a_user_stays_on_its_origin_and_is_never_another() -> None:
    url = Url.parse("http://u:p@a/b")

    for location, user in [
        ("/c", url.user),
        ("http://a:80/c", url.user),
        ("http://x:y@a/c", url.user),
        ("http://x:y@b/c", None),
        ("https://a/c", None),
        ("http://a:81/c", None),
    ]:
        there = url.join(location)
        assert there is not None
        assert there.user == user


@pytest.mark.parametrize("location", ["ftp://a/", "http://[x", "javascript:x", "/\udcff"])
def test_some_lead_nowhere(location: str) -> None:
    assert Url.parse("http://a/b").join(location) is None
