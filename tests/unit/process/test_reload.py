"""Settings that are read again: which are in force, and what a mistake does."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field

import pytest
from nearhit.proxy.errors import StartError
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.process import reload as module
from nearhit.proxy.process.reload import Settings, checked_apart, difference, resize
from nearhit.proxy.settings.config import Config, ConfigError, load

LOADER = '[loaders.users]\nmatch = "user:{id}"\nredis = "redis://127.0.0.1:1"\n'


def settings(file: str = "", **given: str) -> Config:
    return load({"config": "nearhit.toml", **given}, {}, lambda path: file)


@dataclass
class File:
    """Settings in a file that changes; what was taken of them."""

    text: str = ""
    taken: list[Config] = field(default_factory=list)

    def read(self) -> Config:
        return settings(self.text)

    def settings(self) -> Settings:
        return Settings(self.read(), self.read)


def test_what_can_change_is_taken_and_the_rest_is_named() -> None:
    old, new = settings(), settings('max_clients = 7\nworkers = 3\nlog_level = "debug"\n' + LOADER)

    changed = difference(old, new)

    assert changed.taken == ("log_level", "max_clients", "loaders")
    assert changed.restart == ("workers",)
    assert (changed.config.max_clients, changed.config.workers) == (7, 1)
    assert changed.config.loaders == new.loaders


@pytest.mark.parametrize(("old", "new"), [("off", "64mb"), ("64mb", "off")])
def test_a_near_cache_comes_and_goes_with_a_restart_alone(old: str, new: str) -> None:
    changed = difference(settings(near_cache=old), settings(near_cache=new))

    assert (changed.taken, changed.restart) == ((), ("near_cache",))


def test_files_that_cannot_be_used_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def renew() -> None:
        raise StartError("tls_cert: cannot use c.pem", 2)

    file = File()
    held = file.settings()
    file.text = "max_clients = 7\n"

    assert not held.again(file.taken.append, renew)
    assert file.taken == []
    assert "settings not reloaded" in caplog.text
    assert held.again(file.taken.append)


def test_the_same_settings_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = File(LOADER)
    held = file.settings()

    assert held.again(file.taken.append)

    assert file.taken == []
    assert "settings reloaded" in caplog.text


def test_what_is_read_again_is_in_force_and_stays_the_measure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = File()
    held = file.settings()
    file.text = "max_clients = 7\nworkers = 2\n"

    assert held.again(file.taken.append)
    assert [config.max_clients for config in file.taken] == [7]
    file.text = ""
    assert held.again(file.taken.append)

    assert held.config.max_clients == file.taken[1].max_clients == 10000


@pytest.mark.parametrize("text", ["max_clients = many\n", "max_clients = 0\n", "no_such = 1\n"])
def test_a_mistake_in_the_file_changes_nothing(text: str, caplog: pytest.LogCaptureFixture) -> None:
    file = File()
    held = file.settings()
    before, file.text = held.config, "drain_timeout = '1s'\n" + text

    assert not held.again(file.taken.append)

    assert held.config is before
    assert file.taken == []
    assert "settings not reloaded" in caplog.text


def test_what_cannot_be_taken_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    file = File()
    held = file.settings()
    before, file.text = held.config, LOADER

    def take(config: Config) -> None:
        raise StartError("the loader has no function", 2)

    assert not held.again(take)

    assert held.config is before
    assert "settings not reloaded" in caplog.text


def test_without_a_source_there_is_nothing_new() -> None:
    held = Settings(settings())

    assert held.again(pytest.fail)


def test_a_file_that_cannot_be_read_is_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    def read() -> Config:
        raise ConfigError(["nearhit.toml: no such file", "another"])

    assert not Settings(settings(), read).again(pytest.fail)
    assert len(caplog.records) == 2


# --- Apart ------------------------------------------------------------------------------------


def test_mistakes_are_looked_for_in_another_process() -> None:
    here = os.getpid()

    def mistakes(config: Config) -> list[str]:
        assert os.getpid() != here
        return ["one\nline", "two"]

    with pytest.raises(StartError, match=r"^one line; two$"):
        checked_apart(settings(), mistakes)
    checked_apart(settings(), lambda config: [])


def test_who_looks_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_S", 0.05)

    def hangs(config: Config) -> list[str]:
        import time

        time.sleep(60)
        return []

    with pytest.raises(StartError, match=r"was not imported in 0\.05 s"):
        checked_apart(settings(), hangs)


# --- The near cache ---------------------------------------------------------------------------


def filled(budget: int) -> NearCache:
    near = NearCache(budget)
    space = near.space(0, None)
    for number in range(100):
        ticket = space.reserve(b"key:%d" % number)
        assert ticket is not None
        space.fill(ticket, b"$1000\r\n%b\r\n" % bytes(1000), -1, 0.0)
    return near


def test_a_larger_near_cache_keeps_what_it_has() -> None:
    near = filled(1 << 20)
    held = near.entries

    resize(near, 1 << 22, 7.0)

    assert (near.budget, near.value_max, near.ttl_max) == (1 << 22, 1 << 16, 7.0)
    assert near.entries == held


def test_a_smaller_one_never_has_more_than_it_may() -> None:
    near = filled(1 << 20)

    resize(near, 1 << 16, 60.0)

    assert near.used <= 1 << 16
    assert near.space(0, None).reserve(b"again") is not None
