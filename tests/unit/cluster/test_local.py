"""What the proxy answers by itself, as a single server would."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster.local import (
    hello,
    merged_info,
    no_cluster,
    ping,
    role,
    time,
)
from nearhit.proxy.errors import WrongArity

from tests.servers import Kind, upstream
from tests.wire.link import Control

INFO = (
    b"# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\nserver_mode:cluster\r\n\r\n"
    b"# Cluster\r\ncluster_enabled:1\r\n\r\n# Keyspace\r\n"
)


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_the_answers_are_those_of_a_server_that_is_no_cluster(kind: Kind) -> None:
    with upstream(kind) as server:
        link = Control(server.port)
        for request in (b"CLUSTER INFO", b"CLUSTER HELP", b"ASKING", b"READONLY", b"ReadWrite"):
            words = request.split()
            assert link.ask(*words) == no_cluster(words[0], kind == "valkey"), request
        for words in ([b"PING"], [b"ping", b"x"]):
            assert link.ask(*words) == ping(words)
        with pytest.raises(WrongArity) as caught:
            ping([b"PING", b"x", b"y"])
        assert link.ask(b"PING", b"x", b"y") == caught.value.line
        assert link.ask("ROLE") == role(0, 2)
        link.close()


def test_time_is_seconds_and_the_rest() -> None:
    assert time(1_700_000_000_000_042) == b"*2\r\n$10\r\n1700000000\r\n$2\r\n42\r\n"


def test_role_is_a_primarys() -> None:
    assert role(7, 3) == b"*3\r\n$6\r\nmaster\r\n:7\r\n*0\r\n"


def test_info_is_of_one_server_and_has_the_keys_of_all() -> None:
    texts = [
        INFO + b"db0:keys=2,expires=1,avg_ttl=100\r\n",
        INFO + b"db0:keys=3,expires=3,avg_ttl=20\r\ndb11:keys=1,expires=0,avg_ttl=0\r\n",
        INFO,
    ]

    assert merged_info(texts) == (
        b"# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nserver_mode:standalone\r\n"
        b"\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\n"
        b"db0:keys=5,expires=4,avg_ttl=40\r\ndb11:keys=1,expires=0,avg_ttl=0\r\n"
    )


def test_what_newer_servers_count_is_summed_and_what_is_no_count_left_out() -> None:
    line = b"db0:keys=1,expires=0,avg_ttl=0,keys_with_volatile_items=2,odd=x\r\n"

    summed = merged_info([b"# Keyspace\r\n" + line] * 2)

    assert summed == b"# Keyspace\r\ndb0:keys=2,expires=0,avg_ttl=0,keys_with_volatile_items=4\r\n"


def test_sections_behind_the_keyspace_stay() -> None:
    text = b"# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n\r\n# Later\r\na:1\r\n"

    assert merged_info([text]) == text


def test_info_of_another_section_has_no_keyspace() -> None:
    assert merged_info([b"# CPU\r\nx:1\r\n"] * 2) == b"# CPU\r\nx:1\r\n"


def test_hello_is_a_single_servers_with_our_number_and_nothing_else_changed() -> None:
    told = b"*6\r\n$2\r\nid\r\n:5\r\n$4\r\nmode\r\n$7\r\ncluster\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"

    assert hello(told, 7) == (
        b"*6\r\n$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
    )
    assert hello(b"-NOAUTH x\r\n", 7) == b"-NOAUTH x\r\n"
