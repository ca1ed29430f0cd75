"""``nearhit completion``: what shells are told of the words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from argparse import ArgumentParser
from types import SimpleNamespace

import pytest
from nearhit.proxy.cli.completion import MISSING, SHELLS
from nearhit.proxy.cli.main import COMMANDS, main
from nearhit.proxy.errors import ExitCode
from nearhit.proxy.settings.config import ROWS, flag


def test_every_command_and_flag_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[ArgumentParser, str]] = []

    def complete(parser: ArgumentParser, shell: str) -> str:
        told.append((parser, shell))
        return "the script"

    monkeypatch.setitem(
        sys.modules, "shtab", SimpleNamespace(FILE={"bash": "f"}, complete=complete)
    )

    assert main(["completion", "zsh"]) == ExitCode.ALL_DONE

    assert capsys.readouterr().out == "the script\n"
    ((parser, shell),) = told
    assert shell == "zsh"
    (subs,) = (one for one in parser._actions if one.choices)
    parsers = dict(subs.choices or {})
    assert list(parsers) == list(COMMANDS)
    flags = {name: one._option_string_actions for name, one in parsers.items()}
    assert {*map(flag, ROWS)} <= flags["serve"].keys() & flags["check"].keys()
    assert {"--tag", "--dry-run"} <= flags["invalidate"].keys()
    assert vars(flags["warm"]["--from"])["complete"] == {"bash": "f"}


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)

    assert main(["completion", "bash"]) == ExitCode.BAD_SETTINGS
    assert capsys.readouterr().err == f"nearhit: {MISSING}\n"


def test_another_shell_is_told_with_those_that_are_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "ksh"])

    assert ended.value.code == ExitCode.BAD_SETTINGS
    assert "fish" in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_written_that_the_shell_reads(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab", reason="the extra cli is not installed")

    assert main(["completion", shell]) == ExitCode.ALL_DONE

    script = capsys.readouterr().out
    assert "invalidate" in script
    assert "near-cache" in script
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="the extra cli is not installed")
    main(["completion", "bash"])
    ask = (
        "\nCOMP_WORDS=(nearhit invalidate --dry); COMP_CWORD=2; COMP_LINE=x"
        "\n_shtab_nearhit; printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )

    done = subprocess.run(
        ["bash", "-c", capsys.readouterr().out + ask], capture_output=True, text=True
    )

    assert done.stdout.split() == ["--dry-run"]
