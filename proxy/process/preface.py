"""The PROXY protocol's header, by which a load balancer says whose connection this really is.

Both versions: https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt. Version 1 is a line of
text, version 2 is binary; what a header holds beyond addresses (TLVs) is skipped. Consumes nothing
that is behind the header. Pure: entrance.py reads the bytes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
HEAD: Final = 16  # bytes of version 2 before what its length counts
LINE_MAX: Final = 107  # of version 1, the CRLF included
# Of version 2: the longest addresses are those of unix sockets, 216 bytes; the rest is TLVs.
PREFACE_MAX: Final = 4096
_V1: Final = re.compile(rb"PROXY TCP([46]) ([\da-fA-F:.]+) ([\da-fA-F:.]+) (\d{1,5}) (\d{1,5})\r\n")
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_TCP4, _TCP6, _UNIX = 0x11, 0x21, 0x31  # family and transport
_IP_SIZES: Final = {_TCP4: 4, _TCP6: 16}
_PATH: Final = 108

Address = tuple[str, int]


class BadPreface(Exception):
    """It is no header, or one of something that this is not."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose connection it is, and whereto: host and port, or a path; None: as it seems to be, for
    the balancer speaks for itself (LOCAL), or does not know."""

    peer: Address | str | None = None
    local: Address | str | None = None


ITSELF: Final = Origin()


def size_of(data: bytes) -> int | None:
    """How many bytes the header has that ``data`` begins with; None: too little is there, and all
    of it belongs to the header. BadPreface: it is none."""
    if data.startswith(SIGNATURE):
        if len(data) < HEAD:
            return None
        size = HEAD + int.from_bytes(data[14:16])
        if size > PREFACE_MAX:
            raise BadPreface(f"a header of {size} bytes")
        return size
    if SIGNATURE.startswith(data):
        return None
    if not (data.startswith(b"PROXY ") or b"PROXY ".startswith(data)):
        raise BadPreface("it begins with something else")
    end = data.find(b"\n", 0, LINE_MAX)
    if end < 0 and len(data) >= LINE_MAX:
        raise BadPreface("a line without an end")
    return None if end < 0 else end + 1


def origin_of(header: bytes) -> Origin:
    """What a whole header says. BadPreface: it says nothing that there is."""
    return _binary(header) if header.startswith(SIGNATURE) else _text(header)


def _text(line: bytes) -> Origin:
    if line.startswith(b"PROXY UNKNOWN") and line.endswith(b"\r\n") and line[13:14] in b" \r":
        return Origin()
    found = _V1.fullmatch(line)
    if found is None:
        raise BadPreface("a line that is none of version 1")
    try:
        hosts = [ipaddress.ip_address(word.decode("ascii")) for word in (found[2], found[3])]
    except ValueError:
        raise BadPreface("an address that is none") from None
    ports = int(found[4]), int(found[5])
    if {host.version for host in hosts} != {int(found[1])} or max(ports) > 0xFFFF:
        raise BadPreface("an address that is none")
    return Origin((str(hosts[0]), ports[0]), (str(hosts[1]), ports[1]))


def _binary(header: bytes) -> Origin:
    command, family = header[12], header[13]
    if command == _LOCAL:
        return Origin()
    if command != _PROXY:
        raise BadPreface(f"version and command {command:#04x}")
    rest = header[HEAD:]
    if family in _IP_SIZES:
        size = _IP_SIZES[family]
        if len(rest) < 2 * size + 4:
            raise BadPreface("its addresses are cut short")
        hosts = [str(ipaddress.ip_address(rest[at : at + size])) for at in (0, size)]
        ports = [int.from_bytes(rest[at : at + 2]) for at in (2 * size, 2 * size + 2)]
        return Origin((hosts[0], ports[0]), (hosts[1], ports[1]))
    if family == _UNIX:
        if len(rest) < 2 * _PATH:
            raise BadPreface("its paths are cut short")
        return Origin(_path(rest[:_PATH]), _path(rest[_PATH : 2 * _PATH]))
    return Origin()  # UNSPEC, and datagrams: the receiver is to ignore what it does not know


def _path(data: bytes) -> str | None:
    path = data.partition(b"\0")[0].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() and c != " " else "?" for c in path) or None
