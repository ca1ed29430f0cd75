"""How a command of the proxy's own is told of in traces, whoever asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from ..custom.spec import CommandSpec
from ..spans import UNSEEN, Span
from .context import Context
from .telling import told


def command_span(context: Context, words: Sequence[bytes], db: int) -> AbstractContextManager[Span]:
    """The span of a request, for as long as it runs."""
    if not context.traces.on:
        return UNSEEN
    text = told(words, context.table, context.customs)
    return context.traces.command(_operation(words, context.customs), text, db)


def _operation(words: Sequence[bytes], ours: Mapping[bytes, CommandSpec]) -> str:
    """The command, and the word behind it where that is one of a few: LOCK ACQUIRE."""
    name = words[0].upper()
    under = words[1].decode("latin-1").upper() if len(words) > 1 else ""
    subs = ours[name].subcommands if name in ours else ()
    known = any(sub.name == under for sub in subs)
    return f"{name.decode()} {under}" if known else name.decode()
