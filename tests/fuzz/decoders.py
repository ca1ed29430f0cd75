"""The decoders under any bytes: the compiled ones and their plain-Python twins agree in everything,
and with hiredis in what it reads.

On demand, with coverage (libFuzzer's arguments; ``pip install atheris``) or by a plain random
driver:

    python -m tests.fuzz.decoders client -max_total_time=1800 CORPUS
    python -m tests.fuzz.decoders upstream --random 300

CORPUS is a folder of cases, new or kept from the last time; the seeds are put there. A disagreement
is an AssertionError, and its bytes become a row of test_decoders.py. atheris sees no coverage in
compiled code; that of the twin guides it, which takes the same ways."""

from __future__ import annotations

import importlib
import inspect
import random
import re
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import hiredis
from nearhit.proxy.errors import ProtocolError
from nearhit.proxy.near.index import Entry, Index
from nearhit.proxy.near.sketch import Sketch
from nearhit.proxy.resp import _hashes_py, _heads_py, _packing_py, _runs_py, _words_py, inline
from nearhit.proxy.resp import _kernel as compiled
from nearhit.proxy.resp import _kernel_py as pure
from nearhit.proxy.resp import requests as words_of
from nearhit.proxy.resp.inline import Dialect
from nearhit.proxy.resp.requests import Request, parse_request
from nearhit.proxy.resp.routes import ASKING, WRITING, Route

# What guides the fuzzer: the twins of what is compiled, and what both use.
GUIDES: Final = (pure, _hashes_py, _heads_py, _packing_py, _runs_py, _words_py, inline, words_of)
FAR: Final = {
    b"GET": Route.READ, b"SET": Route.PLAIN, b"MULTI": Route.MULTI, b"PING": Route.PLAIN,
    b"MGET": Route.FAR_ANY, b"HGET": Route.TELL,
}  # fmt: skip
NEAR: Final = {**FAR, b"GET": Route.NEAR, b"MGET": Route.NEAR_MANY}
GROUPS: Final = {b"GET": ASKING, b"SET": WRITING}
SEEDS: Final = {
    "client": [
        b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-1\r\n*0\r\n*1\r\n$5\r\nMULTI\r\n",
        b"SET k \"a\\x00b\" 'c'\r\nPING\n*-1\r\n*1\r\n$04\r\nPING\r\n",
        b"*2147483647\r\n$536870912\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nGET\r\n$1\r\nx\r\n",
        b"*4\r\n$4\r\nMGET\r\n$1\r\nk\r\n$1\r\nx\r\n$1\r\nn\r\n",
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


# --- What the scanners say of requests --------------------------------------------------------


def _scanned(kernel: Any, data: bytes) -> object:
    routes = kernel.RouteMap(FAR, GROUPS)
    found = routes.scan(data, 0, 100), routes.end, routes.last, routes.route
    counts = routes.reads, routes.marks, routes.tells, routes.asking, routes.writing
    owners = array("h", [0, 1]) * 8192
    if not found[0]:
        return found, counts
    run = kernel.spread(routes, data[: routes.end], owners, found[0])
    return found, counts, run, routes.hash_slot(data, 0), routes.end


def _keyed(kernel: Any, data: bytes) -> object:
    routes = kernel.RouteMap(FAR)
    key = routes.key(data, 0)
    return key, (key is not None and (routes.end, routes.words, routes.route))


def _shelf() -> tuple[Index, Sketch]:
    """What a near cache has: a value, a nil, and one that is too old."""
    index, sketch = Index(7), Sketch(1 << 10)
    for key, reply, deadline in (
        (b"k", b"$1\r\nv\r\n", 9.0),
        (b"n", None, 9.0),
        (b"", b"+\r\n", 1.0),
    ):
        entry = Entry.__new__(Entry)
        entry.key, entry.mixed = key, hash(key) ^ index.salt
        entry.reply, entry.deadline, entry.freq = reply, deadline, 0
        index.put(entry)
    return index, sketch


def _found(routes: Any, count: int) -> object:
    if not count or routes.told is None:  # else nobody looks at the rest
        return count, routes.end
    found = count, routes.end, routes.told, routes.nils, routes.asked or None
    return *found, routes.gaps, routes.doubts, routes.sampled


def _near(kernel: Any, data: bytes) -> object:
    routes = kernel.RouteMap(NEAR)
    shelf = _shelf()
    return [
        (_found(routes, routes.near(data, 0, 100, *shelf, 5.0, flat, mixed)))
        for flat in (False, True)
        for mixed in (False, True)
    ]


def _many(kernel: Any, data: bytes) -> object:
    routes = kernel.RouteMap(NEAR)
    shelf = _shelf()
    return [_found(routes, routes.many(data, 0, *shelf, 5.0, flat)) for flat in (False, True)]


# --- The two sides ----------------------------------------------------------------------------


def client(data: bytes) -> None:
    """Bytes from a client: what is scanned, split and streamed."""
    if not data:
        return
    for said in (_scanned, _keyed, _near, _many):
        one, other = said(compiled, data), said(pure, data)
        assert one == other, (data, one, other)
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
    cutter = compiled.Cutter()
    cutter.cut(data, 0, 1 << 30, True)
    if count := cutter.done:  # of replies, which are put together again where they came in pieces
        text = data[: compiled.Cutter().cut(data, 0, count, True)]
        for kernel in (compiled, pure):
            assert kernel.weave(bytes(count), [text]) == text, (data, kernel)
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
    # Its line may end with \n alone, and what can never be a reply breaks it before the line ends.
    assert count == whole or data.count(b"\n") != data.count(b"\r\n"), (
        data,
        count,
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
    for module in GUIDES:
        for function in functions(module):
            atheris.instrument_func(function)
    for folder in rest[-1:]:
        if not folder.startswith("-"):
            for number, seed in enumerate(SEEDS[side]):
                (Path(folder) / f"seed{number}").write_bytes(seed)
    atheris.Setup([argv[0], *rest], TARGETS[side])
    atheris.Fuzz()


def functions(module: ModuleType) -> Iterator[FunctionType]:
    """Of the module and of its classes, which it defines itself."""
    for owner in (module, *(found for _, found in inspect.getmembers(module, inspect.isclass))):
        for _, found in inspect.getmembers(owner, inspect.isfunction):
            if found.__module__ == module.__name__ and isinstance(found, FunctionType):
                yield found


if __name__ == "__main__":
    main(sys.argv)
