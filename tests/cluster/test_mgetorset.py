"""MGETORSET on a cluster: keys of any slots, loaded and stored where they belong."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from tests.clusters import Cluster
from tests.servers import nearhit
from tests.wire.link import Link

from ..commands.people import settings, web


def test_keys_of_several_slots_are_read_and_loaded_at_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    keys = [f"many:{n}" for n in range(60)]
    with web(tmp_path) as origin:
        flags, env = settings(tmp_path, origin)
        with nearhit(cluster.url, *flags, env=env) as proxy, closing(Link(proxy.port)) as link:
            assert link.ask("SET", "many:7", "there") == b"+OK\r\n"

            answer = link.ask("MGETORSET", len(keys), *keys)

            values = ["there" if key == "many:7" else f"user {key[5:]}" for key in keys]
            wanted = "".join(f"${len(value)}\r\n{value}\r\n" for value in values)
            assert answer == f"*60\r\n{wanted}".encode()
            assert link.ask("GET", "many:59") == b"$7\r\nuser 59\r\n"

    stored = [key for node in cluster.nodes for key in node.ask("KEYS", "many:*")]
    assert {*stored} == {key.encode() for key in keys}
    calls = [line for line in (tmp_path / "loads").read_text().splitlines() if "many" in line]
    assert sum(int(line.split()[1]) for line in calls) == 59
