"""The `mvista` command: what it finds, what it prints and what it returns."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mvista_bringup import paths
from mvista_cli import choices, cli, commands, registry
from mvista_core.errors import InstructionError

pytestmark = pytest.mark.slow

LAUNCHER = Path(sys.prefix) / "bin" / "mvista"


def install_command(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """Add `mvista probe walk --pace N` to the table, with `run` as its body."""
    module = ModuleType("mvista_cli.commands.probe_walk")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--pace", type=int, default=1)

    module.add_arguments = add_arguments  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    command = registry.Command(("probe", "walk"), "walk about")
    monkeypatch.setattr(registry, "COMMANDS", (*registry.COMMANDS, command))


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
    assert all(" ".join(("mvista", *command.words)) in text for command in registry.COMMANDS)


@pytest.mark.parametrize("words", [["dance"], ["eval", "dance"], ["eval"], []])
def test_an_unknown_or_incomplete_command_lists_what_there_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert "mvista eval success" in printed.out + printed.err


@pytest.mark.parametrize("command", registry.COMMANDS, ids=lambda command: "-".join(command.words))
def test_every_command_has_arguments_and_a_short_body(command: registry.Command) -> None:
    command.add_arguments(argparse.ArgumentParser())
    assert callable(command.module.run)
    assert command.module.__file__ is not None
    lines = Path(command.module.__file__).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST_COMMAND, "parse, call, print: what is more has a room of its own"


def test_every_file_of_commands_is_a_verb_of_the_table() -> None:
    files = {file.stem for file in Path(commands.__path__[0]).glob("*.py")} - {"__init__"}
    assert files == {command.file for command in registry.COMMANDS}


def test_choices_that_are_repeated_to_spare_an_import_are_the_librarys() -> None:
    from mvista_calibration.pipeline import METHODS
    from mvista_calibration_sim.board_cell import GRIPPER, TABLE
    from mvista_sim.dataset import FIRST_SEED

    assert choices.METHODS == METHODS
    assert (choices.GRIPPER, choices.TABLE) == (GRIPPER, TABLE)
    assert choices.FIRST_SEED == FIRST_SEED


@pytest.mark.parametrize(
    "words", ["train codec", "dataset collect", "dataset convert x --to training --out y"]
)
def test_what_is_trained_is_for_the_weights_that_every_command_plans_with(words: str) -> None:
    given = words.split()
    command = max(
        (one for one in registry.COMMANDS if given[: len(one.words)] == list(one.words)),
        key=lambda one: len(one.words),
    )
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert parser.parse_args(given[len(command.words) :]).preset == paths.DEFAULT_CHECKPOINT


HELP_CPU_S = 1.0
"""Three times what it takes on a busy machine; importing the networks takes ten seconds."""
LONGEST_COMMAND = 70
HEAVY = ("torch", "mujoco", "matplotlib", "cv2", "open3d", "diffusers", "transformers", "scipy")
ASK_FOR_HELP = f"""
import contextlib, sys, time
from mvista_cli.cli import main
with contextlib.suppress(SystemExit):
    main([*sys.argv[1:], "--help"])
print(time.process_time(), [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


GROUPS = sorted({c.words[:1] for c in registry.COMMANDS if len(c.words) > 1})
ASKED = [(), *GROUPS, *(command.words for command in registry.COMMANDS)]


@pytest.mark.parametrize("words", ASKED, ids=lambda words: "-".join(words) or "all")
def test_help_comes_at_once_and_without_what_the_command_runs(words: tuple[str, ...]) -> None:
    """Every verb, every group of verbs, and `mvista --help` itself, each in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", ASK_FOR_HELP, *words], capture_output=True, text=True, check=True
    )
    assert " ".join(("mvista", *words)) in result.stdout
    cpu_s, imported = result.stderr.strip().splitlines()[-1].split(" ", 1)
    assert imported == "[]"
    assert float(cpu_s) < HELP_CPU_S


@pytest.mark.parametrize("words", [(), *GROUPS], ids=lambda words: "-".join(words) or "all")
def test_help_of_a_group_lists_every_verb_below_it(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    listed = [line.split("  ")[1] for line in text.splitlines() if line.startswith("  mvista ")]
    below = [c for c in registry.COMMANDS if c.words[: len(words)] == words]
    assert listed == [f"mvista {' '.join(command.words)}" for command in below]


@pytest.mark.skipif(not LAUNCHER.is_file(), reason="not a `make setup` environment")
@pytest.mark.parametrize("words", ["--help", "calibrate --help", "plan --help"])
def test_a_reader_that_goes_away_is_no_error(words: str) -> None:
    """`mvista ... | head`, at a pipe that nobody reads any more."""
    line = f"{LAUNCHER} {words} | true"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert result.stderr == ""


@pytest.mark.skipif(not LAUNCHER.is_file(), reason="not a `make setup` environment")
def test_the_launcher_works_from_anywhere_with_nothing_sourced(tmp_path: Path) -> None:
    ros = ("AMENT", "CMAKE", "COLCON", "LD_LIBRARY", "PYTHON", "ROS_DISTRO", "_ROS", "VIRTUAL_ENV")
    bare = {key: value for key, value in os.environ.items() if not key.startswith(ros)}
    result = subprocess.run(
        [str(LAUNCHER), "--help"], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "mvista demo" in result.stdout
