"""The launch files and the tables say the same, and everything they name exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mvista_bringup.nodes import (
    DDS_PROFILE,
    EMULATED_DEMO,
    EMULATED_DEMO_OPTIONS,
    SIM_DEMO,
    SIM_DEMO_OPTIONS,
    CellUrdf,
    NodeSpec,
    ProcessSpec,
    RunOption,
    Spec,
    Template,
    option_values,
    started_rows,
)
from mvista_bringup.paths import launch_file, share_root
from mvista_bringup.robot_graph import (
    CALIBRATE,
    CALIBRATE_OPTIONS,
    CAMERAS,
    MONITOR,
    MONITOR_OPTIONS,
    REAL_ROBOT,
    REAL_ROBOT_OPTIONS,
)
from mvista_core.errors import ConfigError
from mvista_core.rig import load_rig
from mvista_description.urdf import cell_urdf

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
FROM_APT = {"robot_state_publisher", "rviz2", "rqt_robot_monitor"}
"""Not on the Python index: only an apt ROS has them, and only `ros2 launch` starts them."""


@dataclass(frozen=True)
class Launch:
    """A launch file, its table, and choices that switch its rows."""

    file: str
    graph: tuple[Spec, ...]
    options: tuple[RunOption, ...]
    choices: tuple[dict[str, str], ...] = ({},)

    def values(self, chosen: Mapping[str, str]) -> dict[str, str]:
        return option_values(self.options, chosen, str(share_root()))


LAUNCHES = (
    Launch("sim_demo.launch.py", SIM_DEMO, SIM_DEMO_OPTIONS, ({}, {"seed": "7"})),
    Launch(
        "real_robot.launch.py",
        REAL_ROBOT,
        REAL_ROBOT_OPTIONS,
        (
            {"can_serial": "0017"},
            {"camera_sync": "free", "second_arm": "right", "second_can_channel": "can1"},
            {"hardware": "emulated", "instruction": "open the drawer", "rviz": "true"},
            {"hardware": "emulated", "second_arm": "right", "arm": "left", "seed": "4"},
        ),
    ),
    Launch(
        "monitor.launch.py",
        MONITOR,
        MONITOR_OPTIONS,
        ({}, {"robot_monitor": "true", "model": "true"}),
    ),
    Launch(
        "calibrate.launch.py",
        CALIBRATE,
        CALIBRATE_OPTIONS,
        ({}, {"arm": "left", "session": "sessions/monday"}),
    ),
)
CASES = [(launch, chosen) for launch in LAUNCHES for chosen in launch.choices]
ROWS = [
    pytest.param(row, id=f"{row.full_name}-{number}")
    for number, row in enumerate((*SIM_DEMO, *EMULATED_DEMO, *REAL_ROBOT, *MONITOR, *CALIBRATE))
]


def _package_dir(package: str) -> Path:
    return ROOT / "ros2_ws" / "src" / package


def _id(value: Any) -> str:
    return value.file if isinstance(value, Launch) else ",".join(value.values()) or "defaults"


class Described:
    """What a launch file describes, built on stand-ins: `launch` is not on the Python index."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.spec_from_file_location("under_test", launch_file(name))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.entities: list[Any] = list(module.generate_launch_description().entities)

    def of(self, *kinds: str) -> list[Any]:
        return [entity for entity in self.entities if type(entity).__name__ in kinds]

    def started(self, values: Mapping[str, str]) -> list[Any]:
        return [
            process
            for process in self.of("Node", "ExecuteProcess")
            if process.condition is None or _text(process.condition.predicate, values) == "true"
        ]


@pytest.fixture
def describe(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Described]]:
    ours = ("launch", "mvista_bringup.launching")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(ours)}
    monkeypatch.syspath_prepend(str(FAKES))
    yield Described
    for name in [name for name in sys.modules if name.startswith(ours)]:
        del sys.modules[name]
    sys.modules.update(before)


