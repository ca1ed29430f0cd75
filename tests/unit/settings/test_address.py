"""Addresses: as settings write them, as they are shown, and where an upstream's URL leads."""

from __future__ import annotations

import re

import pytest
from nearhit.proxy.settings.address import (
    BACKLOG,
    AddressMap,
    Kind,
    Listen,
    Tcp,
    Unix,
    Upstream,
    listeners,
    same_place,
)


@pytest.mark.parametrize(
    ("address", "text", "url", "http_url"),
    [
        (Tcp("h", 1), "h:1", "redis://h:1", "http://h:1"),
        (Tcp("::1", 2), "[::1]:2", "redis://[::1]:2", "http://[::1]:2"),
        (Unix("/s"), "unix:///s", "unix:///s", "http+unix:///s"),
    ],
)
def test_an_address_is_shown_as_it_is_written(
    address: Listen, text: str, url: str, http_url: str
) -> None:
    assert (str(address), address.url, address.http_url) == (text, url, http_url)
    assert listeners(text) == (address,)


def test_addresses_are_joined_by_commas() -> None:
    assert listeners("h:1, unix:///s,[fe80::1%eth0]:3") == (
        Tcp("h", 1),
        Unix("/s"),
        Tcp("fe80::1%eth0", 3),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("6380", ""),
        ("h:", "its port is not a number from 0 to 65535"),
        ("h:65536", "its port is not a number from 0 to 65535"),
        ("h:1,x", "see 'x'"),
        ("h:1, h:1", "h:1 is there twice"),
        ("unix://relative", ""),
        ("unix:///folder/", ""),
    ],
)
def test_a_wrong_address_is_a_value_error_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^") as caught:
        listeners(text)

    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("0.0.0.0:1", "127.0.0.1:1", True),
        ("10.0.0.1:1", "127.0.0.1:1", False),
        ("localhost:1", "127.0.0.1:1", True),
        ("[::1]:1", "LocalHost:1", True),
        ("[::1]:1", "127.0.0.1:1", False),
        ("[::]:1", "[::1]:1", True),
        ("[::]:1", "127.0.0.1:1", False),
        ("unix:///s", "unix:///s", True),
        ("unix:///s", "unix:///t", False),
        ("unix:///s", "127.0.0.1:1", False),
    ],
)
def test_two_addresses_may_be_the_same_place(one: str, other: str, same: bool) -> None:
    ((a,), (b,)) = listeners(one), listeners(other)

    assert same_place(a, b) is same
    assert same_place(b, a) is same


NO_MASTER = "it names no master, as in redis-sentinel://host:26379/mymaster"
NO_PORT = "its port is not a number from 0 to 65535"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://u:secret@h", ""),
        ("rediss://u:secret@[h", ""),
        ("redis://:secret@h?zzz=1", "it has an unknown option zzz"),
        ("redis://h?pass=secret", "it has an unknown option pass"),
        (
            "rediss://h?ssl_cert_reqs=secret",
            "its ssl_cert_reqs is none of required, optional, none",
        ),
        (
            "rediss://h?ssl_check_hostname=maybe",
            "its ssl_check_hostname is neither true nor false",
        ),
        ("redis://:secret@h:x", "its port is not a number from 0 to 65535"),
        ("redis://:secret@h/x", "its database is not a number"),
        ("redis-sentinel://:secret@s1,s2", NO_MASTER),
        ("redis-sentinel://s1/", NO_MASTER),
        ("redis-sentinel://s1:secret,s2/m", f"its address number 1: {NO_PORT}"),
        ("redis-sentinel://u:secret@s1,s2:99999/m", f"its address number 2: {NO_PORT}"),
        ("redis-sentinel:///m", "its address number 1 is no host:port or [v6]:port"),
        ("redis-sentinel://s1,,s2/m", "its address number 2 is no host:port or [v6]:port"),
        ("redis-sentinel://::1/m", "its address number 1 is no host:port or [v6]:port"),
        ("redis-sentinel://s1/m/secret", "its database is not a number"),
        (
            "redis-cluster://s1?sentinel_password=secret",
            "it has an unknown option sentinel_password",
        ),
        ("redis-cluster://h1,h2/x", "its database is not a number"),
        (
            "rediss-cluster://h?ssl_cert_reqs=x",
            "its ssl_cert_reqs is none of required, optional, none",
        ),
        ("unix://relative", "the path must be absolute, as in unix:///run/redis.sock"),
    ],
)
def test_a_wrong_url_is_a_value_error_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^") as caught:
        Upstream.parse(url)

    assert str(caught.value) == reason


def test_a_password_is_not_shown() -> None:
    upstream = Upstream.parse("rediss://u:secret@h?ssl_password=hidden")

    assert upstream.options == {"ssl_password": "hidden"}
    assert "secret" not in repr(upstream)
    assert "hidden" not in repr(upstream)


