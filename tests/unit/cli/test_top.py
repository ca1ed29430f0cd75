"""``nearhit top``: the words, the loop and its keys; frames are test_top_frame.py's. A real proxy
and a real terminal are in tests/commands/test_top.py."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
from collections.abc import Sequence
from typing import Any

import pytest
from nearhit.proxy.cli import main as main_module
from nearhit.proxy.cli import top as module
from nearhit.proxy.cli.keyboard import ENDED, SUSPEND, Keyboard
from nearhit.proxy.cli.top import MISSING, NO_TERMINAL, Watch, parser
from nearhit.proxy.cli.top_reading import Reading
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.stats.history import SUMS
from rich.console import Console

PROXY = {"stats": dict.fromkeys(SUMS, 1)}
AWAY = StartError("it is away.", ExitCode.UNREACHABLE)


class Keys(Keyboard):
    """Presses these, then q."""

    def __init__(self, *keys: str | None) -> None:
        super().__init__(-1)
        self.keys = [*keys, "q"]
        self.log: list[str] = []

    def __enter__(self) -> Keys:
        self.log.append("open")
        return self

    def close(self) -> None:
        self.log.append("close")

    def key(self, seconds: float, wait: Any = None) -> str | None:
        assert seconds <= module.TURN_S
        return self.keys.pop(0)


class Screen:
    """Where rich would draw: what was shown."""

    def __init__(self, *args: object, **more: object) -> None:
        assert more["screen"] is True
        self.drawn: list[tuple[str, str, str, bool]] = []
        screens.append(self)

    def __enter__(self) -> Screen:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        self.on = True

    def stop(self) -> None:
        self.on = False

    def update(self, view: Any, *, refresh: bool) -> None:
        assert self.on
        assert refresh
        self.drawn.append((view.trouble, view.view, view.column, view.rising))


screens: list[Screen] = []


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    screens.clear()
    monkeypatch.setattr("rich.live.Live", Screen)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[StartError | None]:
    """How each reading ends, in turn; None, and all that follow: well."""
    planned: list[StartError | None] = []

    def read(link: object, view: str) -> Reading:
        why = planned.pop(0) if planned else None
        if why is not None:
            raise why
        return Reading(PROXY, view=view)

    monkeypatch.setattr(module, "read", read)
    return planned


def watch() -> Watch:
    link: Any = None
    return Watch(link, "redis://h:1", 3600.0, Console(file=io.StringIO(), width=80))


def last() -> tuple[str, str, str, bool]:
    return screens[0].drawn[-1]


@pytest.mark.usefixtures("answers")
def test_keys_choose_what_is_shown_and_how_it_is_sorted() -> None:
    live = watch()

    assert live.live(Keys("s", "s", "r", "\t", "x", None)) == ExitCode.ALL_DONE

    shown = [drawn[1:] for drawn in screens[0].drawn]
    assert shown[:4] == [
        ("hotkeys", "reads", False),
        ("hotkeys", "found", False),
        ("hotkeys", "misses", False),
        ("hotkeys", "misses", True),
    ]
    assert shown[-1] == ("prefixes", "misses", True)
    assert live.view.reading is not None
    assert live.view.reading.view == "prefixes"  # asked at once, not at the next turn
    assert not screens[0].on


@pytest.mark.usefixtures("answers")
def test_sorting_by_another_column_begins_with_the_most() -> None:
    live = watch()
    live.view.rising = True

    assert live.press("s") is False
    assert (live.view.column, live.view.rising) == ("found", False)


def test_a_proxy_that_is_away_is_asked_again(answers: list[StartError | None]) -> None:
    answers[:] = [AWAY, None]
    live = watch()

    live.live(Keys("\t"))

    assert screens[0].drawn[0][0] == "it is away."
    assert last()[0] == ""
    assert repr(live) == "<Watch redis://h:1 well>"


@pytest.mark.usefixtures("answers")
def test_the_terminal_is_given_back_while_it_is_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = Keys(SUSPEND)

    def killed(group: int, number: signal.Signals) -> None:
        assert (group, number) == (0, signal.SIGTSTP)
        assert not screens[0].on
        keys.log.append("suspended")

    monkeypatch.setattr(os, "killpg", killed)

    watch().live(keys)

    assert keys.log == ["open", "close", "suspended", "open", "close"]


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("key", ["Q", ENDED])
def test_it_ends_by_a_large_q_too_and_with_its_terminal(key: str) -> None:
    assert watch().live(Keys(key)) == ExitCode.ALL_DONE


def test_one_frame_is_of_two_readings(
    answers: list[StartError | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    live = watch()
    shown: list[object] = []
    monkeypatch.setattr(live._console, "print", shown.append)

    assert live.once() == ExitCode.ALL_DONE
    assert waited == [3600.0]
    assert shown == [live.view]
    assert not live.view.help

    answers[:] = [AWAY]
    assert live.once() == ExitCode.UNREACHABLE


# --- The words --------------------------------------------------------------------------------


def run(words: Sequence[str]) -> int:
    return main_module.main(["top", *words])


def test_the_words_are_a_url_and_few_flags() -> None:
    found = parser().parse_args(["redis://:p@h", "--interval", "500ms", "--once"])

    assert vars(found) == {"url": "redis://:p@h", "interval": 0.5, "once": True}
    assert parser().parse_args([]).url == "redis://127.0.0.1:6380"


@pytest.mark.parametrize("words", [["http://h"], ["--interval", "1ms"], ["a", "b"]])
def test_other_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(words)

    assert ended.value.code == ExitCode.BAD_SETTINGS


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)

    assert run(["--once"]) == ExitCode.BAD_SETTINGS
    assert capsys.readouterr().err == f"nearhit: {MISSING}\n"
    assert importlib.util.find_spec("rich") is not None


def test_without_a_terminal_it_says_what_goes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == ExitCode.BAD_SETTINGS
    assert capsys.readouterr().err == f"nearhit: {NO_TERMINAL}\n"


@pytest.mark.parametrize("why", ["", "KeyboardInterrupt"])
def test_it_ends_well_also_by_a_signal(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def once(watch: Watch) -> int:
        if why:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        return ExitCode.ALL_DONE

    monkeypatch.setattr(Watch, "once", once)
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        assert run(["--once", "redis://127.0.0.1:1"]) == ExitCode.ALL_DONE
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert len(came) == (0 if why else 1)


def test_a_second_signal_cuts_nothing_short() -> None:
    once = module._Once()

    with pytest.raises(KeyboardInterrupt):
        once(signal.SIGINT)
    once(signal.SIGINT)
