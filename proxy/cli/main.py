"""The command ``nearhit``: reads the settings, then serves, or says what the settings come to.

Owns the order of starting and stopping (sockets first, so that a port in use is found at once; then
an upstream of our own, if none is named; then the server) and the ready line. Decides nothing about
clients: that is process/server.py. The help is made from the rows of settings/config.py. ``warm``
and ``invalidate`` are in bulk.py, ``top`` is in top.py."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import math
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from .. import log
from ..errors import ExitCode, StartError
from ..log import event
from ..process.embedded import Embedded, find_server
from ..process.embedded_cluster import EmbeddedCluster
from ..process.listen import Doors, bound, opened
from ..process.notify import Notifier
from ..process.reload import Settings, checked_apart
from ..process.signals import OTHERS, STOP, heard, tell_ignored
from ..process.workers import Ready, Workers
from ..resp.kernel import BUILD, COMPILED
from ..settings.address import Listen, Unix
from ..settings.config import ROWS, VERSION, Config, ConfigError, flag, load, variable
from ..settings.rows import OWN, as_text, suggestion
from ..stats.shared import Board, Place
from .check import NO_UPSTREAM
from .terminal import Parser, complain, exit_codes, say

logger = logging.getLogger(__name__)

# Serves until it is stopped: the upstream's URL, the sockets, whom to tell, where to count.
Serve = Callable[[str, Doors[socket.socket], Ready, Place | None], int]

COMMANDS: Mapping[str, str] = {
    "serve": "run the proxy (what it does without a command)",
    "check": "print the settings in force and where each comes from, or every mistake; what\n"
    "              --upstream URL is for a proxy; with --connect, whether all servers answer",
    "health": "whether the proxy of these settings is well, and its server: exit code 0, or 1",
    "top": "watch a proxy that runs: rates, latencies, hot keys, servers: nearhit top --help",
    "warm": "fill keys before anybody asks for them: nearhit warm --help",
    "invalidate": "remove keys, and stop loads of them: nearhit invalidate --help",
    "completion": "a script by which a shell completes all this: nearhit completion bash",
    "help": "say this, or what is said of a command: nearhit help warm",
}

# What helps against plain Python, which answers a pipeline of 16 five times slower.
COMPILING = (
    "install a C compiler and Python's headers (gcc, python3-dev), "
    "then Nearhit again with BUILD_NEARHIT=compiled in pip's environment"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the value is the exit code. SystemExit: --help, --version, a wrong flag."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in ("warm", "invalidate"):
        # Imported here: it brings redis-py along, and rich: a third of a second.
        from .bulk import run

        return run(words[0], words[1:])
    if words and words[0] == "top":
        from .top import run as watch

        return watch(words[1:])
    if words and words[0] == "completion":
        from .completion import run as complete

        return complete(words[1:], COMMANDS, _add_flags)
    if words and words[0] == "help":
        return main([*words[1:2], "--help"])
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        complain(_no_command(words[0]))
        return ExitCode.BAD_SETTINGS
    command, connect, flags = _asked(words)
    mistaken = ExitCode.SOME_FAILED if command == "health" else ExitCode.BAD_SETTINGS

    def read() -> Config:
        return load(flags, os.environ, lambda path: Path(path).read_text("utf-8"))

    try:
        config = read()
    except ConfigError as error:
        complain(*error.mistakes)
        return mistaken
    if command == "check":
        return _check(config, connect=connect)
    if command == "health":
        return _health(config)
    log.start(config.log_level, config.log_format)
    try:
        code = _serve(Settings(config, read))
    except StartError as error:
        complain(str(error))
        code = error.exit_code
    if argv is None:
        _leave_threads(code)
    return code


def _check(config: Config, *, connect: bool) -> int:
    # Imported here: serving meets the same mistakes on its own way.
    from .check import found_by, mistakes_in

    mistakes = mistakes_in(config)
    complain(*mistakes)
    if mistakes:
        return ExitCode.BAD_SETTINGS
    whys: Sequence[str] = ()
    code = ExitCode.ALL_DONE
    # What the command line names is what is to be looked at; else the settings are.
    if connect:
        from .connect import dialled

        all_found = dialled(config)
        lines, whys, code = all_found.lines, all_found.whys, all_found.code
    elif config.url is not None and config.given["upstream"].place == flag("upstream"):
        from .look import look

        found = look(config, config.url)
        lines, code = [*found.lines], found.code
        whys = [f"--upstream: {found.why}"] if found.why else ()
    else:
        lines = [*found_by(config)]
    say(*config.describe(), *lines, f"build = {BUILD}".ljust(40) + f"  # nearhit {VERSION}")
    complain(*whys)
    return code


def _health(config: Config) -> int:
    from .health import health_of

    health = health_of(config)
    (say if health.well else complain)(health.told)
    return ExitCode.ALL_DONE if health.well else ExitCode.SOME_FAILED


# --- Serving ----------------------------------------------------------------------------------


def _serve(settings: Settings) -> int:
    config, notifier = settings.config, Notifier(os.environ)
    if config.forgot_upstream:
        raise StartError(NO_UPSTREAM, ExitCode.NO_SERVER)
    with contextlib.ExitStack() as stack:
        # Until the server takes the signals itself, they leave through every ``with`` all the same.
        stack.enter_context(heard(STOP, _leave))
        stack.enter_context(heard(OTHERS, tell_ignored))
        if config.workers > 1:
            return _serve_by_workers(settings, notifier, stack)
        doors = stack.enter_context(
            opened(_addresses(config), http_optional=_nobody_asked_for_http(config))
        )
        url, own = _upstream(config, stack)
        if own is not None:
            own.watch()
        ready = functools.partial(_say_ready, config, notifier, bound(doors))
        return _server(settings, notifier)(url, doors, ready, None)


def _serve_by_workers(settings: Settings, notifier: Notifier, stack: contextlib.ExitStack) -> int:
    config = settings.config

    def work(index: int, doors: Doors[socket.socket], ready: Ready) -> int:
        config = settings.config
        log.start(config.log_level, config.log_format, worker=index)
        return serve(url, doors, ready, board.place(index))

    board = Board(config.workers)
    workers = Workers(
        config.workers,
        _addresses(config),
        work=work,
        ready=functools.partial(_say_ready, config, notifier),
        drain_timeout=lambda: settings.config.drain_delay + settings.config.drain_timeout,
        reload=functools.partial(_reload, settings, notifier),
        stopping=notifier.stopping,
        http_optional=_nobody_asked_for_http(config),
    )
    stack.enter_context(workers)
    serve = _server(settings, Notifier({}))
    url, own = _upstream(config, stack)

    def tend(now: float) -> float:
        due = own.tend(now) if own is not None else None
        return min(notifier.beat(now), math.inf if due is None else due)

    return workers.run(tend)


def _reload(settings: Settings, notifier: Notifier) -> bool:
    """As the parent of workers, which read for themselves what is found to be right here; whether
    it was."""

    def take(config: Config) -> None:
        from .check import mistakes_in

        checked_apart(config, mistakes_in)
        logging.getLogger().setLevel(config.log_level.upper())

    notifier.reloading()
    taken = settings.again(take)
    notifier.ready()
    return taken


def _addresses(config: Config) -> Doors[Listen]:
    def moded(one: Listen) -> Listen:
        return replace(one, mode=config.unix_mode) if isinstance(one, Unix) else one

    plain = Doors(config.listen, config.http, config.tls_listen, config.tls_http)
    return plain.each(lambda group: tuple(map(moded, group)))


def _nobody_asked_for_http(config: Config) -> bool:
    """Whether HTTP is there by default only. Then clients are served also where another program has
    its port."""
    return config.given["http"].origin == "default"


def _upstream(
    config: Config, stack: contextlib.ExitStack
) -> tuple[str, Embedded | EmbeddedCluster | None]:
    """The upstream's URL, and the server behind it if it had to be ours."""
    if config.url is not None:
        return config.url, None
    if config.embedded_cluster is not None:
        cluster = stack.enter_context(EmbeddedCluster(find_server(), config.embedded_cluster))
        say(
            f"started a {cluster.version} (128 MB each, allkeys-lru), with a password, on 127.0.0.1"
        )
        return cluster.url, cluster
    own = stack.enter_context(Embedded(find_server()))
    say(
        f"{OWN if config.upstream else 'no upstream named'}: "
        f"started {own.version} (128 MB, allkeys-lru) on a private socket; "
        "--upstream URL uses yours"
    )
    return own.url, own


