"""Inline requests: a line is split as both servers split it."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import ProtocolError
from nearhit.proxy.resp.inline import Dialect, split_inline

REDIS, VALKEY = Dialect.REDIS, Dialect.VALKEY


@pytest.mark.parametrize(
    ("line", "args"),
    [
        (b"", []),
        (b"  a  b\t", [b"a", b"b"]),
        (b'"a b" c', [b"a b", b"c"]),
        (b"'a b' c", [b"a b", b"c"]),
        (b'""', [b""]),
        (b"''", [b""]),
        (rb'"\x41\n\r\t\b\a\\\"\q"', b'A\n\r\t\b\a\\"q'.split(b"|")),
        (rb'"\x4"', [b"x4"]),
        (rb'"\xzz"', [b"xzz"]),
        (rb"'it\'s \n'", [rb"it's \n"]),
        (b'a"b c"', [b"ab c"]),
        (b"a\0b c", [b"a"]),
        (b"\0", []),
        (b"\xff\xfe", [b"\xff\xfe"]),
        # They are passed over between words, but end none: sdssplitargs.
        (b"a\x0bb\x0c c", [b"a\x0bb\x0c", b"c"]),
        (b"\x0b a", [b"a"]),
    ],
)
@pytest.mark.parametrize("dialect", [REDIS, VALKEY])
def test_a_line_is_split_as_both_servers_split_it(
    line: bytes, args: list[bytes], dialect: Dialect
) -> None:
    assert split_inline(line, dialect) == args


@pytest.mark.parametrize(
    "line", [b"'", b'"', b'"a', b"'a", b'a"', rb'"a\"', rb"'a\'", rb"'a\\'", b'"a\\']
)
@pytest.mark.parametrize("dialect", [REDIS, VALKEY])
def test_a_quote_must_be_closed(line: bytes, dialect: Dialect) -> None:
    with pytest.raises(ProtocolError, match="unbalanced quotes in request"):
        split_inline(line, dialect)


@pytest.mark.parametrize("line", [b'"a"b', b"'a'b", b"""'a'"b\"""", b'x"a"b'])
def test_only_in_valkey_a_word_goes_on_behind_its_quote(line: bytes) -> None:
    plain = line.replace(b"'", b"").replace(b'"', b"")

    assert split_inline(line, VALKEY) == [plain]
    with pytest.raises(ProtocolError, match="unbalanced quotes in request"):
        split_inline(line, REDIS)
