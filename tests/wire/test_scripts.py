"""Every script of scripts/, played to a server and through the proxy: the same bytes come back.

The scripts are data (script.py says how they read); what may differ is listed in masks.py."""

from __future__ import annotations

import pytest

from .conftest import Twins
from .masks import comparable
from .script import Heard, Player, Script, all_scripts

OPEN = [script for script in all_scripts() if "locked" not in script.tags]
LOCKED = [script for script in all_scripts() if "locked" in script.tags]


def brief(heard: Heard) -> str:
    said = b"".join(heard.frames)
    shown = repr(said if len(said) < 1500 else said[:1500] + b"...")
    return f"{shown} {heard.note}"


def differs(truth: Heard, heard: Heard) -> bool:
    words = truth.step.words
    sides = [[comparable(words, frame) for frame in side.frames] for side in (truth, heard)]
    return sides[0] != sides[1] or truth.note != heard.note


def mismatches(truths: list[Heard], heards: list[Heard]) -> list[str]:
    """One paragraph for each step that was answered differently."""
    return [
        f"{truth.step.where}  {truth.step.text}\n  direct: {brief(truth)}\n  proxy:  {brief(heard)}"
        for truth, heard in zip(truths, heards, strict=False)
        if differs(truth, heard)
    ]


def check(script: Script, twins: Twins, resp: int) -> None:
    if not script.runs_on(twins.kind, resp):
        pytest.skip(f"for {', '.join(sorted(script.tags))} only")
    twins.reset()

    direct, proxied = (Player(side.port, side.control, resp) for side in twins.sides)
    truths = direct.play(script)
    last = truths[-1]
    assert not last.stuck, (
        f"not what the server does: {last.step.where} {last.step.text} {last.note}"
    )

    heards = proxied.play(script)

    found = mismatches(truths, heards)
    assert not found, "answered differently\n" + "\n".join(found[:12])


@pytest.mark.parametrize("script", OPEN, ids=lambda script: script.title)
def test_the_proxy_answers_as_the_server_does(script: Script, twins: Twins, resp: int) -> None:
    check(script, twins, resp)


@pytest.mark.parametrize("script", LOCKED, ids=lambda script: script.title)
def test_the_proxy_has_no_password_and_asks_for_none(script: Script, locked_twins: Twins) -> None:
    check(script, locked_twins, resp=2)
