"""What a loader's ``warm`` names."""

from __future__ import annotations

import pytest
from nearhit.proxy.settings.warming import WARM, WarmKeys


@pytest.mark.parametrize(
    ("text", "is_file", "is_wild", "count"),
    [
        ("user:{1..100}", False, False, 100),
        ("user:1", False, False, 1),
        ("user:*", False, True, None),
        ("user:{a,b}:[12]", False, True, None),
        ("./keys*.txt", True, False, None),
        ("../keys", True, False, None),
        ("/etc/keys", True, False, None),
    ],
)
def test_a_text_is_a_file_a_glob_or_keys_written_out(
    text: str, is_file: bool, is_wild: bool, count: int | None
) -> None:
    keys = WARM.parse(text)

    assert isinstance(keys, WarmKeys)
    assert (keys.is_file, keys.is_wild, keys.count) == (is_file, is_wild, count)


def test_braces_are_written_out_one_by_one() -> None:
    assert list(WarmKeys("é:{1..2}:*").expanded()) == ["é:1:*".encode(), "é:2:*".encode()]


def test_nothing_is_no_key() -> None:
    with pytest.raises(ValueError, match=r"^$"):
        WARM.parse("")
