"""The way to a proxy: what an answer, an error and no answer are called; and a proxy of our own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nearhit.proxy.cli import reach
from nearhit.proxy.cli.reach import Link, Refused, linked, own_proxy
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.process.embedded import Embedded, find_server

from tests.servers import HOST, free_port, upstream


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    with Embedded(find_server()) as started:
        yield started


@pytest.fixture
def link(server: Embedded) -> Iterator[Link]:
    with linked(server.url, "the proxy") as link:
        yield link


def answer(link: Link, line: str) -> object:
    """Ask for an error of these words."""
    return link.ask(b"EVAL", b"return redis.error_reply(ARGV[1])", b"0", line.encode())


def test_an_answer_is_a_value(link: Link) -> None:
    assert link.ask(b"SET", b"k", b"v") in (b"OK", True)
    assert link.ask(b"GET", b"k") == b"v"
    assert repr(link) == "<Link the proxy>"


def test_all_keys_that_match_are_found_however_many_pages_they_fill(link: Link) -> None:
    for number in range(2500):
        link.ask(b"SET", b"many:%d" % number, b"")

    found = list(link.scan(b"many:*"))

    assert sorted(set(found)) == sorted(b"many:%d" % number for number in range(2500))


def test_many_are_asked_in_one_piece_and_the_first_error_is_raised(link: Link) -> None:
    link.ask(b"SET", b"k", b"v")
    assert link.many([(b"EXISTS", b"k"), (b"EXISTS", b"gone")]) == [1, 0]

    with pytest.raises(Refused, match="WRONGTYPE "):
        link.many([(b"EXISTS", b"k"), (b"LPOP", b"k")])
    assert link.ask(b"GET", b"k") == b"v"


def test_a_refusal_leaves_the_link_as_good_as_before(link: Link) -> None:
    with pytest.raises(Refused, match="no loader is called 'x'"):
        answer(link, "ERR no loader is called 'x'")

    assert link.ask(b"PING") in (b"PONG", True)


def test_a_refusal_ends_what_must_not_fail(link: Link) -> None:
    with pytest.raises(StartError, match="the proxy: ") as caught:
        link.must(b"HSET", b"k")

    assert caught.value.exit_code is ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("line", "code", "why"),
    [
        ("NOAUTH Authentication required.", ExitCode.REFUSED, "the proxy refused us: "),
        ("UPSTREAM it is gone", ExitCode.UNREACHABLE, "the proxy: UPSTREAM it is gone"),
        ("ERR unknown command 'WARM'", ExitCode.UNREACHABLE, "the proxy is no Nearhit: "),
    ],
)
def test_an_error_that_any_request_would_get_ends_the_work(
    link: Link, line: str, code: ExitCode, why: str
) -> None:
    with pytest.raises(StartError) as caught:
        answer(link, line)

    assert caught.value.exit_code is code
    assert str(caught.value).startswith(why)


def test_nobody_there_is_told_without_the_password() -> None:
    url = f"redis://:secret@{HOST}:{free_port()}"

    with pytest.raises(StartError) as caught, linked(url):
        pass

    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert str(caught.value).startswith("redis://:***@")
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_a_refusal() -> None:
    with upstream("valkey", "--requirepass", "secret") as server:
        url = f"redis://:wrong@{HOST}:{server.port}"

        with pytest.raises(StartError, match="refused us: ") as caught, linked(url):
            pass

    assert caught.value.exit_code is ExitCode.REFUSED


# --- A proxy of our own -----------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NEARHIT_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("environment")
def test_a_proxy_of_our_own_serves_and_ends_with_the_block(server: Embedded) -> None:
    with own_proxy(server.url, None) as url, linked(url) as link:
        stats = link.ask(b"STATS")
        assert isinstance(stats, dict)
        assert b"loads" in stats

    assert not Path(url.removeprefix("unix://")).exists()


@pytest.mark.usefixtures("environment")
def test_mistakes_of_its_settings_are_told_as_ours(tmp_path: Path, server: Embedded) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("nonsense = 1\n")

    with (
        pytest.raises(StartError, match=r"bad.toml:1: nonsense") as caught,
        own_proxy(server.url, str(file)),
    ):
        pass

    assert caught.value.exit_code is ExitCode.BAD_SETTINGS


class FakeChild:
    """A child process by its poll and what it does about signals."""

    def __init__(self, status: int | None = None, deaf: bool = False) -> None:
        self.status = status
        self.deaf = deaf
        self.got: list[str] = []

    def poll(self) -> int | None:
        return self.status

    def terminate(self) -> None:
        self.got.append("terminate")

    def kill(self) -> None:
        self.got.append("kill")

    def wait(self, seconds: float | None = None) -> int:
        if self.deaf and "kill" not in self.got:
            raise subprocess.TimeoutExpired("nearhit", seconds or 0)
        return 0


def test_a_proxy_that_ends_for_reasons_of_its_own_is_unreachable(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("nearhit: it broke\nnearhit: for good\n")
    child: Any = FakeChild(status=1)

    with pytest.raises(StartError, match=r"^it broke; for good$") as caught:
        reach._wait_until_ready(child, log)

    assert caught.value.exit_code is ExitCode.UNREACHABLE


def test_a_proxy_that_does_not_get_ready_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "_START_TIMEOUT", 0.0)
    log = tmp_path / "log"
    log.touch()
    child: Any = FakeChild()

    with pytest.raises(StartError, match="did not start: it said nothing"):
        reach._wait_until_ready(child, log)


@pytest.mark.parametrize(("deaf", "got"), [(False, ["terminate"]), (True, ["terminate", "kill"])])
def test_a_proxy_that_does_not_end_is_killed(deaf: bool, got: list[str]) -> None:
    child: Any = FakeChild(deaf=deaf)

    reach._stop(child)

    assert child.got == got
