"""Whose call is it? Each as a process with the words of a command line, on stand-ins of `launch`.

Somebody's own launch file may be called as ours is and include it: what was typed for that file is
not for ours to judge.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mvista_bringup.graph.sim import SIM_DEMO
from mvista_bringup.paths import launch_file

FAKES = Path(__file__).parents[1] / "fakes"
NAME = "sim_demo.launch.py"
TYPED = "their_speed:=3"
CODE = """
import importlib.util, sys
from types import SimpleNamespace
fakes, file, *sys.argv = sys.argv[1:]
sys.path.insert(0, fakes)
spec = importlib.util.spec_from_file_location("ours", file)
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)
*arguments, function = ours.generate_launch_description().entities
known = {argument.name: argument.default_value for argument in arguments}
typed = dict(word.split(":=") for word in sys.argv if ":=" in word)
context = SimpleNamespace(launch_configurations={**known, **typed})
begun = function.function(context)
print("started", sum(type(entity).__name__ == "Node" for entity in begun))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An ament prefix with the programs of the demo."""
    for row in SIM_DEMO:
        program = tmp_path / "prefix" / "lib" / row.package / row.executable
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(0o755)
    return {**os.environ, "AMENT_PREFIX_PATH": str(tmp_path / "prefix")}


def called(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Our launch file, in a process whose command line was `ros2 launch <words>`."""
    return subprocess.run(
        [sys.executable, "-c", CODE, str(FAKES), str(launch_file(NAME)), "ros2", "launch", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_foreign_launch_file_of_the_same_name_is_not_judged(
    environment: dict[str, str], tmp_path: Path
) -> None:
    theirs = tmp_path / NAME
    theirs.write_text("# includes ours\n", "utf-8")
    for words in (("their_robot", NAME, TYPED), (str(theirs), TYPED)):
        done = called(environment, *words)
        assert (done.returncode, done.stdout) == (0, "started 5\n"), done.stderr


def test_our_own_is_judged_by_its_package_or_its_path(environment: dict[str, str]) -> None:
    for words in (("mvista_bringup", NAME, TYPED), (str(launch_file(NAME)), TYPED)):
        done = called(environment, *words)
        assert done.returncode == 2 and not done.stdout, done.stderr
        assert "their_speed: no such argument" in done.stderr
