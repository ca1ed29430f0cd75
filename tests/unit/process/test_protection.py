"""Protected mode: who is a stranger, when there is none, and what is done with them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from nearhit.proxy.errors import DENIED, ExitCode, StartError
from nearhit.proxy.process.protection import Doorkeeper, Protection, State
from nearhit.proxy.settings.config import Config, load

TLS = {"tls_cert": "c", "tls_client_ca": "ca"}

THROUGH = {"proxy_protocol": "on", "trusted_proxies": "127.0.0.1"}


def config(**given: str) -> Config:
    return load({"http": "off", **given}, {}, lambda path: "")


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({}, State.OPEN),
        ({"listen": "localhost:1,[::1]:2,127.8.9.1:3,unix:///s"}, State.OPEN),
        ({"listen": "0.0.0.0:1"}, State.UNKNOWN),
        ({"listen": "[::]:1"}, State.UNKNOWN),
        ({"listen": "host.example:1"}, State.UNKNOWN),
        ({"listen": "0.0.0.0:1", "protected_mode": "off"}, State.OPEN),
        ({**THROUGH, "listen": "127.0.0.1:1"}, State.UNKNOWN),
        ({**THROUGH, "listen": "unix:///s"}, State.OPEN),
        ({**THROUGH, "listen": "unix:///s", "trusted_proxies": "unix"}, State.UNKNOWN),
        ({"tls_listen": "0.0.0.0:1", "tls_cert": "c"}, State.UNKNOWN),
        ({**TLS, "tls_listen": "0.0.0.0:1", "tls_client_auth": "optional"}, State.UNKNOWN),
        ({**TLS, "tls_listen": "0.0.0.0:1", "tls_client_auth": "required"}, State.OPEN),
        (
            {**TLS, "tls_listen": "0.0.0.0:1", "tls_client_auth": "required", "listen": "[::]:2"},
            State.UNKNOWN,
        ),
    ],
)
def test_it_is_needed_where_strangers_reach(given: dict[str, str], state: State) -> None:
    assert Protection(config(**given)).state is state


def test_a_server_that_asks_is_protection_enough() -> None:
    protection = Protection(config(listen="0.0.0.0:1"))

    protection.learn(asks=True)

    protection.refuse()
    assert protection.let_in(asyncio.Protocol).__class__ is asyncio.Protocol


def test_one_that_does_not_is_no_start_and_the_message_says_what_to_do() -> None:
    protection = Protection(config(listen="0.0.0.0:1"))
    assert protection.unknown
    protection.refuse()

    protection.learn(asks=False)

    with pytest.raises(StartError, match=r"0\.0\.0\.0:1 would be let in.* protected_mode = off"):
        protection.refuse()
    assert repr(protection) == "<Protection CLOSED 0.0.0.0:1>"


def test_a_server_that_lets_newcomers_in_later_has_strangers_denied_until_it_asks() -> None:
    protection = Protection(config(listen="0.0.0.0:1"))
    assert not protection.relearn(asks=False)  # the start has not been told yet
    protection.learn(asks=True)

    assert protection.relearn(asks=False)
    assert protection.state is State.CLOSED
    assert not protection.relearn(asks=False)
    assert not protection.relearn(asks=True)
    assert protection.state is State.OPEN


def test_where_it_is_not_needed_nothing_is_learnt() -> None:
    protection = Protection(config(listen="127.0.0.1:1"))

    assert not protection.relearn(asks=False)
    assert protection.state is State.OPEN


@pytest.mark.parametrize(
    ("peer", "tls", "auth", "kept_out"),
    [
        ("10.0.0.9:5", False, "required", True),
        ("[2001:db8::1]:5", True, "optional", True),
        ("10.0.0.9:5", True, "required", False),
        ("127.0.0.1:5", False, "off", False),
        ("[::1]:5", True, "off", False),
        ("/run/s:0", False, "off", False),
    ],
)
def test_a_stranger_is_known_by_the_address(
    peer: str, tls: bool, auth: str, kept_out: bool
) -> None:
    given = {**TLS, "tls_client_auth": auth} if auth != "off" else {"tls_cert": "c"}
    protection = Protection(config(**given, tls_listen="0.0.0.0:1"))

    assert protection.keeps_out(peer, tls=tls) is kept_out


def test_it_is_logged_where_it_cannot_end_the_start(caplog: pytest.LogCaptureFixture) -> None:
    protection = Protection(config(listen="0.0.0.0:1"))
    protection.learn(asks=True)
    protection.tell()
    assert "protected mode" not in caplog.text

    protection.learn(asks=False)
    assert "protected mode" not in caplog.text  # the start says it itself, as it ends
    protection.tell()

    assert "protected mode" in caplog.text


def test_the_exit_code_is_that_of_settings() -> None:
    protection = Protection(config(listen="0.0.0.0:1"))
    protection.learn(asks=False)

    with pytest.raises(StartError) as caught:
        protection.refuse()

    assert caught.value.exit_code == ExitCode.BAD_SETTINGS


class Wire:
    """A transport, as far as a doorkeeper knows it."""

    def __init__(self, peer: object) -> None:
        self.peer = peer
        self.said = b""
        self.closed = False
        self.protocol: object = None

    def get_extra_info(self, name: str) -> object:
        return self.peer

    def write(self, data: bytes) -> None:
        self.said += data

    def close(self) -> None:
        self.closed = True

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol


class Guest(asyncio.Protocol):
    wire: object = None

    def connection_made(self, transport: Any) -> None:
        self.wire = transport


@pytest.mark.parametrize("peer", [("10.0.0.1", 5), ("2001:db8::1", 5, 0, 0)])
def test_strangers_are_told_and_closed(peer: object) -> None:
    protection = Protection(config(listen="0.0.0.0:1"))
    keeper, wire = protection.let_in(Guest), Wire(peer)

    keeper.connection_made(cast(Any, wire))

    assert (wire.said, wire.closed, wire.protocol) == (DENIED, True, None)


@pytest.mark.parametrize("peer", [("127.0.0.1", 5), ("::1", 5, 0, 0), ("::ffff:127.0.0.1", 5), ""])
def test_those_of_this_machine_come_in(peer: object) -> None:
    guest, wire = Guest(), Wire(peer)

    Doorkeeper(lambda: guest).connection_made(cast(Any, wire))

    assert (wire.said, wire.closed, wire.protocol) == (b"", False, guest)
    assert guest.wire is wire


@pytest.mark.parametrize(
    ("told", "denied"), [(("203.0.113.7", 5), True), (("127.0.0.1", 5), False), ("/path", False)]
)
def test_through_a_balancer_it_is_the_client_s_own_address_that_counts(
    told: object, denied: bool
) -> None:
    protection = Protection(config(**THROUGH))
    keeper, wire = protection.let_in(Guest, told), Wire(("127.0.0.1", 1))

    keeper.connection_made(cast(Any, wire))

    assert wire.closed is denied
