"""The settings of what a client may cost: all but two are off unless set."""

from __future__ import annotations

from nearhit.proxy.settings.config import load
from nearhit.proxy.settings.output import OutputBuffer


def test_what_is_not_set_is_off_or_as_the_servers_have_it() -> None:
    config = load({}, {}, lambda path: "")

    assert (config.timeout, config.maxmemory_clients) == (0.0, 0)
    assert config.client_output_buffer == OutputBuffer()
    assert (config.max_multi, config.max_subscriptions) == (1 << 30, 100_000)
