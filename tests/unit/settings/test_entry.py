"""Who may come in: settings that need each other, and what they say of a server's TLS."""

from __future__ import annotations

import pytest
from nearhit.proxy.settings.address import Tcp, Unix
from nearhit.proxy.settings.config import Config, ConfigError, load

TLS = {"tls_listen": "127.0.0.1:6390", "tls_cert": "c.pem"}


def config(**given: str) -> Config:
    return load(given, {}, lambda path: "")


def mistake(**given: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config(**given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"tls_listen": "h:1"}, "--tls-listen: tls_listen needs a certificate: name its file"),
        ({"tls_http": "h:1"}, "--tls-http: tls_http needs a certificate: name its file with"),
        ({"tls_key": "k"}, "--tls-key: tls_key needs tls_cert beside it"),
        (
            {**TLS, "tls_client_auth": "required"},
            "--tls-client-auth: tls_client_auth = required needs the authorities",
        ),
        ({**TLS, "tls_client_ca": "ca"}, "--tls-client-ca: tls_client_ca has no effect without"),
        ({"proxy_protocol": "on"}, "--proxy-protocol: proxy_protocol = on needs the balancers'"),
        ({"trusted_proxies": "::1"}, "--trusted-proxies: trusted_proxies has no effect without"),
        ({"tls_client_key": "k"}, "--tls-client-key: tls_client_key needs tls_client_cert beside"),
        ({"tls_listen": "unix:///s"}, "a unix socket needs no TLS"),
        ({"listen": "off"}, "--listen: listen is off, and so is tls_listen: nobody could connect"),
        (
            {**TLS, "tls_listen": "127.0.0.1:6380"},
            "listen and tls_listen both want 127.0.0.1:6380: give one of them another address",
        ),
    ],
)
def test_settings_at_odds_are_mistakes(given: dict[str, str], why: str) -> None:
    assert why in mistake(**given)


def test_tls_can_be_all_there_is() -> None:
    found = config(**TLS, listen="off")

    assert found.serves_tls
    assert not found.listen


def test_the_settings_stand_beside_what_the_url_says_and_the_url_wins() -> None:
    found = config(tls_ca="ca.pem", tls_verify="ca", tls_client_cert="c.pem")

    upstream = found.behind("rediss://h?ssl_ca_certs=url.pem")

    assert upstream.options == {
        "tls_ca": "ca.pem",
        "tls_client_cert": "c.pem",
        "tls_verify": "ca",
        "ssl_ca_certs": "url.pem",
    }


def test_a_server_without_tls_has_none_of_it() -> None:
    assert not config(tls_ca="ca.pem").behind("redis://h").options


def test_http_beyond_this_machine_needs_a_token() -> None:
    token = "0123456789abcdef"

    assert "--http: anybody who reaches 0.0.0.0:1 could remove keys" in mistake(http="0.0.0.0:1")
    config(http="0.0.0.0:1", http_token=token)
    config(http="0.0.0.0:1", protected_mode="off")
    config(http="127.0.0.1:1")


def test_the_token_is_shown_nowhere() -> None:
    token = "0123456789abcdef"
    found = config(http_token=token)

    assert token not in "\n".join(found.describe()) + repr(found)
    assert "http_token = ***" in "\n".join(found.describe())
    assert "short" not in mistake(http_token="short")


def test_where_balancers_connect_a_header_is_expected() -> None:
    tcp, unix = Tcp("127.0.0.1", 1), Unix("/s")
    through = config(proxy_protocol="on", trusted_proxies="10.0.0.1")
    both = config(proxy_protocol="on", trusted_proxies="10.0.0.1,unix")

    assert [through.prefaced(tcp), through.prefaced(unix)] == [True, False]
    assert [both.prefaced(tcp), both.prefaced(unix)] == [True, True]
    assert config().balancers is None
    assert not config().prefaced(tcp)
