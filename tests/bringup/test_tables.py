"""The tables of what is started: what they name exists, what they start is what was asked for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mvista_bringup.graph.robot import REAL_ROBOT, REAL_ROBOT_OPTIONS
from mvista_bringup.graph.sim import EMULATED_DEMO_OPTIONS, SIM_DEMO_OPTIONS
from mvista_bringup.graph.spec import (
    CellUrdf,
    NodeSpec,
    ProcessSpec,
    RvizConfig,
    Spec,
    Template,
    active_rows,
    every_row,
    started_rows,
)
from mvista_bringup.graph.teleop_record import EMULATED_RIG, TELEOP_RECORD
from mvista_bringup.options import option_values
from mvista_bringup.paths import share_root
from mvista_cameras.emulator.scene import FEMTO_BOLT_COLOR
from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig, save_rig
from tests.bringup.launches import (
    CAMERAS,
    GRAPHS,
    LAUNCHES,
    RECORDING,
    REPLAYING,
    ROBOT,
    ROOT,
    SHIPPED_RIG,
    Launch,
    launch_id,
)

pytestmark = pytest.mark.slow

FROM_APT = {"robot_state_publisher", "rviz2", "rqt_robot_monitor"}
"""Not on the Python index: only an apt ROS has them, and only `ros2 launch` starts them."""
ROWS = [
    pytest.param(row, id=f"{row.full_name}-{number}")
    for number, row in enumerate(every_row(GRAPHS, SHIPPED_RIG))
]


def _package_dir(package: str) -> Path:
    return ROOT / "ros2_ws" / "src" / package


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_what_exists(row: Spec) -> None:
    bringup = (_package_dir("mvista_bringup") / "package.xml").read_text(encoding="utf-8")
    # Above it: the launch files are started without it, and name it only to carry out a task.
    assert (
        row.package in ("mvista_bringup", "mvista_cli")
        or f">{row.package}</exec_depend>" in bringup
    )
    if isinstance(row, NodeSpec) and row.apt:
        assert row.package in FROM_APT
        return
    source = _package_dir(row.package)
    module = row.module if isinstance(row, ProcessSpec) else row.executable
    setup = (source / "setup.py").read_text(encoding="utf-8")
    assert f"{row.executable} = {row.package}.programs:{row.executable}" in setup
    programs = (source / row.package / "programs.py").read_text(encoding="utf-8")
    assert f'{row.executable} = executable("{row.package}.{module}")' in programs
    assert (source / row.package / f"{module}.py").is_file()
    assert f"<name>{row.package}</name>" in (source / "package.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", [r for r in ROWS if isinstance(r.values[0], NodeSpec)])
def test_every_parameter_is_declared_by_its_node(row: NodeSpec) -> None:
    if row.apt:
        assert {name for name, _ in row.parameters} <= {"robot_description", "frame_prefix"}
        return
    code = "".join(
        path.read_text(encoding="utf-8")
        # A node's parameters may be a shared record's too: of an observation, of an execution.
        for package in (row.package, "mvista_ros", "mvista_core")
        for path in (_package_dir(package) / package).glob("*.py")
    )
    declared = set(
        re.findall(r"^    (\w+): [^=\n]+ = (?:parameter|_setting)\(", code, re.MULTILINE)
    )
    named = {name for name, _ in row.parameters}
    if row.parameter_file:
        document = yaml.safe_load((share_root() / row.parameter_file).read_text(encoding="utf-8"))
        named |= set(document["/**"]["ros__parameters"])
    assert named <= declared


@pytest.mark.parametrize("launch", LAUNCHES, ids=launch_id)
def test_every_file_a_template_names_exists(launch: Launch) -> None:
    values = launch.values({})
    templates: list[Template] = []
    for row in every_row(launch.graph, values):
        given = [value for _, value in row.parameters] if isinstance(row, NodeSpec) else []
        templates += [v for v in (*given, *row.arguments) if isinstance(v, Template)]
        templates += [t for v in given if isinstance(v, CellUrdf) for _, t in v.arguments]
        templates += [v.shipped for v in row.arguments if isinstance(v, RvizConfig)]
    paths = [Path(str(t.resolve(values))) for t in templates if "{share}/config" in t.text]
    assert all(path.exists() for path in paths), paths
    assert paths or launch is REPLAYING, "an episode has its own rig and arm file"


@pytest.mark.parametrize("launch", LAUNCHES, ids=launch_id)
def test_every_option_is_used_and_every_name_is_unique(launch: Launch) -> None:
    for chosen in launch.combinations():
        names = [row.full_name for row in active_rows(launch.graph, launch.values(chosen))]
        assert len(set(names)) == len(names), chosen
    used = {condition.option for row in launch.graph for condition in row.when}
    used |= {"namespace", *re.findall(r"\{(\w+)\}", repr(launch.graph))}
    assert {option.name for option in launch.options} <= used


def test_the_rehearsal_needs_no_hardware_and_the_robot_no_simulator() -> None:
    real, rehearsal = (
        started_rows(REAL_ROBOT, ROBOT.values({"hardware": hardware}))
        for hardware in ("real", "emulated")
    )
    assert {row.package for row in real} & {"mvista_sim"} == set()
    assert "mvista_cameras" not in {row.package for row in rehearsal}
    for rows, interface in ((real, None), (rehearsal, "udp_multicast")):
        (driver,) = [row for row in rows if row.full_name == "/piper/driver"]
        assert isinstance(driver, NodeSpec)
        told = dict(driver.parameters)
        assert told.get("interface") == interface
        assert ("enable_at_start" in told) is (interface is not None), "an operator enables an arm"


def test_cameras_open_one_after_the_other_the_primary_last() -> None:
    rows = [r for r in started_rows(REAL_ROBOT, ROBOT.values({})) if r.name == "camera"]
    told = [dict(row.parameters) for row in rows if isinstance(row, NodeSpec)]
    delays = {str(p["sync_role"]): float(str(p["start_delay_s"])) for p in told}
    assert sorted(float(str(p["start_delay_s"])) for p in told) == [0.0, 2.0, 4.0, 6.0]
    assert delays["primary"] == 6.0
    assert [row.full_name for row in rows] == [f"/{name}/camera" for name in CAMERAS]


@pytest.mark.parametrize("sync", ["hub", "free"])
def test_a_rig_of_three_starts_three(sync: str, tmp_path: Path) -> None:
    """Under the rig's own names; RViz is led to their intrinsics too."""
    names = ("left", "top", "wrist")
    rig = load_rig(share_root() / "config" / "rigs" / "sim_cell.yaml")
    cameras = [replace(camera, name=name) for camera, name in zip(rig.cameras, names, strict=False)]
    (tmp_path / "config" / "rigs").mkdir(parents=True)
    save_rig(replace(rig, cameras=tuple(cameras)), tmp_path / "config" / "rigs" / "three.yaml")
    chosen = {"rig": "three", "camera_sync": sync, "rviz": "true"}
    values = option_values(REAL_ROBOT_OPTIONS, chosen, str(tmp_path))
    active = [row for row in active_rows(REAL_ROBOT, values) if isinstance(row, NodeSpec)]
    told = {row.namespace: dict(row.parameters) for row in active if row.name == "camera"}
    assert list(told) == [f"/{name}" for name in names]
    assert sorted(float(str(p["start_delay_s"])) for p in told.values()) == [0.0, 2.0, 4.0]
    assert (told["/left"]["start_delay_s"] == 4.0) is (sync == "hub"), "the primary is the last"
    (rviz,) = [row for row in active if row.package == "rviz2"]
    assert [source for source, _ in rviz.remappings] == [
        f"/{name}/depth/camera_info" for name in names
    ]


