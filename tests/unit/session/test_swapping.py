"""Which scripts and functions are taken to swap databases."""

from __future__ import annotations

import hashlib

import pytest
from nearhit.proxy.session.swapping import SCRIPTS_MAX, Swapping

TEXT = b"return redis.call('SwapDB', 0, 1)"
SHA = hashlib.sha1(TEXT).hexdigest().encode()


@pytest.mark.parametrize("name", [b"EVAL", b"eval_ro"])
def test_a_text_that_names_it_is_known_by_its_hash_from_then_on(name: bytes) -> None:
    swapping = Swapping()
    assert not swapping.may_swap([b"EVALSHA", SHA, b"0"])

    assert swapping.may_swap([name, TEXT, b"0"])

    assert swapping.may_swap([b"EVALSHA", SHA.upper(), b"0"])
    assert swapping.may_swap([b"evalsha_ro", SHA, b"0"])


def test_a_script_that_is_loaded_is_known_by_its_hash() -> None:
    swapping = Swapping()

    swapping.loaded([b"script", b"load", TEXT])

    assert swapping.may_swap([b"EVALSHA", SHA, b"0"])
    assert not swapping.may_swap([b"FCALL", b"f", b"0"])
    assert repr(swapping) == "<Swapping scripts=1 functions=False>"


def test_where_a_library_names_it_every_function_may_do_it() -> None:
    swapping = Swapping()

    swapping.loaded([b"FUNCTION", b"LOAD", b"REPLACE", b"#!lua name=x\n" + TEXT])

    assert swapping.may_swap([b"FCALL", b"f", b"0"])
    assert swapping.may_swap([b"FCALL_RO", b"f", b"0"])


@pytest.mark.parametrize(
    "args",
    [
        [b"EVAL", b"return 1", b"1", b"swapdb"],
        [b"EVAL"],
        [b"EVALSHA", SHA, b"0"],
        [b"FCALL", b"f", b"0"],
        [b"SET", b"swapdb", b"swapdb"],
    ],
)
def test_others_do_not(args: list[bytes]) -> None:
    swapping = Swapping()
    swapping.loaded([b"SCRIPT", b"LOAD", b"return 1"])

    assert not swapping.may_swap(args)


def test_no_more_scripts_are_remembered_than_so_many() -> None:
    swapping = Swapping()
    swapping.loaded([b"SCRIPT", b"LOAD", TEXT])

    for number in range(SCRIPTS_MAX):
        swapping.loaded([b"SCRIPT", b"LOAD", b"%b -- %d" % (TEXT, number)])

    assert repr(swapping) == f"<Swapping scripts={SCRIPTS_MAX} functions=False>"
    assert not swapping.may_swap([b"EVALSHA", SHA, b"0"])
