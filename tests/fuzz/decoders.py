"""The decoders under any bytes: the compiled ones and their plain-Python twins agree in everything,
and with hiredis in what it reads.

On demand, with coverage (libFuzzer's arguments; ``pip install atheris``) or by a plain random
driver:

    python -m tests.fuzz.decoders client -max_total_time=1800
    python -m tests.fuzz.decoders upstream --random 300

A disagreement is an AssertionError, and its bytes become a row of test_decoders.py. atheris sees no
coverage in compiled code; that of the twin guides it, which takes the same ways."""

from __future__ import annotations

import importlib
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import hiredis
from nearhit.proxy.errors import ProtocolError
from nearhit.proxy.resp import _kernel as compiled
from nearhit.proxy.resp import _kernel_py as pure
from nearhit.proxy.resp.inline import Dialect
from nearhit.proxy.resp.requests import Request, parse_request

KINDS: Final = {b"GET": 1, b"SET": 2, b"MULTI": 3}
SEEDS: Final = {
    "client": [
        b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-1\r\n*0\r\n*1\r\n$5\r\nMULTI\r\n",
        b"SET k \"a\\x00b\" 'c'\r\nPING\n*-1\r\n*1\r\n$04\r\nPING\r\n",
        b"*2147483647\r\n$536870912\r\n",
    ],
    "upstream": [
        b"+OK\r\n:1\r\n$-1\r\n$5\r\nhello\r\n*2\r\n+a\r\n$1\r\nb\r\n-ERR no\r\n*-1\r\n*0\r\n",
        b"_\r\n%1\r\n+a\r\n:1\r\n~1\r\n#t\r\n,1.5\r\n(12\r\n=7\r\ntxt:abc\r\n!3\r\nERR\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n|1\r\n+a\r\n+b\r\n+OK\r\n",
    ],
}


def _chunks(data: bytes) -> Iterator[bytes]:
    """The data in pieces whose sizes its own bytes say, so that a case says how it was cut."""
    pos = 0
    while pos < len(data):
        size = 1 + data[pos] % 7 if data[0] % 2 else len(data)
        yield data[pos : pos + size]
        pos += size


def _cutter_says(cutter: Any, chunks: list[bytes], want: int, pushes: bool) -> list[object]:
    said: list[object] = []
    places: list[int] = []
    cutter.places = places
    for chunk in chunks:
        pos = 0
        while pos < len(chunk):
            before = pos
            pos = cutter.cut(chunk, pos, want, pushes)
            counts = (cutter.done, cutter.bulks, cutter.nulls, cutter.errors)
            if cutter.stop == compiled.BROKEN:  # the connection ends: where, nobody asks
                return [*said, ("broken", counts)]
            said.append((pos, cutter.stop, counts, cutter.inside, tuple(places)))
            if pos == before:
                return said
            places.clear()
    return said


def _cut_alike(data: bytes, want: int, pushes: bool, requests: bool = False) -> None:
    chunks = list(_chunks(data))
    one, other = (
        _cutter_says(kernel.Cutter(requests), chunks, want, pushes) for kernel in (compiled, pure)
    )
    assert one == other, (data, one, other)


# --- The two sides ----------------------------------------------------------------------------


def client(data: bytes) -> None:
    """Bytes from a client: what is scanned, split and streamed."""
    if not data:
        return
    scans: list[object] = []
    for kernel in (compiled, pure):
        routes: Any = kernel.RouteMap(KINDS)
        found = routes.scan(data, 0, 100)
        scans.append((found, routes.end, routes.last, routes.route, routes.reads, routes.words))
    assert scans[0] == scans[1], (data, scans)
    _cut_alike(data, 1, False, requests=True)
    words, at = compiled.split(data, 0)
    assert (words, at) == pure.split(data, 0), data
    if words is not None:
        reader = hiredis.Reader()
        reader.feed(data[:at])
        assert reader.gets() == words, data
        assert not reader.has_data(), data
    for dialect in Dialect:
        for locked in (False, True):
            pos = 0
            try:
                while isinstance(request := parse_request(data, pos, locked, dialect), Request):
                    assert request.end > pos, data
                    pos = request.end
            except ProtocolError:
                pass


def upstream(data: bytes) -> None:
    """Bytes from a server: where its replies end."""
    if not data:
        return
    for want in (1, 100):
        for pushes in (False, True):
            _cut_alike(data, want, pushes)
    # hiredis reads no attributes, and takes the memory for as many elements as it is told of.
    if b"|" in data or re.search(rb"[*%~>][+]?[0-9]{5}", data):
        return
    more, whole = object(), 0
    reader = hiredis.Reader(replyError=Exception, notEnoughData=more)
    reader.feed(data)
    try:
        while reader.gets() is not more:
            whole += 1
    except (hiredis.ProtocolError, TypeError):  # a map's key that no dict takes
        return
    cutter = compiled.Cutter()
    cutter.cut(data, 0, 1 << 30, True)
    # Its line may end with \n alone, and what can never be a reply breaks it before the line ends.
    assert cutter.done == whole or data.count(b"\n") != data.count(b"\r\n"), (
        data,
        cutter.done,
        whole,
    )


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"client": client, "upstream": upstream}


# --- The drivers ------------------------------------------------------------------------------

TOKENS: Final = [
    *(b"\r\n", b"\r", b"\n", b"$", b"*", b"-", b"+", b":", b"0", b"1", b"9", b"_", b"%", b"~"),
    *(b">", b"#", b",", b"(", b"=", b"!", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"*2\r\n", b"$1\r\n"),
    *(b"$536870913\r\n", b"*2147483648\r\n", b"99999999999", b"\x00", b"\xff", b"GET", b'"', b"'"),
]


def mutated(draw: random.Random, seeds: list[bytes]) -> bytes:
    """A seed or two with some bytes of it removed, doubled or replaced."""
    data = bytearray(b"".join(draw.choices(seeds, k=draw.randint(1, 2))))
    for _ in range(draw.randint(0, 5)):
        at = draw.randint(0, len(data))
        put = draw.choice([draw.choice(TOKENS), draw.randbytes(draw.randint(0, 3)), data[at:][:9]])
        data[at : at + draw.choice([0, 0, 1, 2, 5])] = put
    return bytes(data)


def at_random(side: str, seconds: float, seed: int = 0, most: int = sys.maxsize) -> int:
    """Try so long; the value is how many cases were tried."""
    draw, end, tried = random.Random(seed), time.monotonic() + seconds, 0
    while tried < most and time.monotonic() < end:
        TARGETS[side](mutated(draw, SEEDS[side]))
        tried += 1
    return tried


def main(argv: list[str]) -> None:
    side, *rest = argv[1:]
    if rest[:1] == ["--random"]:
        tried = at_random(side, float(rest[1]), seed=int(time.time()))
        sys.stdout.write(f"{side}: {tried} cases, no disagreement\n")
        return
    atheris: Any = importlib.import_module("atheris")  # installed by who fuzzes

    atheris.instrument_func(pure.Cutter.cut)
    atheris.Setup([argv[0], *rest], atheris.instrument_func(TARGETS[side]))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