def test_a_rig_that_cannot_be_read_starts_no_camera() -> None:
    """The pre-flight says what is wrong with the file; RViz is still looked for."""
    values = ROBOT.values({"rig": "nowhere", "rviz": "true"})
    active = active_rows(REAL_ROBOT, values)
    assert "mvista_cameras" not in {row.package for row in active}
    assert "rviz2" in {row.package for row in active}


def test_emulated_cameras_have_the_lens_that_their_rig_says() -> None:
    """Or nothing that they show would be recorded."""
    rig = load_rig(share_root() / "config" / "rigs" / f"{EMULATED_RIG}.yaml")
    assert {camera.intrinsics for camera in rig.cameras} == {FEMTO_BOLT_COLOR}
    rows = started_rows(TELEOP_RECORD, RECORDING.values({"hardware": "emulated"}))
    assert [row.full_name for row in rows if row.name == "camera"] == [
        f"/{name}/camera" for name in rig.names
    ]


def test_unknown_options_and_wrong_values_are_refused_together() -> None:
    with pytest.raises(ConfigError, match=r"speed: no such argument.*seed.*; hardware: 'imagin"):
        option_values(REAL_ROBOT_OPTIONS, {"speed": "1", "hardware": "imaginary"}, "/share")
    with pytest.raises(ConfigError, match="whole number"):
        Template("{seed}", int).resolve({"seed": "many"})
    with pytest.raises(ConfigError, match="no option 'rig'"):
        Template("{rig}").resolve({})
    assert {o.name for o in EMULATED_DEMO_OPTIONS} > {o.name for o in SIM_DEMO_OPTIONS}
