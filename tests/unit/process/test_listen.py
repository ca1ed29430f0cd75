"""Listening sockets: opened, shared, closed and removed, or one clear reason why not."""

from __future__ import annotations

import logging
import os
import socket
import stat
from pathlib import Path

import pytest
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.process.listen import Doors, bound, listening, opened
from nearhit.proxy.settings.address import Tcp, Unix

HOST = "127.0.0.1"


def test_doors_are_added_group_by_group() -> None:
    first, second = Doors([1], [2]), Doors([3])

    assert first + second == Doors([1, 3], [2])


def test_doors_can_be_had_by_kind() -> None:
    tcp, unix = Tcp(HOST, 1), Unix("/s")
    doors: Doors[Tcp | Unix] = Doors([tcp, unix], [unix])

    assert doors.only(Tcp) == Doors([tcp], [])
    assert doors.only(Unix) == Doors([unix], [unix])


def test_both_groups_listen_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "s"

    with opened(Doors([Tcp(HOST, 0), Unix(str(path))], [Tcp(HOST, 0)])) as doors:
        addresses = bound(doors)
        assert [type(one) for one in addresses.clients] == [Tcp, Unix]
        for one in addresses.only(Tcp).clients:
            assert isinstance(one, Tcp)
            assert one.port
            socket.create_connection((one.host, one.port)).close()
        assert addresses.only(Unix).clients == [Unix(str(path))]
        assert len(addresses.http) == 1

    assert not path.exists()
    assert all(sock.fileno() == -1 for sock in (*doors.clients, *doors.http))


def test_a_name_listens_on_every_address_that_it_has_here() -> None:
    with listening([Tcp("localhost", 0)]) as sockets:
        hosts = {sock.getsockname()[0] for sock in sockets}

    assert HOST in hosts
    assert hosts <= {HOST, "::1"}


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (Tcp("192.0.2.1", 6380), "this machine has no such address"),
        (Tcp("a" * 300 + ".invalid", 1), ""),
        (Unix("/no/such/folder/s"), "No such file or directory"),
        (Unix(__file__), "a file that is no socket is in the way"),
    ],
)
def test_an_address_that_cannot_be_had_is_a_start_error(address: Tcp | Unix, why: str) -> None:
    with pytest.raises(StartError) as caught, listening([address]):
        pass

    assert str(caught.value).startswith(f"cannot listen on {address}: {why}")
    assert caught.value.exit_code is ExitCode.CANNOT_LISTEN


def test_what_was_opened_before_the_one_that_cannot_be_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "s"

    with pytest.raises(StartError), listening([Unix(str(path)), Unix(__file__)]):
        pass

    assert not path.exists()


def test_a_port_is_shared_only_by_those_who_want_to() -> None:
    with listening([Tcp(HOST, 0)], share_ports=True) as (first,):
        address = Tcp(*first.getsockname())
        with listening([address], share_ports=True) as (second,):
            assert second.getsockname() == first.getsockname()
        with pytest.raises(StartError, match="it is in use"), listening([address]):
            pass


def test_http_that_is_optional_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with listening([Tcp(HOST, 0)]) as (taken,):
        doors = Doors([Tcp(HOST, 0)], [Tcp(*taken.getsockname())])

        with opened(doors, http_optional=True) as found:
            assert (len(found.clients), len(found.http)) == (1, 0)
        with pytest.raises(StartError), opened(doors):
            pass

    assert "no HTTP" in caplog.text


def test_a_unix_socket_is_for_our_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = os.umask(0)
    os.umask(before)

    with listening([Unix(str(path))]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700

    assert os.umask(before) == before


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(StartError, match="it is in use"), listening([Unix(str(path))]):
            pass

    with listening([Unix(str(path))]) as (ours,):
        assert ours.getsockname() == str(path)


def test_a_path_that_somebody_else_has_taken_over_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"

    with listening([Unix(str(path))]):
        path.rename(tmp_path / "aside")  # so that the next has another inode
        path.touch()

    assert path.exists()
