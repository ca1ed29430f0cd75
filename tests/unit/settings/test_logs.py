"""The settings of what is told."""

from __future__ import annotations

import pytest
from nearhit.proxy.settings.config import Config, ConfigError, load


def loaded(**flags: str) -> Config:
    return load(flags, {}, lambda path: "")


def test_by_default_events_are_text_and_slow_is_a_tenth_of_a_second() -> None:
    assert (loaded().log_format, loaded().slowlog) == ("text", 0.1)
    assert loaded().traces == "off"


def test_both_may_be_chosen() -> None:
    config = loaded(log_format="JSON", slowlog="1s")

    assert (config.log_format, config.slowlog) == ("json", 1.0)
    assert loaded(slowlog="off").slowlog == 0.0


@pytest.mark.parametrize(
    ("name", "text"), [("log_format", "xml"), ("slowlog", "9ms"), ("traces", "zipkin")]
)
def test_what_is_none_of_them_is_a_mistake(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name.replace("_", ".")):
        loaded(**{name: text})