@pytest.mark.parametrize(
    ("url", "upstream"),
    [
        (
            "redis-sentinel://u:p%40@s1:7,s2,[::1]:8/my%2Fmaster/3"
            "?sentinel_password=sp&sentinel_username=su",
            Upstream(
                "s1",
                7,
                username="u",
                password="p@",
                db=3,
                kind=Kind.SENTINEL,
                seeds=(Tcp("s1", 7), Tcp("s2", 26379), Tcp("::1", 8)),
                master="my/master",
                sentinel_username="su",
                sentinel_password="sp",
            ),
        ),
        (
            "rediss-sentinel://s1,s1/m?db=2&ssl_cert_reqs=none",
            Upstream(
                "s1",
                26379,
                db=2,
                tls=True,
                options={"ssl_cert_reqs": "none"},
                kind=Kind.SENTINEL,
                seeds=(Tcp("s1", 26379),),
                master="m",
            ),
        ),
        (
            "redis-cluster://:p@h1,h2:7",
            Upstream(
                "h1",
                6379,
                password="p",
                kind=Kind.CLUSTER,
                seeds=(Tcp("h1", 6379), Tcp("h2", 7)),
            ),
        ),
        (
            "rediss-cluster://[::1]/?username=u&password=p",
            Upstream(
                "::1",
                6379,
                username="u",
                password="p",
                tls=True,
                kind=Kind.CLUSTER,
                seeds=(Tcp("::1", 6379),),
            ),
        ),
    ],
)
def test_a_url_of_several_addresses_has_them_all(url: str, upstream: Upstream) -> None:
    found = Upstream.parse(url)

    assert found == upstream
    assert "sp" not in repr(found).replace("sentinel_password", "")


def test_the_backlog_is_the_one_of_redis() -> None:
    assert BACKLOG == 511


@pytest.mark.parametrize(
    ("url", "upstream"),
    [
        ("redis://", Upstream()),
        ("redis://h:1/2", Upstream("h", 1, db=2)),
        ("redis://h/2?db=3", Upstream("h", db=3)),
        ("redis://:p%40%2F@h", Upstream("h", password="p@/")),
        ("redis://u:p@h?username=x&password=y", Upstream("h", username="u", password="p")),
        ("redis://h?username=x&password=%2520", Upstream("h", username="x", password="%20")),
        ("redis://[::1]:7", Upstream("::1", 7)),
        ("redis://u:p@[::1]", Upstream("::1", username="u", password="p")),
        (
            "rediss://h?ssl_cert_reqs=none",
            Upstream("h", tls=True, options={"ssl_cert_reqs": "none"}),
        ),
        ("unix:///a%20b", Upstream(path="/a b")),
        ("unix://u:p@/s?db=1", Upstream(path="/s", username="u", password="p", db=1)),
    ],
)
def test_an_upstream_url_leads_where_redis_py_would_go(url: str, upstream: Upstream) -> None:
    from redis.connection import parse_url

    kwargs = parse_url(url)  # type: ignore[no-untyped-call]  # it has no annotations

    assert Upstream.parse(url) == upstream
    assert upstream.host == kwargs.get("host", "localhost")
    assert upstream.port == kwargs.get("port", 6379)
    assert upstream.path == kwargs.get("path")
    assert upstream.db == kwargs.get("db", 0)
    assert (upstream.username, upstream.password) == (
        kwargs.get("username"),
        kwargs.get("password"),
    )


@pytest.mark.parametrize(
    ("announced", "dialled"),
    [
        (Tcp("10.0.0.1", 6379), Tcp("out", 1)),
        (Tcp("10.0.0.1", 6380), Tcp("far", 6380)),
        (Tcp("NODE", 7), Tcp("::1", 8)),
        (Tcp("fe80::1", 5), Tcp("out", 5)),
        (Tcp("out", 1), Tcp("out", 1)),
        (Tcp("far", 6379), Tcp("far", 6379)),
    ],
)
def test_an_announced_address_is_dialled_elsewhere_once(announced: Tcp, dialled: Tcp) -> None:
    text = "10.0.0.1:6379=out:1, 10.0.0.1=far,Node:7=[::1]:8,[fe80::1]=out,"

    assert AddressMap.parse(text).dialled(announced) == dialled


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a:1", "'a:1' is no announced=dialled"),
        ("a:1=b:2,=b:2", "'=b:2' is no announced=dialled"),
        ("a:1=b", "'a:1=b' has a port on one side only"),
        ("a=b:1", "'a=b:1' has a port on one side only"),
        ("a:1=b:99999", "'a:1=b:99999': its port is not a number"),
        ("a:1=b:2,A:1=c:3", "A:1 is there twice"),
        ("a=b,a=c", "a is there twice"),
    ],
)
def test_a_wrong_entry_of_a_map_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        AddressMap.parse(text)


@pytest.mark.parametrize(
    ("url", "seed"), [("redis://h:7/2", Tcp("h", 7)), ("unix:///s?db=2", Tcp("localhost", 0))]
)
def test_a_server_that_is_a_node_is_the_seed_of_its_cluster(url: str, seed: Tcp) -> None:
    upstream = Upstream.parse(url).as_cluster

    assert (upstream.kind, upstream.seeds, upstream.db) == (Kind.CLUSTER, (seed,), 2)
