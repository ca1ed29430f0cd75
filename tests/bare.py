"""Commands without the arguments that they need: nobody may crash over them, or wait."""

from __future__ import annotations

from typing import Any

import hiredis

from tests.wire.link import Link, command

Words = tuple[str, ...]


def bare_commands(link: Link) -> list[Words]:
    """Each command, and each subcommand, that needs an argument: its name alone."""
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(link.ask("COMMAND"))
    rows: list[Any] = reader.gets()
    bare: list[Words] = []
    for name, arity, *rest in rows:
        if abs(arity) > 1:
            bare.append((name,))
        for sub, needs, *_ in rest[-1]:
            if abs(needs) > 2:
                bare.append(tuple(sub.split("|")))
    return bare


def answers(link: Link, asked: list[Words]) -> dict[Words, bytes]:
    """To each, asked one after the other: a pipeline would show only that one was not answered."""
    return {words: link.ask(*words) for words in asked}


def pipelined(link: Link, asked: list[Words]) -> list[bytes]:
    link.send(b"".join(command(*words) for words in asked))
    return link.read(len(asked), 20)
