"""Which scripts are remembered, and for how long."""

from __future__ import annotations

from hashlib import sha1

import pytest
from nearhit.proxy.cluster import scripts
from nearhit.proxy.cluster.scripts import Scripts
from nearhit.proxy.resp.requests import encode


def load(body: bytes) -> list[bytes]:
    return [b"script", b"load", body]


def call(body: bytes, name: bytes = b"EVALSHA") -> bytes:
    return encode([name, sha1(body).hexdigest().upper().encode(), b"0"])


def test_what_was_loaded_is_loaded_again_for_who_calls_it() -> None:
    kept = Scripts()
    kept.saw(load(b"return 1"))

    assert kept.load_for(call(b"return 1")) == encode([b"SCRIPT", b"LOAD", b"return 1"])
    assert kept.load_for(call(b"return 1", b"evalsha_ro")) is not None
    assert kept.load_for(call(b"return 2")) is None
    assert kept.load_for(encode([b"EVAL", b"return 1", b"0"])) is None
    assert kept.load_for(encode([b"EVALSHA"])) is None


def test_flushed_scripts_are_forgotten() -> None:
    kept = Scripts()
    kept.saw(load(b"return 1"))
    kept.saw([b"CONFIG", b"FLUSH"])
    assert len(kept) == 1

    kept.saw([b"SCRIPT", b"FLUSH", b"ASYNC"])

    assert repr(kept) == "<Scripts 0 bytes=0>"


def test_the_longest_unused_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "BYTES_MAX", 20)
    kept = Scripts()
    for body in (b"return 1", b"return 2", b"return 2"):
        kept.saw(load(body))
    kept.load_for(call(b"return 1"))

    kept.saw(load(b"return 3"))

    assert kept.load_for(call(b"return 2")) is None
    assert repr(kept) == "<Scripts 2 bytes=16>"


def test_a_transaction_has_what_it_calls_loaded_once_each() -> None:
    kept = Scripts()
    assert kept.loads(call(b"return 1")) == []
    kept.saw(load(b"return 1"))
    kept.saw(load(b"return 2"))
    requests = [
        encode([b"MULTI"]),
        encode([b"SET", b"evalsha", b"1"]),
        call(b"return 1"),
        call(b"return 1", b"evalsha_ro"),
        call(b"return 2"),
        call(b"return 3"),
        encode([b"EXEC"]),
    ]

    assert kept.loads(b"".join(requests)) == [
        encode([b"SCRIPT", b"LOAD", body]) for body in (b"return 1", b"return 2")
    ]
    assert kept.loads(encode([b"SET", b"k", b"v"])) == []