def _server(settings: Settings, notifier: Notifier) -> Serve:
    """The function that serves in this process. It is made before workers are forked, so that they
    find its modules loaded."""
    # Imported here: check, --version and every complaint do without an event loop and its 0.1 s.
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    import uvloop

    from ..process.serve import serve

    def run(upstream: str, doors: Doors[socket.socket], ready: Ready, place: Place | None) -> int:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                return runner.run(
                    serve(
                        settings,
                        upstream,
                        doors=doors,
                        ready=ready,
                        place=place,
                        notifier=notifier,
                    )
                )
            finally:
                # The one in use may still be resolving a name, and the runner would wait for it.
                runner.get_loop().set_default_executor(ThreadPoolExecutor(1))

    return run


def _leave(number: int) -> NoReturn:
    sys.exit(ExitCode.ALL_DONE)


def _leave_threads(code: int) -> None:
    """End the process where Python would wait for threads of others: one that resolves a name, say.
    Everything that is ours has ended before."""
    if any(not one.daemon for one in threading.enumerate() if one is not threading.main_thread()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# --- The terminal -----------------------------------------------------------------------------


def _say_ready(config: Config, notifier: Notifier, doors: Doors[Listen], version: str) -> None:
    here = ", ".join(
        [*(address.url for address in doors.clients), *(f"rediss://{one}" for one in doors.tls)]
    )
    http = "".join(
        [
            *(f", {address.http_url}" for address in doors.http),
            *(f", https://{one}" for one in doors.https),
        ]
    )
    if config.url is None:
        count = config.embedded_cluster
        there = (
            f"embedded {version}" if count is None else f"embedded cluster of {count} ({version})"
        )
    else:
        there = f"{log.redacted(config.url)} ({version})"
    near = f", near cache {config.near_cache / 2**20:.4g} MiB" if config.near_cache else ""
    line = f"ready: {here} -> {there}{near}, {BUILD}{http}"
    say(f"nearhit {VERSION} {line}")
    notifier.ready(line)
    if not COMPILED:
        event(logger, logging.WARNING, "not compiled", remedy=COMPILING)


def _no_command(word: str) -> str:
    known = ", ".join(COMMANDS)
    return (
        f"there is no command {log.redacted(word)}{suggestion(word, COMMANDS)}; the commands are "
        f"{known}; nearhit --help tells the flags"
    )


def _asked(words: Sequence[str]) -> tuple[str, bool, Mapping[str, str]]:
    """The command, whether ``check`` is to dial, and the settings given by flags, by name."""
    parser = _parser()
    given = vars(parser.parse_args(words))
    command, connect = str(given.pop("command")), given.pop("connect", False)
    if connect and command != "check":
        parser.error("--connect is for check")
    return command, connect, {name: as_text(value) for name, value in given.items()}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nearhit",
        usage="nearhit [serve | check | health] [flags]\n"
        "       nearhit warm | invalidate [flags] [key ...]\n"
        "       nearhit top [URL]\n"
        "       nearhit completion bash | zsh | fish",
        description="A transparent, coherent caching proxy for Redis and Valkey.\n\n"
        + "".join(f"  {name:<12}{about}\n" for name, about in COMMANDS.items())
        + "\n"
        "Flags beat the environment, which beats the file, which beats the defaults.",
        epilog=exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "check", "health"),
        default="serve",
        help=argparse.SUPPRESS,
    )
    _add_flags(parser)
    return parser


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version",
        action="version",
        version=f"nearhit {VERSION} ({BUILD})",
        help="Print the version.",
    )
    parser.add_argument(
        "--connect",
        action="store_true",
        help="With check: dial the upstream, lock servers and loaders' servers; exit code 0: all "
        "are well.",
    )
    for name, about in ROWS.items():
        variables = " or ".join(filter(None, (variable(name), about.env, about.port_env)))
        parser.add_argument(
            flag(name),
            dest=name,
            action="append" if about.kind.many else "store",
            metavar=about.kind.metavar,
            help=f"{about.meaning} Default: {about.default or about.unset}. Variable: {variables}.",
        )
