"""Ten wrong calls, as the README lists them; each is refused whole before anything starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mvista_bringup.graph.replay import REPLAY, REPLAY_OPTIONS
from mvista_bringup.graph.robot import REAL_ROBOT, REAL_ROBOT_OPTIONS
from mvista_bringup.graph.sim import SIM_DEMO, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import every_row
from mvista_bringup.graph.teleop_record import TELEOP_RECORD, TELEOP_RECORD_OPTIONS
from mvista_bringup.paths import DEFAULT_CHECKPOINT
from mvista_bringup.preflight import Call, in_words, look, look_at_rows

ROOT = Path(__file__).parents[2]
README = ROOT / "ros2_ws" / "src" / "mvista_bringup" / "README.md"
GRAPHS = {
    "sim_demo": (SIM_DEMO, SIM_DEMO_OPTIONS),
    "real_robot": (REAL_ROBOT, REAL_ROBOT_OPTIONS),
    "teleop_record": (TELEOP_RECORD, TELEOP_RECORD_OPTIONS),
    "replay": (REPLAY, REPLAY_OPTIONS),
}
ROW = re.compile(r"^\| `(\w+) ([^`]*)` \| (.+?) \| (.+?) \|$", re.MULTILINE)
TABLE = ROW.findall(README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's configuration, an arm file that is none, and weights without one file."""
    share = tmp_path_factory.mktemp("share")
    shutil.copytree(ROOT / "config", share / "config")
    (share / "config" / "arms" / "bent.yaml").write_text("joints: []\n", encoding="utf-8")
    checkpoints = share / "models" / "checkpoints"
    for name in (DEFAULT_CHECKPOINT, "half"):
        shutil.copytree(ROOT / "models" / "checkpoints" / DEFAULT_CHECKPOINT, checkpoints / name)
    (checkpoints / "half" / "codec.safetensors").unlink()
    return share


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ament prefix as `colcon build` makes it, on a machine without RViz."""
    prefix = tmp_path_factory.mktemp("prefix")
    shipped = {"share": str(ROOT), "rig": "sim_cell"}
    for row in every_row((*SIM_DEMO, *REAL_ROBOT, *TELEOP_RECORD, *REPLAY), shipped):
        program = prefix / "lib" / row.package / row.executable
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(0o755)
    shutil.rmtree(prefix / "lib" / "rviz2")
    return prefix


def called(file: str, words: str, share: Path, prefix: Path) -> Call:
    """`ros2 launch mvista_bringup <file>.launch.py <words>` on an apt Jazzy."""
    graph, options = GRAPHS[file]
    pairs = re.findall(r'(\w+):=(?:"([^"]*)"|(\S*))', words)
    chosen = {name: quoted or bare for name, quoted, bare in pairs}
    environment = {"AMENT_PREFIX_PATH": str(prefix), "ROS_DISTRO": "jazzy"}
    return Call(graph, options, chosen, share, True, environment)


def test_the_readme_lists_ten_wrong_calls() -> None:
    assert len(TABLE) >= 10


@pytest.mark.parametrize(("file", "words", "message", "mend"), TABLE, ids=[r[1] for r in TABLE])
def test_a_wrong_call_is_told_what_is_wrong_and_what_mends_it(
    file: str, words: str, message: str, mend: str, share: Path, prefix: Path
) -> None:
    found = look(called(file, words, share, prefix))
    said = [f"{check.name}: {check.message}".replace(f"{share}/", "") for check in found]
    assert (said, [check.fix for check in found]) == ([message], [mend]), said


@pytest.mark.parametrize("file", [file for file in GRAPHS if file != "replay"])
def test_a_call_that_can_work_is_let_through(file: str, share: Path, prefix: Path) -> None:
    assert look(called(file, "namespace:=lab/cell_a seed:=3", share, prefix)) == ()


def test_all_that_is_wrong_comes_in_one_answer(share: Path, prefix: Path) -> None:
    words = 'sed:=1 rig:=nowhere checkpoint:=half rviz:=true second_xyz:="0 0" can_port:=80'
    found = look(called("real_robot", words, share, prefix))
    names = {"sed", "rig", "checkpoint", "rviz2", "second_xyz", "can_port"}
    assert {check.name for check in found} == names
    text = in_words("this call", found)
    assert text.startswith("6 things are wrong with this call; nothing was started")
    assert text.count("mend: ") == 6 and all(check.fix for check in found)


def test_a_workspace_that_was_not_built_is_named(share: Path, tmp_path: Path) -> None:
    found = look(called("sim_demo", "", share, tmp_path))
    assert {check.name for check in found} == {row.package for row in SIM_DEMO[:5]}
    assert all("colcon build" in check.fix for check in found)


def test_what_a_row_names_itself_is_read_too(share: Path) -> None:
    sim = replace(SIM_DEMO[0], parameter_file="config/absent.yaml", parameters=())
    rig = replace(SIM_DEMO[1], parameters=(("rig_file", "/no/such/rig.yaml"),))
    found = look_at_rows((sim, rig), {"share": str(share)})
    assert ["absent.yaml" in found[0].message, "no rig file" in found[1].message] == [True, True]


def test_a_demo_that_cannot_work_ends_with_2_and_starts_nothing(tmp_path: Path) -> None:
    """At the command: everything in one answer, and no process was there to leave a log."""
    command = "import sys; from mvista_cli.cli import main; sys.exit(main())"
    words = ["demo", "--checkpoint", "absent", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", command, *words],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "no checkpoint at" in done.stderr and "mend: checkpoint:=tiny" in done.stderr
    assert not list(tmp_path.rglob("*.log"))