def _text(value: Any, values: Mapping[str, str]) -> str:
    """What a substitution, or a list to be joined, becomes."""
    kind = type(value).__name__
    if isinstance(value, list):
        return "".join(_text(part, values) for part in value)
    if kind == "LaunchConfiguration":
        return values[value.name]
    if kind in ("EqualsSubstitution", "NotEqualsSubstitution"):
        same = _text(value.left, values) == _text(value.right, values)
        return str(same is (kind == "EqualsSubstitution")).lower()
    if kind == "AllSubstitution":
        return str(all(_text(part, values) == "true" for part in value.arguments)).lower()
    if kind == "FindPackageShare":
        return str(_package_dir(value.package))
    if kind == "Command":
        return _text(value.command, values)
    assert isinstance(value, str), value
    return value


def _expected_rows(launch: Launch, values: Mapping[str, str]) -> list[Spec]:
    """As the supervisor starts them, and what only an apt ROS brings, in the table's order."""
    kept = [row for row in launch.graph if all(condition.holds(values) for condition in row.when)]
    ours = iter(started_rows(launch.graph, values))
    return [row if isinstance(row, NodeSpec) and row.apt else next(ours) for row in kept]


@pytest.mark.parametrize("launch", LAUNCHES, ids=_id)
def test_the_arguments_are_the_options(launch: Launch, describe: type[Described]) -> None:
    arguments = describe(launch.file).of("DeclareLaunchArgument")
    found = [(a.name, a.default_value, tuple(a.choices or ())) for a in arguments]
    assert found == [(o.name, o.default, o.choices) for o in launch.options]


@pytest.mark.parametrize(("launch", "chosen"), CASES, ids=_id)
def test_what_is_started_is_what_the_table_says(
    launch: Launch, chosen: dict[str, str], describe: type[Described]
) -> None:
    values = launch.values(chosen)
    found = describe(launch.file).started(values)
    expected = _expected_rows(launch, values)
    assert len(found) == len(expected)
    for process, row in zip(found, expected, strict=True):
        arguments = [
            str(a.resolve(values) if isinstance(a, Template) else a) for a in row.arguments
        ]
        if isinstance(row, ProcessSpec):
            words = [_text(word, values) for word in process.cmd]
            assert words == ["ros2", "run", row.package, row.executable, *arguments]
            continue
        namespace = str(Template(row.namespace).resolve(values))
        assert (process.package, process.executable) == (row.package, row.executable)
        assert (process.name, _text(process.namespace, values)) == (row.name, namespace)
        assert [_text(word, values) for word in process.arguments] == arguments
        assert process.remappings == list(row.remappings)
        assert (process.on_exit is not None) is row.required


@pytest.mark.parametrize(("launch", "chosen"), CASES, ids=_id)
def test_parameters_resolve_to_what_the_supervisor_passes(
    launch: Launch, chosen: dict[str, str], describe: type[Described]
) -> None:
    values = launch.values(chosen)
    found = describe(launch.file).started(values)
    for process, row in zip(found, _expected_rows(launch, values), strict=True):
        if isinstance(row, ProcessSpec):
            continue
        files = [p for p in process.parameters if isinstance(p, str)]
        assert files == ([str(share_root() / row.parameter_file)] if row.parameter_file else [])
        overrides: dict[str, Any] = next((p for p in process.parameters if p not in files), {})
        assert set(overrides) == {name for name, _ in row.parameters}
        for name, value in row.parameters:
            shown = overrides[name]
            if isinstance(value, CellUrdf):
                _check_xacro(_text(shown.value, values), value, values)
                continue
            if type(shown).__name__ == "ParameterValue":
                shown = shown.value_type(_text(shown.value, values))
            wanted = value.resolve(values) if isinstance(value, Template) else value
            assert shown == wanted and type(shown) is type(wanted), (row.full_name, name)


def _check_xacro(command: str, urdf: CellUrdf, values: Mapping[str, str]) -> None:
    """The command line, split as launch splits it, names our file and gives a URDF."""
    program, file, *words = shlex.split(command)
    assert program == "xacro" and Path(file).is_file()
    passed = dict(word.split(":=", 1) for word in words)
    assert passed == {name: value.resolve(values) for name, value in urdf.arguments}
    arm = passed["arm"]
    assert f'name="{arm}_link6"' in cell_urdf(passed.pop("arm_file"), passed)


