"""The `mvista` command: what it finds, what it prints and what it returns."""

from __future__ import annotations

import argparse
import contextlib
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
    command.add_arguments(argparse.ArgumentParser())
    module = importlib.import_module(f"mvista_bringup.commands.{command.module}")
    assert callable(module.run)
    assert hasattr(module, "add_arguments") is not command.heavy


def test_choices_that_are_repeated_to_spare_an_import_are_the_librarys() -> None:
    from mvista_bringup.arguments import bench_calibration as trials
    from mvista_bringup.arguments import calibrate, calibrate_simulate, dataset, plan
    from mvista_bringup.calibration_trials import PARTS
    from mvista_calibration.pipeline import METHODS
    from mvista_calibration_sim.board_cell import GRIPPER, TABLE
    from mvista_sim.dataset import FIRST_SEED
    from mvista_world.planner import INITIALISATIONS

    assert calibrate.METHODS == METHODS
    assert (calibrate_simulate.GRIPPER, calibrate_simulate.TABLE) == (GRIPPER, TABLE)
    assert trials.PARTS == PARTS
    assert plan.INITIALISATIONS == INITIALISATIONS
    assert dataset.FIRST_SEED == FIRST_SEED


HELP_CPU_S = 4.0
"""Ten times what it takes here; importing the networks takes ten seconds."""
HEAVY = ("torch", "mujoco", "matplotlib", "cv2", "open3d", "diffusers", "transformers", "scipy")
ASK_FOR_HELP = f"""
import contextlib, sys, time
from mvista_bringup.cli import main
with contextlib.suppress(SystemExit):
    main([*sys.argv[1:], "--help"])
print(time.process_time(), [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: "-".join(command.words))
def test_help_comes_at_once_and_without_what_the_command_runs(command: cli.Command) -> None:
    result = subprocess.run(
        [sys.executable, "-c", ASK_FOR_HELP, *command.words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"mvista {' '.join(command.words)}" in result.stdout
    cpu_s, imported = result.stderr.strip().splitlines()[-1].split(" ", 1)
    assert imported == "[]"
    assert float(cpu_s) < HELP_CPU_S


def test_help_of_a_group_lists_every_verb_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["calibrate", "--help"])
    text = capsys.readouterr().out
    for verb in ("board", "solve", "verify", "collect", "demo", "simulate"):
        assert verb in text
    for group in {command.words[0] for command in cli.COMMANDS if len(command.words) > 1}:
        with contextlib.suppress(SystemExit):
            cli.main([group, "--help"])
        text = capsys.readouterr().out
        for command in cli.COMMANDS:
            assert command.words[0] != group or f"mvista {' '.join(command.words)}" in text


@pytest.mark.skipif(not LAUNCHER.is_file(), reason="not a `make setup` environment")
def test_the_launcher_works_from_anywhere_with_nothing_sourced(tmp_path: Path) -> None:
    ros = ("AMENT", "CMAKE", "COLCON", "LD_LIBRARY", "PYTHON", "ROS_DISTRO", "_ROS", "VIRTUAL_ENV")
    bare = {key: value for key, value in os.environ.items() if not key.startswith(ros)}
    result = subprocess.run(
        [str(LAUNCHER), "--help"], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "mvista demo" in result.stdout
