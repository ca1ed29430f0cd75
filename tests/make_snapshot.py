"""Write snapshot.json anew out of running servers' own COMMAND replies.

    python -m tests.make_snapshot redis://HOST:PORT redis://HOST:PORT > proxy/table/snapshot.json

Name a Redis 7.0 first and a Valkey 9 behind it: of a command that both know, the first one's row is
taken. A new server version means running this and looking at the difference."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import redis
from nearhit.proxy.table.keyspecs import written
from nearhit.proxy.table.table import Command, command_of


def snapshot_rows(*replies: Sequence[object]) -> str:
    """The text of snapshot.json out of COMMAND replies, the first to know a command wins."""
    merged: dict[bytes, Command] = {}
    for reply in replies:
        for row in reply:
            command = command_of(row)
            merged.setdefault(command.name, command)
    lines = [json.dumps(_row(command)) for _, command in sorted(merged.items())]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _row(command: Command) -> list[object]:
    """One row of COMMAND; what is read nowhere is left empty."""
    subcommands: list[object] = [
        _row(command.under[name]) if name in command.under else [f"|{name.decode().lower()}"]
        for name in sorted(command.subcommands)
    ]
    return [
        command.name.decode().lower(),
        command.arity,
        sorted(map(bytes.decode, command.flags)),
        *command.keys,
        [],
        sorted(map(bytes.decode, command.tips)),
        written(command.specs),
        subcommands,
    ]


def command_reply(url: str) -> list[object]:
    """What the server at the URL says to COMMAND."""
    with redis.Redis.from_url(url) as client:
        client.response_callbacks.clear()  # or it is turned into something else
        reply = client.execute_command("COMMAND")
    assert isinstance(reply, list)
    return reply


def main(urls: Sequence[str]) -> None:
    print(snapshot_rows(*map(command_reply, urls)), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
