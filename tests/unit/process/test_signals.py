"""Signals: heard for a while, told where they mean nothing; and a process that does not end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from nearhit.proxy.errors import ExitCode
from nearhit.proxy.process import signals
from nearhit.proxy.process.signals import OTHERS, STOP, Ending, heard, name_of, tell_ignored


def test_all_signals_that_end_a_process_by_default_are_known() -> None:
    # Those that cannot be caught, tell of a defect, ask for just that, or are Python's.
    left = {"SIGKILL", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV"}
    left |= {"SIGSYS", "SIGPIPE", "SIGXFSZ"}
    harmless = {"SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG"}
    harmless |= {"SIGWINCH"}

    missing = signal.valid_signals() - {*OTHERS, *STOP}

    assert {name_of(number) for number in missing} <= left | harmless


def test_a_signal_is_heard_within_the_block_and_not_behind_it() -> None:
    came: list[int] = []
    before = signal.getsignal(signal.SIGUSR1)

    with heard([signal.SIGUSR1, signal.SIGUSR2], came.append):
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)

    assert came == [signal.SIGUSR1, signal.SIGUSR2]
    assert signal.getsignal(signal.SIGUSR1) is before


def handled(number: int, frame: object) -> None: ...


@pytest.mark.parametrize("handler", [signal.SIG_IGN, handled], ids=["ignored", "handled"])
def test_what_others_have_decided_of_a_signal_stays(handler: Any) -> None:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        came: list[int] = []
        with heard([signal.SIGUSR1], came.append):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert came == []
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_those_that_stop_are_heard_also_in_the_background_of_a_script() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        came: list[int] = []
        with heard([signal.SIGINT], came.append), heard([signal.SIGINT], came.append):
            os.kill(os.getpid(), signal.SIGINT)
        assert came == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGHUP, "SIGHUP"), (signal.SIGRTMIN + 3, "37")]
)
def test_an_ignored_signal_is_told_by_its_name(
    number: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    tell_ignored(number)

    assert caplog.records[0].nearhit_fields == {"signal": name}  # type: ignore[attr-defined]


def test_a_process_that_does_not_end_is_ended() -> None:
    code = (
        "import threading; from nearhit.proxy.process.signals import Ending; "
        "Ending().within(0.01); threading.Event().wait()"
    )

    done = subprocess.run([sys.executable, "-c", code], timeout=20)

    assert done.returncode == ExitCode.SOME_FAILED


def test_one_that_ends_by_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(signals.os, "_exit", ended.append)
    ending = Ending()
    ending.within(60.0)

    ending.done()

    for thread in threading.enumerate():
        if thread.name == "ending":
            thread.join(10)
    assert ended == []
    assert repr(ending) == "<Ending ended=True>"
