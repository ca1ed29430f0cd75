"""``nearhit top``: a proxy that runs, watched at the terminal.

    each interval: read ─▶ History ─▶ frame        keys: Tab, s, r ─▶ frame    q, Ctrl-C ─▶ the end

Owns the loop, the keys and the screen, which it puts back whatever ends it. Where the proxy is
away, or does not let this user see it, the frame says so, and it is asked again. Remembers five
minutes of sums and the last reading. top_reading.py asks, top_frame.py draws. Needs rich (extra
``cli``); main.py calls ``run``."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from ..errors import ExitCode, StartError
from ..log import redacted
from ..process.signals import heard
from ..settings.config import VERSION
from ..settings.rows import UPSTREAM, duration
from ..stats.history import SUMS, Sample
from .bulk_words import DEFAULT
from .keyboard import ENDED, SUSPEND, Keyboard
from .reach import Link
from .terminal import Parser, complain, exit_codes, parsed
from .top_reading import read

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from .top_frame import View

MISSING: Final = "top wants rich: pip install 'nearhit[cli]'"
NO_TERMINAL: Final = "top wants a terminal; nearhit top --once prints one frame"
PATIENCE_S: Final = 2.0  # for an answer
TURN_S: Final = 0.25  # between two looks at the size of the terminal
_CODES: Final = (
    ExitCode.ALL_DONE,
    ExitCode.BAD_SETTINGS,
    ExitCode.REFUSED,
    ExitCode.UNREACHABLE,
)
_HELP: Final = """\
keys:
  Tab   hot keys, prefixes, big keys
  s     sort them by the next column       r   the other way round
  q     quit, as does Ctrl-C

examples:
  nearhit top                                         the proxy on this machine
  nearhit top redis://ann:secret@10.0.0.7:6380/2      as this user, the keys of this database
  COLUMNS=120 nearhit top --once                      one frame, for scripts
"""


def parser() -> Parser:
    """The parser of the words behind ``top``."""
    words = Parser(
        prog="nearhit top",
        description="Watch a Nearhit: rates, latencies, servers, jobs, hot keys.",
        epilog=f"{_HELP}\n{exit_codes(*_CODES)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    words.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        type=parsed(UPSTREAM),
        default=DEFAULT,
        help=f"The Nearhit. Default: {DEFAULT}.",
    )
    words.add_argument(
        "--interval",
        metavar="TIME",
        type=parsed(duration("100ms", "1h")),
        default=1.0,
        help="Time from one reading to the next. Default: 1s.",
    )
    words.add_argument(
        "--once",
        action="store_true",
        help="Print one frame, after one interval, and exit.",
    )
    words.add_argument("--version", action="version", version=f"nearhit {VERSION}")
    return words


def run(words: Sequence[str]) -> int:
    """Watch the proxy that the words name; the value is the exit code."""
    options = parser().parse_args(words)
    if find_spec("rich") is None:
        complain(MISSING)
        return ExitCode.BAD_SETTINGS
    if not options.once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        complain(NO_TERMINAL)
        return ExitCode.BAD_SETTINGS
    from rich.console import Console

    out: object = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="replace")  # names of keys are whatever they are
    link = Link(options.url, redacted(options.url), PATIENCE_S)
    with heard((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), _Once()):
        try:
            watch = Watch(link, redacted(options.url), options.interval, Console(highlight=False))
            return watch.once() if options.once else watch.live(Keyboard(sys.stdin.fileno()))
        except KeyboardInterrupt:
            return ExitCode.ALL_DONE
        finally:
            link.close()


class _Once:
    """Ends it, and lets nothing cut short what follows."""

    def __init__(self) -> None:
        self._came = False

    def __call__(self, number: int) -> None:
        if not self._came:
            self._came = True
            raise KeyboardInterrupt


class Watch:
    def __init__(self, link: Link, name: str, interval: float, console: Console) -> None:
        from .top_frame import View

        self._link = link
        self._interval = interval
        self._console = console
        self.view: View = View(name)

    def __repr__(self) -> str:
        return f"<Watch {self.view.name} {self.view.trouble or 'well'}>"

    # --- One frame ----------------------------------------------------------------------------

    def once(self) -> int:
        """Rates are of one interval."""
        self.view.help = False
        try:
            self._read()
            time.sleep(self._interval)
            self._read()
        except StartError as error:
            complain(str(error))
            return error.exit_code
        self._console.print(self.view)
        return ExitCode.ALL_DONE

    def _read(self) -> None:
        view = self.view
        view.reading = reading = read(self._link, view.view)
        view.now = time.monotonic()
        view.read_at = time.strftime("%H:%M:%S")
        stats = reading.proxy["stats"]
        view.history.take(Sample(view.now, {name: float(stats[name]) for name in SUMS}, {}))

    # --- For as long as one likes -------------------------------------------------------------

    def live(self, keyboard: Keyboard) -> int:
        """Until q, or a signal."""
        from rich.live import Live

        with (
            keyboard,
            Live(
                self.view,
                console=self._console,
                screen=True,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
            ) as screen,
        ):
            due = 0.0
            size = self._console.size
            while True:
                now = time.monotonic()
                again = now >= due
                if again:
                    self._look()
                    due = now + self._interval
                if again or size != self._console.size:
                    size = self._console.size
                    self._draw(screen)
                key = keyboard.key(min(TURN_S, due - time.monotonic()))
                if key in ("q", "Q", ENDED):
                    return ExitCode.ALL_DONE
                if key == SUSPEND:
                    self._suspend(keyboard, screen)
                elif key is not None and self.press(key):
                    due = 0.0
                if key is not None:
                    self._draw(screen)

    def _look(self) -> None:
        try:
            self._read()
        except StartError as error:
            self.view.trouble = f"{str(error).rstrip('.')}."
        else:
            self.view.trouble = ""

    def _draw(self, screen: Live) -> None:
        self.view.height = self._console.height
        screen.update(self.view, refresh=True)

    def _suspend(self, keyboard: Keyboard, screen: Live) -> None:
        """As Ctrl-Z does elsewhere, with the terminal as it was meanwhile."""
        screen.stop()
        keyboard.close()
        os.killpg(0, signal.SIGTSTP)
        keyboard.__enter__()
        screen.start()

    def press(self, key: str) -> bool:
        """Take a key; whether the proxy has to be asked for it."""
        from .top_frame import COLUMNS, VIEWS

        view = self.view
        if key == "\t":
            view.view = _next(list(VIEWS), view.view)
            return True
        if key == "s":
            view.column, view.rising = _next(list(COLUMNS), view.column), False
        elif key == "r":
            view.rising = not view.rising
        return False


def _next(names: Sequence[str], name: str) -> str:
    return names[(names.index(name) + 1) % len(names)]
