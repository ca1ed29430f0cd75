"""Every command without its arguments is refused as the server refuses it."""

from __future__ import annotations

from contextlib import closing

from tests.bare import answers, bare_commands, pipelined

from .conftest import Twins
from .link import Link


def test_a_command_without_its_arguments_is_refused_in_the_servers_words(
    twins: Twins, resp: int
) -> None:
    direct, proxied = (Link(side.port) for side in twins.sides)
    with closing(direct), closing(proxied):
        for link in (direct, proxied):
            link.ask("HELLO", resp)
        asked = bare_commands(direct)
        assert len(asked) > 250
        expected = answers(direct, asked)

        assert answers(proxied, asked) == expected
        assert pipelined(proxied, asked) == list(expected.values())
