"""Files of TLS that change: read once they are at rest, or at once where that is asked for."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.upstream.tls_files import TlsFiles, renew


class Pair(TlsFiles):
    """Two files, which can be used where they say the same."""

    def __init__(self, folder: Path) -> None:
        self.one, self.other = folder / "one", folder / "other"
        self.write("1", "1")
        super().__init__([str(self.one), None, str(self.other)], self.make, ("new", "unusable"))

    def write(self, one: str, other: str | None = None) -> None:
        self.one.write_text(one)
        if other is not None:
            self.other.write_text(other)

    def make(self) -> ssl.SSLContext:
        try:
            fits = self.one.read_text() == self.other.read_text()
        except OSError:
            fits = False
        if not fits:
            raise StartError("they do not fit", ExitCode.BAD_SETTINGS)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def pair(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Pair:
    caplog.set_level(logging.INFO)
    return Pair(tmp_path)


def test_they_are_named(pair: Pair) -> None:
    assert repr(pair) == f"<TlsFiles {pair.one} {pair.other}>"


def test_what_has_not_changed_is_not_read(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    first = pair.context

    for _ in range(3):
        pair.look()

    assert pair.context is first
    assert caplog.records == []


def test_new_ones_are_read_once_they_are_at_rest(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    first = pair.context
    pair.write("new")
    pair.look()
    pair.write("new", "new")
    pair.look()
    assert pair.context is first

    pair.look()

    assert pair.context is not first
    assert [one.getMessage() for one in caplog.records] == ["new"]


def test_those_that_cannot_be_used_change_nothing_and_are_told_of_once(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    first = pair.context
    pair.one.unlink()
    for _ in range(5):
        pair.look()
    assert pair.context is first
    assert [one.getMessage() for one in caplog.records] == ["unusable"]

    pair.write("new", "new")
    pair.look()
    pair.look()

    assert pair.context is not first


def test_all_are_read_at_once_or_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pairs = [Pair(tmp_path / "a"), Pair(tmp_path / "b")]
    first = [one.context for one in pairs]
    pairs[0].write("new", "new")
    pairs[1].write("new")

    with pytest.raises(StartError, match="they do not fit"):
        renew(pairs)
    assert [one.context for one in pairs] == first
    assert caplog.records == []

    pairs[1].write("newer", "newer")
    renew(pairs)
    assert all(one.context is not old for one, old in zip(pairs, first, strict=True))
    for one in pairs:
        one.look()
    assert [one.getMessage() for one in caplog.records] == ["new", "new"]