@pytest.mark.parametrize("launch", LAUNCHES, ids=_id)
def test_the_dds_profile_is_set_and_exists(launch: Launch, describe: type[Described]) -> None:
    (profile,) = describe(launch.file).of("SetEnvironmentVariable")
    assert profile.name == "FASTDDS_DEFAULT_PROFILES_FILE"
    assert Path(profile.value) == share_root() / DDS_PROFILE
    assert Path(profile.value).is_file()


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_what_exists(row: Spec) -> None:
    bringup = (_package_dir("mvista_bringup") / "package.xml").read_text(encoding="utf-8")
    assert row.package == "mvista_bringup" or f">{row.package}</exec_depend>" in bringup
    if isinstance(row, NodeSpec) and row.apt:
        assert row.package in FROM_APT
        return
    source = _package_dir(row.package)
    module = row.module if isinstance(row, ProcessSpec) else row.executable
    setup = (source / "setup.py").read_text(encoding="utf-8")
    assert f"{row.executable} = {row.package}.{module}:main" in setup
    assert (source / row.package / f"{module}.py").is_file()
    assert f"<name>{row.package}</name>" in (source / "package.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", [r for r in ROWS if isinstance(r.values[0], NodeSpec)])
def test_every_parameter_is_declared_by_its_node(row: NodeSpec) -> None:
    if row.apt:
        assert {name for name, _ in row.parameters} <= {"robot_description", "frame_prefix"}
        return
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in (_package_dir(row.package) / row.package).glob("*.py")
    )
    declared = set(
        re.findall(r"^    (\w+): [^=\n]+ = (?:parameter|_setting)\(", code, re.MULTILINE)
    )
    named = {name for name, _ in row.parameters}
    if row.parameter_file:
        document = yaml.safe_load((share_root() / row.parameter_file).read_text(encoding="utf-8"))
        named |= set(document["/**"]["ros__parameters"])
    assert named <= declared


@pytest.mark.parametrize("launch", LAUNCHES, ids=_id)
def test_every_file_a_template_names_exists(launch: Launch) -> None:
    values = launch.values({})
    templates: list[Template] = []
    for row in launch.graph:
        given = [value for _, value in row.parameters] if isinstance(row, NodeSpec) else []
        templates += [v for v in (*given, *row.arguments) if isinstance(v, Template)]
        templates += [t for v in given if isinstance(v, CellUrdf) for _, t in v.arguments]
    paths = [Path(str(t.resolve(values))) for t in templates if "{share}/config" in t.text]
    assert paths and all(path.exists() for path in paths), paths


@pytest.mark.parametrize(("launch", "chosen"), CASES, ids=_id)
def test_every_option_is_used_and_every_name_is_unique(
    launch: Launch, chosen: dict[str, str]
) -> None:
    values = launch.values(chosen)
    names = [row.full_name for row in _expected_rows(launch, values)]
    assert len(set(names)) == len(names)
    used = {condition.option for row in launch.graph for condition in row.when}
    used |= set(re.findall(r"\{(\w+)\}", repr(launch.graph)))
    assert {option.name for option in launch.options} <= used


