"""The settings in force, and how they are read again while we serve (SIGHUP).

    flags, environment, file ─▶ again ─▶ Changed: what is in force from now on, what needs a restart
                                  └─ a mistake: nothing has changed, and the log says why

Owns which settings can change. What a change means for the parts is server.py's; in a parent of
workers (workers.py) each worker reads for itself, once the parent has found nothing wrong."""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..errors import ExitCode, StartError, one_line
from ..log import event
from ..near.cache import VALUE_MAX, NearCache
from ..near.duel import CALM_SHARE
from ..settings.config import ROWS, Config, ConfigError

log = logging.getLogger(__name__)

# What a serving process can take; of the loaders' tables, all.
LIVE: Final = frozenset(
    {
        "client_output_buffer",
        "drain_delay",
        "drain_timeout",
        "hold_writes_on_failover",
        "log_level",
        "max_clients",
        "max_multi",
        "max_subscriptions",
        "max_waiters",
        "maxmemory_clients",
        "near_cache",
        "near_ttl",
        "slowlog",
        "timeout",
        "stale_if_down",
    }
)
LOADERS: Final = "loaders"
CHECK_S: Final = 10.0  # seconds for a process to find what is wrong

Mistakes = Callable[[Config], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Changed:
    """``config`` is in force from now on; names of settings, in the order of their rows."""

    config: Config
    taken: tuple[str, ...]
    restart: tuple[str, ...]  # those that another process would have


def difference(old: Config, new: Config) -> Changed:
    """What of the new settings a process can take that was started with the old ones."""
    names = [name for name in ROWS if getattr(old, name) != getattr(new, name)]
    taken = [name for name in names if name in LIVE and not _switches(name, old, new)]
    config = replace(old, **{name: getattr(new, name) for name in taken})
    restart = tuple(name for name in names if name not in taken)
    if old.loaders != new.loaders:
        config = replace(config, loaders=new.loaders)
        taken.append(LOADERS)
    return Changed(config, tuple(taken), restart)


def _switches(name: str, old: Config, new: Config) -> bool:
    """Whether there would be a near cache where there is none, or the other way round."""
    return name == "near_cache" and not (old.near_cache and new.near_cache)


class Settings:
    """``read`` gives the settings anew, or ConfigError; ``found`` finds what is wrong with them
    beyond their text."""

    def __init__(self, config: Config, read: Callable[[], Config] | None = None) -> None:
        self.config = config
        self._read = read or (lambda: config)

    def __repr__(self) -> str:
        return f"<Settings {len(self.config.loaders)} loaders>"

    def again(
        self, take: Callable[[Config], None], renew: Callable[[], None] = lambda: None
    ) -> bool:
        """Read them again and have them taken; whether they are in force. ``renew`` reads anew the
        files that they name. Both raise StartError where that cannot be, and have changed nothing
        then."""
        try:
            changed = difference(self.config, self._read())
            renew()
            if changed.taken:
                take(changed.config)
        except (ConfigError, StartError) as error:
            mistakes = error.mistakes if isinstance(error, ConfigError) else [str(error)]
            for mistake in mistakes:
                event(log, logging.ERROR, "settings not reloaded", error=mistake)
            return False
        self.config = changed.config
        fields = {"changed": ",".join(changed.taken) or "nothing"}
        if changed.restart:
            fields["restart"] = ",".join(changed.restart)
        event(log, logging.INFO, "settings reloaded", **fields)
        return True


def resize(near: NearCache, budget: int, ttl_max: float) -> None:
    """Give the near cache so many bytes, and its entries so many seconds, from now on. What is more
    than the bytes goes, and all else with it: it comes back as it is read."""
    near.ttl_max = ttl_max
    if budget != near.budget:
        near.budget, near.value_max = budget, min(budget // 64, VALUE_MAX)
        near.small_max = budget * CALM_SHARE // 100
        if near.used > budget:
            near.flush("flushed")


def checked_apart(config: Config, mistakes: Mistakes) -> None:
    """StartError where the settings have mistakes, which are looked for in a process of its own:
    what a loader's module does as it is imported is not the parent's to have done."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            text = "; ".join(map(one_line, mistakes(config)))
            os.write(write, text.encode()[:4000])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        if not select.select([pipe], [], [], CHECK_S)[0]:
            os.kill(pid, signal.SIGKILL)
        text = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    if text or status:
        why = text or f"a loader's module was not imported in {CHECK_S:g} s, or ended the process"
        raise StartError(why, ExitCode.BAD_SETTINGS)
