"""A wire script (tests/wire/script.py) whose keys all hash to one slot.

    SET a 1, RENAME a b  ─▶  SET a{t} 1, RENAME a{t} b{t}

What its keys are the server says (COMMAND GETKEYS). Without the tag every other script would be
about CROSSSLOT alone. Text inside a word, as of scripts in Lua and of raw bytes, stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.wire.frames import children, payload
from tests.wire.link import Link
from tests.wire.script import Action, Script, Step

TAG: Final = b"{t}"
LAST: Final = b"%last"  # stands for a reply: no key


def colocated(script: Script, server: Link) -> Script:
    return replace(script, steps=tuple(_step(step, server) for step in script.steps))


def _step(step: Step, server: Link) -> Step:
    if step.action is not Action.COMMAND or not step.words:
        return step
    name, *others = step.words
    reply = server.ask("COMMAND", "GETKEYS", *step.words)
    found = children(reply)[1] if reply[:1] == b"*" else []
    keys = {payload(key) for key in found} - {LAST}
    words = (name, *(word + TAG if word in keys else word for word in others))
    return replace(step, words=words)
