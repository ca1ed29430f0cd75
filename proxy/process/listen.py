"""The listening sockets: opens them, removes the paths of unix sockets, says why one cannot be had.

They come in groups, for clients and for HTTP, each without TLS and with it; all together are one
``Doors``. Accepts nobody: whoever opens them (cli, and workers.py for its own) hands them on."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import socket
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import ExitCode, StartError
from ..log import event
from ..settings.address import BACKLOG, Listen, Tcp, Unix

log = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Doors(Generic[T]):
    """Addresses, or the sockets that listen there."""

    clients: Sequence[T] = ()
    http: Sequence[T] = ()
    tls: Sequence[T] = ()  # clients that speak TLS
    https: Sequence[T] = ()

    def __post_init__(self) -> None:
        # So that two are equal whatever they were made of.
        for one in fields(self):
            object.__setattr__(self, one.name, list(getattr(self, one.name)))

    @property
    def groups(self) -> tuple[Sequence[T], Sequence[T], Sequence[T], Sequence[T]]:
        """In the order of the fields."""
        return self.clients, self.http, self.tls, self.https

    @property
    def all(self) -> Iterator[T]:
        """Those of every group."""
        return itertools.chain.from_iterable(self.groups)

    def __add__(self, other: Doors[T]) -> Doors[T]:
        pairs = zip(self.groups, other.groups, strict=True)
        return Doors(*([*mine, *others] for mine, others in pairs))

    def only(self, kind: type[T]) -> Doors[T]:
        """Those that are of a class."""
        return self.each(lambda group: [one for one in group if isinstance(one, kind)])

    def each(self, act: Callable[[Sequence[T]], Sequence[U]]) -> Doors[U]:
        """What an act makes of every group."""
        return Doors(*map(act, self.groups))


@contextlib.contextmanager
def opened(
    addresses: Doors[Listen], *, share_ports: bool = False, http_optional: bool = False
) -> Generator[Doors[socket.socket]]:
    """Listening sockets for both groups, closed at the end. ``share_ports`` lets other processes
    listen there too. StartError: one cannot be had; with ``http_optional``, HTTP is left out
    instead."""
    with contextlib.ExitStack() as stack:
        clients = stack.enter_context(listening(addresses.clients, share_ports=share_ports))
        tls = stack.enter_context(
            listening(addresses.tls, share_ports=share_ports, flag="--tls-listen")
        )
        https = stack.enter_context(
            listening(addresses.https, share_ports=share_ports, flag="--tls-http")
        )
        http: list[socket.socket] = []
        try:
            http = stack.enter_context(
                listening(addresses.http, share_ports=share_ports, flag="--http")
            )
        except StartError as error:
            if not http_optional:
                raise
            event(log, logging.WARNING, "no HTTP", error=error)
        yield Doors(clients, http, tls, https)


_REMEDIES = {
    errno.EADDRINUSE: "it is in use; stop what holds it or choose another with {flag}",
    errno.EACCES: "permission denied; choose a port from 1024 up, or a folder of yours",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one of its own with {flag}",
}
# What a name may resolve to and this machine not have, as with ::1 where IPv6 is switched off.
_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


@contextlib.contextmanager
def listening(
    addresses: Sequence[Listen], *, share_ports: bool = False, flag: str = "--listen"
) -> Generator[list[socket.socket]]:
    """Listening sockets, closed at the end and their paths removed. StartError: one cannot be
    had; ``flag`` is what asked for it."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for address in addresses:
            try:
                if isinstance(address, Unix):
                    sockets.append(_unix_socket(stack, Path(address.path), address.mode))
                else:
                    sockets += _tcp_sockets(stack, address, share_ports)
            except (OSError, UnicodeError) as error:
                raise _cannot_listen(address, error, flag) from error
        yield sockets


def bound(doors: Doors[socket.socket]) -> Doors[Listen]:
    """The addresses that the sockets have: numeric, and with a port where 0 was asked for."""
    return doors.each(lambda group: list(map(_address, group)))


def _address(one: socket.socket) -> Listen:
    name = one.getsockname()
    return Unix(name) if isinstance(name, str) else Tcp(name[0], name[1])


def _cannot_listen(address: Listen, error: OSError | UnicodeError, flag: str) -> StartError:
    why = str(error)
    if isinstance(error, OSError):
        remedy = _REMEDIES.get(error.errno or 0, "").format(flag=flag)
        why = remedy or error.strerror or why
    return StartError(f"cannot listen on {address}: {why}", ExitCode.CANNOT_LISTEN)


def _tcp_sockets(
    stack: contextlib.ExitStack, address: Tcp, share_port: bool
) -> list[socket.socket]:
    """A socket for each address that the host's name has on this machine."""
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    for family, kind, protocol, _, where in dict.fromkeys(
        socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    ):
        try:
            one = stack.enter_context(socket.socket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(where)
            one.listen(BACKLOG)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            absent = error
        else:
            sockets.append(one)
    if absent is not None and not sockets:
        raise absent
    return sockets


def _unix_socket(stack: contextlib.ExitStack, path: Path, mode: int) -> socket.socket:
    """A socket at the path, of this mode from the first. One that nobody listens on any more is
    replaced."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way")
        if _is_answered(path):
            raise OSError(errno.EADDRINUSE, "")
        path.unlink()
    one = stack.enter_context(socket.socket(socket.AF_UNIX))
    before = os.umask(0o777 & ~mode)
    try:
        one.bind(str(path))
    finally:
        os.umask(before)
    stack.callback(_remove, path, path.stat().st_ino)
    one.listen(BACKLOG)
    return one


def _is_answered(path: Path) -> bool:
    """Whether a process listens there; only a refusal says that none does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except TimeoutError:
            return True
        return True


def _remove(path: Path, inode: int) -> None:
    """Remove our socket's path, unless somebody put another there."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()
