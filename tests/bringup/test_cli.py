"""The `mvista` command: what it finds, what it prints and what it returns."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mvista_bringup import cli
from mvista_core.errors import InstructionError

LAUNCHER = Path(sys.prefix) / "bin" / "mvista"


def install_command(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """Add `mvista probe walk --pace N` to the table, with `run` as its body."""
    module = ModuleType("mvista_bringup.commands.probe")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--pace", type=int, default=1)

    module.add_arguments = add_arguments  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    command = cli.Command(("probe", "walk"), "probe", "walk about")
    monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, command))


def test_a_command_gets_its_arguments_and_its_exit_code_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_command(monkeypatch, lambda args: args.pace)
    assert cli.main(["probe", "walk", "--pace", "7"]) == 7


def test_an_error_of_the_stack_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(args: argparse.Namespace) -> int:
        raise InstructionError.unknown("dance", ["open the drawer"])

    install_command(monkeypatch, refuse)
    assert cli.main(["probe", "walk"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        'mvista: unknown instruction "dance"; this checkpoint knows: "open the drawer"\n'
    )


def test_control_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    install_command(monkeypatch, interrupt)
    assert cli.main(["probe", "walk"]) == 130


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: argparse.Namespace) -> int:
        return 1 // 0

    install_command(monkeypatch, fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe", "walk"])


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(" ".join(("mvista", *command.words)) in text for command in cli.COMMANDS)


@pytest.mark.parametrize("words", [["dance"], ["eval", "dance"], ["eval"], []])
def test_an_unknown_or_incomplete_command_lists_what_there_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert "mvista eval success" in printed.out + printed.err


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: "-".join(command.words))
def test_every_command_has_arguments_and_a_body(command: cli.Command) -> None:
    module = importlib.import_module(f"mvista_bringup.commands.{command.module}")
    module.add_arguments(argparse.ArgumentParser())
    assert callable(module.run)


@pytest.mark.skipif(not LAUNCHER.is_file(), reason="not a `make setup` environment")
def test_the_launcher_works_from_anywhere_with_nothing_sourced(tmp_path: Path) -> None:
    ros = ("AMENT", "CMAKE", "COLCON", "LD_LIBRARY", "PYTHON", "ROS_DISTRO", "_ROS", "VIRTUAL_ENV")
    bare = {key: value for key, value in os.environ.items() if not key.startswith(ros)}
    result = subprocess.run(
        [str(LAUNCHER), "--help"], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "mvista demo" in result.stdout
