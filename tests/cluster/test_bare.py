"""Every command without its arguments is refused, and its client goes on."""

from __future__ import annotations

from contextlib import closing

from tests.bare import answers, bare_commands, pipelined
from tests.clusters import Cluster
from tests.servers import nearhit
from tests.wire.link import Link


def test_a_command_without_its_arguments_is_refused(cluster: Cluster) -> None:
    with (
        nearhit(cluster.url) as proxy,
        closing(Link(cluster.nodes[0].port)) as node,
        closing(Link(proxy.port)) as link,
    ):
        asked = bare_commands(node)

        told = answers(link, asked)
        assert [words for words, reply in told.items() if not reply.startswith(b"-")] == []
        replies = pipelined(link, asked)
        assert (len(replies), [one for one in replies if one[:1] != b"-"]) == (len(asked), [])
        assert link.ask("PING") == b"+PONG\r\n"