def test_the_rehearsal_needs_no_hardware_and_the_robot_no_simulator() -> None:
    real, _, rehearsal, _ = (
        started_rows(REAL_ROBOT, LAUNCHES[1].values(chosen)) for chosen in LAUNCHES[1].choices
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
    rows = [r for r in started_rows(REAL_ROBOT, LAUNCHES[1].values({})) if r.name == "camera"]
    told = [dict(row.parameters) for row in rows if isinstance(row, NodeSpec)]
    delays = {str(p["sync_role"]): float(str(p["start_delay_s"])) for p in told}
    assert sorted(float(str(p["start_delay_s"])) for p in told) == [0.0, 2.0, 4.0, 6.0]
    assert delays["primary"] == 6.0
    assert [row.full_name for row in rows] == [f"/{name}/camera" for name in CAMERAS]


def test_unknown_options_and_wrong_values_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no run options \['speed'\]; there are .*'seed'"):
        option_values(SIM_DEMO_OPTIONS, {"speed": "1"}, "/share")
    with pytest.raises(ConfigError, match="hardware is 'imaginary'; allowed: real, emulated"):
        option_values(REAL_ROBOT_OPTIONS, {"hardware": "imaginary"}, "/share")
    with pytest.raises(ConfigError, match="whole number"):
        Template("{seed}", int).resolve({"seed": "many"})
    with pytest.raises(ConfigError, match="no option 'rig'"):
        Template("{rig}").resolve({})
    assert {o.name for o in EMULATED_DEMO_OPTIONS} > {o.name for o in SIM_DEMO_OPTIONS}


# ---- config/rviz/mvista4d.rviz ----------------------------------------------------------------

SHOWN_BY_RVIZ = {
    "DepthCloud", "Grid", "Image", "Marker", "MarkerArray", "Path", "PointCloud2", "RobotModel",
    "TF",
}  # fmt: skip
"""Displays of rviz_default_plugins; Group is rviz_common's."""


def _displays() -> list[dict[str, Any]]:
    path = share_root() / "config" / "rviz" / "mvista4d.rviz"
    manager = yaml.safe_load(path.read_text(encoding="utf-8"))["Visualization Manager"]
    rig = load_rig(share_root() / "config" / "rigs" / "sim_cell.yaml")
    assert manager["Global Options"]["Fixed Frame"] == rig.base_frame
    found: list[dict[str, Any]] = []
    waiting = list(manager["Displays"])
    while waiting:
        display = waiting.pop(0)
        waiting += display.get("Displays", [])
        if display["Class"] != "rviz_common/Group":
            found.append(display)
    return found


def test_rviz_shows_all_that_was_asked_for() -> None:
    kinds = {display["Class"].removeprefix("rviz_default_plugins/") for display in _displays()}
    assert kinds == SHOWN_BY_RVIZ


def test_rviz_reads_images_with_best_effort_and_what_stays_with_transient_local() -> None:
    for display in _displays():
        topic = display.get("Topic") or display.get("Description Topic", {})
        if display["Class"].endswith("/Image"):
            assert topic["Reliability Policy"] == "Best Effort", display["Name"]
        elif display["Class"].endswith(("/Path", "/MarkerArray", "/PointCloud2", "/RobotModel")):
            assert topic["Durability Policy"] == "Transient Local", display["Name"]
        elif display["Class"].endswith("/DepthCloud"):
            assert display["Reliability Policy"] == "Best effort"


def test_the_robot_models_are_those_that_are_published() -> None:
    values = LAUNCHES[1].values({"rviz": "true"})
    rows = [r for r in _expected_rows(LAUNCHES[1], values) if r.package == "robot_state_publisher"]
    published = {
        (
            f"{Template(row.namespace).resolve(values)}/robot_description",
            str(dict(row.parameters)["frame_prefix"]).rstrip("/"),
        )
        for row in rows
        if isinstance(row, NodeSpec)
    }
    shown = {
        (display["Description Topic"]["Value"], display["TF Prefix"])
        for display in _displays()
        if display["Class"].endswith("/RobotModel")
    }
    assert shown == published


def test_live_clouds_find_the_intrinsics() -> None:
    """An RViz that cannot be told the topic takes the depth image's: it is led to the colour's."""
    (rviz,) = [row for row in MONITOR if row.package == "rviz2"]
    assert isinstance(rviz, NodeSpec)
    led = dict(rviz.remappings)
    clouds = [d for d in _displays() if d["Class"].endswith("/DepthCloud")]
    assert len(clouds) == len(CAMERAS)
    for cloud in clouds:
        info = cloud["Depth Map Topic"].replace("image_raw", "camera_info")
        assert led[info] == cloud["CameraInfo Topic"]
