"""The pages of docs/ and the README: their paths exist, their code runs, their commands are so."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from mvista_bringup.graph.calibrate import CALIBRATE_OPTIONS
from mvista_bringup.graph.monitor import MONITOR_OPTIONS
from mvista_bringup.graph.planner import PLANNER_OPTIONS
from mvista_bringup.graph.replay import REPLAY_OPTIONS
from mvista_bringup.graph.robot import REAL_ROBOT_OPTIONS
from mvista_bringup.graph.sim import SIM_DEMO_OPTIONS
from mvista_bringup.graph.teleop_record import TELEOP_RECORD_OPTIONS
from mvista_bringup.options import wrong_arguments
from mvista_cli import registry

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
LAUNCHES = {
    "real_robot.launch.py": REAL_ROBOT_OPTIONS,
    "sim_demo.launch.py": SIM_DEMO_OPTIONS,
    "monitor.launch.py": MONITOR_OPTIONS,
    "planner.launch.py": PLANNER_OPTIONS,
    "calibrate.launch.py": CALIBRATE_OPTIONS,
    "teleop_record.launch.py": TELEOP_RECORD_OPTIONS,
    "replay.launch.py": REPLAY_OPTIONS,
}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_PATH = re.compile(
    r"`((?:ros2_ws|models|config|launch|docker|tests|docs)/[\w./-]+|calibration/[\w/-]+\.\w+)`"
)
"""Without its ending, a name below calibration/ is one of its actions."""
_CHANGE = re.compile(r"^\| ([^|]+) \| `([\w./-]+)` \| `(.+?)` \|$", re.M)


def name_of(page: Path) -> str:
    return page.stem


def blocks(page: Path, *kinds: str) -> list[str]:
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind in kinds]


def command_lines(page: Path) -> list[list[str]]:
    """The words of every line of its shell blocks; a comment and a variable before are no words."""
    lines = [line for text in blocks(page, "sh", "") for line in text.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("#")[0].split(";")]
    return [shlex.split(re.sub(r"^(\w+=(\"[^\"]*\"|\S+) )+", "", part)) for part in parts if part]


def understand(words: list[str]) -> None:
    """Take the options of one verb of `mvista`; what it does not know ends this test."""
    command = registry.find_command(words)
    if command is None:
        assert not words, f"no verb: {words}"
        return
    parser = argparse.ArgumentParser(" ".join(command.words), exit_on_error=False)
    command.add_arguments(parser)
    parser.parse_args(words[len(command.words) :])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    missing = [
        path for path in _PATH.findall(page.read_text("utf-8")) if not (ROOT / path).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_code_of_a_page_runs(page: Path) -> None:
    for text in blocks(page, "python"):
        exec(compile(text, str(page), "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_is_understood(page: Path) -> None:
    """Each verb takes its options; each launch file its arguments; each target of make is there."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for words in command_lines(page):
        if words[0] == "mvista" or words[0].endswith("bin/mvista"):
            understand(words[1:])
        elif words[:3] == ["ros2", "launch", "mvista_bringup"]:
            assert (ROOT / "launch" / words[3]).is_file(), words
            chosen = dict(word.split(":=", 1) for word in words[4:])
            assert not wrong_arguments(LAUNCHES[words[3]], chosen), words
        elif words[0] == "make":
            asked = [word for word in words[1:] if "=" not in word]
            assert set(asked) <= set(targets), words


def test_commands_were_found() -> None:
    """A pattern that finds nothing would let everything pass."""
    found = [words[0] for page in PAGES for words in command_lines(page)]
    assert found.count("mvista") > 20 and found.count("ros2") > 5 and found.count("make") > 4
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 4


def test_twenty_changes_each_have_one_file_and_it_says_so() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    changes = _CHANGE.findall(text)
    assert len(changes) >= 20 and len({path for _, path, _ in changes}) == len(changes)
    for change, path, symbol in changes:
        assert symbol in (ROOT / path).read_text(encoding="utf-8"), (
            f"{change}: no {symbol} in {path}"
        )
