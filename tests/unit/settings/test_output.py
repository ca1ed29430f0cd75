"""``client_output_buffer``: Redis's words without its class, and what is wrong with others."""

from __future__ import annotations

import pytest
from nearhit.proxy.settings.output import OUTPUT_BUFFER, OutputBuffer

MB = 1 << 20


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", OutputBuffer()),
        ("OFF ", OutputBuffer()),
        ("0", OutputBuffer()),
        ("64mb", OutputBuffer(64 * MB)),
        ("64mb 8mb 60", OutputBuffer(64 * MB, 8 * MB, 60.0)),
        ("64mb 64kb 90s", OutputBuffer(64 * MB, 64 << 10, 90.0)),
        ("0 1mb 2m", OutputBuffer(0, MB, 120.0)),
        ("32mb 0 0", OutputBuffer(32 * MB)),
    ],
)
def test_a_limit_is_read_from_text(text: str, value: OutputBuffer) -> None:
    assert OUTPUT_BUFFER.parse(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is neither 0 nor a size"),
        ("normal 64mb 8mb 60", "'normal' is neither 0 nor a size"),
        ("512kb", "neither 0 nor a size from 1mb"),
        ("64mb 8mb", "needs its seconds"),
        ("64mb 8mb 60 1", "needs its seconds"),
        ("64mb 1kb 60", "neither 0 nor a size from 64kb"),
        ("64mb 8mb soon", "'soon' is not a duration"),
        ("64mb 8mb 0", "without seconds"),
        ("8mb 8mb 60", "not below"),
    ],
)
def test_what_is_none_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        OUTPUT_BUFFER.parse(text)
