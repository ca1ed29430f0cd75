"""Keys of a pseudo-terminal, and how it reads before and after."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Iterator

import pytest
from nearhit.proxy.cli.keyboard import ENDED, SUSPEND, Keyboard

LONG = 10.0  # seconds; nobody waits for them


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Who types, and the terminal."""
    master, slave = pty.openpty()
    yield master, slave
    for fd in (master, slave):
        os.close(fd)


def test_keys_come_one_by_one_and_an_arrow_is_one(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    with Keyboard(slave) as keyboard:
        assert keyboard.key(0.0) is None

        os.write(master, b"sr")
        assert [keyboard.key(LONG), keyboard.key(LONG)] == ["s", "r"]
        os.write(master, b"\x1b[A")
        assert keyboard.key(LONG) == "\x1b[A"
        os.write(master, b"\x1a")
        assert keyboard.key(LONG) == SUSPEND
        assert keyboard.key(-1.0) is None


def test_the_terminal_reads_at_the_end_as_before(terminal: tuple[int, int]) -> None:
    _, slave = terminal
    before = termios.tcgetattr(slave)

    with Keyboard(slave) as keyboard:
        assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON)
        assert termios.tcgetattr(slave)[3] & termios.ISIG
        assert repr(keyboard) == "<Keyboard open>"

    assert termios.tcgetattr(slave) == before
    assert repr(keyboard) == "<Keyboard closed>"
    keyboard.close()


def test_where_it_cannot_be_set_it_reads_as_before(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, slave = terminal
    before = termios.tcgetattr(slave)
    set_cbreak = "nearhit.proxy.cli.keyboard.tty.setcbreak"

    def broken(fd: int, when: int) -> None:
        termios.tcsetattr(fd, when, [*before[:3], before[3] & ~termios.ECHO, *before[4:]])
        raise KeyboardInterrupt

    monkeypatch.setattr(set_cbreak, broken)
    with pytest.raises(KeyboardInterrupt), Keyboard(slave):
        pass

    assert termios.tcgetattr(slave) == before


def test_a_terminal_that_hangs_up_has_ended(terminal: tuple[int, int]) -> None:
    reader, writer = os.pipe()
    os.close(writer)
    keyboard = Keyboard(reader)
    assert keyboard.key(LONG) == ENDED

    os.close(reader)
    assert keyboard.key(LONG, wait=lambda *args: ([reader], [], [])) == ENDED
