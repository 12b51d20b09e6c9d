"""The launch files and the tables say the same, and everything they name exists."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mvista_bringup import paths, preflight
from mvista_bringup.graph.calibrate import CALIBRATE, CALIBRATE_OPTIONS
from mvista_bringup.graph.monitor import MONITOR, MONITOR_OPTIONS
from mvista_bringup.graph.robot import REAL_ROBOT, REAL_ROBOT_OPTIONS
from mvista_bringup.graph.sim import (
    EMULATED_DEMO,
    EMULATED_DEMO_OPTIONS,
    SIM_DEMO,
    SIM_DEMO_OPTIONS,
)
from mvista_bringup.graph.spec import (
    DDS_PROFILE,
    CellUrdf,
    Entry,
    NodeSpec,
    ProcessSpec,
    RvizConfig,
    Spec,
    Template,
    active_rows,
    every_row,
    started_rows,
)
from mvista_bringup.graph.teleop import TELEOP
from mvista_bringup.options import RunOption, option_values
from mvista_bringup.paths import launch_file, share_root
from mvista_core.errors import ConfigError, UnavailableError
from mvista_core.process import LAUNCHER
from mvista_core.rig import load_rig, save_rig
from mvista_description import urdf

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
FROM_APT = {"robot_state_publisher", "rviz2", "rqt_robot_monitor"}
"""Not on the Python index: only an apt ROS has them, and only `ros2 launch` starts them."""


@dataclass(frozen=True)
class Launch:
    """A launch file, its table, and further choices of those arguments that take any text."""

    file: str
    graph: tuple[Entry, ...]
    options: tuple[RunOption, ...]
    texts: tuple[dict[str, str], ...]

    def values(self, chosen: Mapping[str, str]) -> dict[str, str]:
        return option_values(self.options, chosen, str(share_root()))

    def combinations(self) -> Iterator[dict[str, str]]:
        """Every combination of the arguments that have choices, the texts in turn."""
        switches = [option for option in self.options if option.choices]
        texts = itertools.cycle(self.texts)
        for values in itertools.product(*(option.choices for option in switches)):
            yield {**{o.name: v for o, v in zip(switches, values, strict=True)}, **next(texts)}


LAUNCHES = (
    Launch("sim_demo.launch.py", SIM_DEMO, SIM_DEMO_OPTIONS, ({}, {"seed": "7"})),
    Launch(
        "real_robot.launch.py",
        REAL_ROBOT,
        REAL_ROBOT_OPTIONS,
        (
            {"can_serial": "0017"},
            {"second_arm": "right", "second_can_channel": "can1", "namespace": "cell_a"},
            {"instruction": "open the drawer", "seed": "4"},
            {"arm": "left", "rig": "left_cell", "second_arm": "right", "namespace": "lab/cell_b"},
        ),
    ),
    Launch("monitor.launch.py", MONITOR, MONITOR_OPTIONS, ({}, {"namespace": "cell_a"})),
    Launch(
        "calibrate.launch.py",
        CALIBRATE,
        CALIBRATE_OPTIONS,
        ({}, {"arm": "left", "session": "sessions/monday", "namespace": "cell_a"}),
    ),
)
GRAPHS = (*SIM_DEMO, *EMULATED_DEMO, *REAL_ROBOT, *MONITOR, *CALIBRATE, *TELEOP)
SHIPPED_RIG = {"share": str(share_root()), "rig": "sim_cell"}
CAMERAS = load_rig(share_root() / "config" / "rigs" / "sim_cell.yaml").names
ROWS = [
    pytest.param(row, id=f"{row.full_name}-{number}")
    for number, row in enumerate(every_row(GRAPHS, SHIPPED_RIG))
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

    def begun(self, values: Mapping[str, str], **outer: str) -> list[Any]:
        """What the launch does once it knows its arguments; `outer` are of other launch files."""
        (function,) = self.of("OpaqueFunction")
        known = {a.name: a.default_value for a in self.of("DeclareLaunchArgument")}
        chosen = {name: value for name, value in values.items() if name in known}
        context = SimpleNamespace(launch_configurations={**known, **chosen, **outer})
        return list(function.function(context))

    def started(self, values: Mapping[str, str], **outer: str) -> list[Any]:
        return [
            entity
            for entity in self.begun(values, **outer)
            if type(entity).__name__ in ("Node", "ExecuteProcess")
        ]


@pytest.fixture
def describe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Described]]:
    """On a machine that has every program, with a rig that hangs on another base."""
    ours = ("launch", "mvista_bringup.launching")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(ours)}
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(a_prefix(tmp_path / "prefix")))
    monkeypatch.setattr(paths, "source_root", lambda: a_share(tmp_path / "share"))
    monkeypatch.setenv("MVISTA_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setattr(preflight, "cell_urdf", _each_urdf_once())
    yield Described
    for name in [name for name in sys.modules if name.startswith(ours)]:
        del sys.modules[name]
    sys.modules.update(before)


def _each_urdf_once() -> Callable[[str, dict[str, str]], str]:
    """The real one takes 0.1 s, and hundreds of combinations need the same few."""
    made: dict[tuple[Any, ...], str] = {}

    def cell_urdf(arm_file: str, arguments: dict[str, str]) -> str:
        key = (arm_file, *arguments.items())
        if key not in made:
            made[key] = urdf.cell_urdf(arm_file, arguments)
        return made[key]

    return cell_urdf


def a_prefix(prefix: Path) -> Path:
    """An ament prefix with every program that a table names."""
    for row in every_row(GRAPHS, SHIPPED_RIG):
        program = prefix / "lib" / row.package / row.executable
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(0o755)
    return prefix


def a_share(share: Path) -> Path:
    """The repository's launch files, configuration and weights, and `left_cell` among the rigs."""
    if not share.is_dir():
        shutil.copytree(ROOT / "config", share / "config")
        for name in ("launch", "models"):
            (share / name).symlink_to(ROOT / name)
        rig = (share / "config" / "rigs" / "sim_cell.yaml").read_text("utf-8")
        left = share / "config" / "rigs" / "left_cell.yaml"
        left.write_text(rig.replace("piper_base", "left_base"), "utf-8")
    return share


@pytest.mark.parametrize("launch", LAUNCHES, ids=_id)
def test_the_arguments_are_the_options(launch: Launch, describe: type[Described]) -> None:
    arguments = describe(launch.file).of("DeclareLaunchArgument")
    assert [(a.name, a.default_value) for a in arguments] == [
        (o.name, o.default) for o in launch.options
    ]
    for argument, option in zip(arguments, launch.options, strict=True):
        assert all(choice in argument.description for choice in option.choices)


@pytest.mark.parametrize("launch", LAUNCHES, ids=_id)
def test_what_is_started_is_what_the_table_says(launch: Launch, describe: type[Described]) -> None:
    """With every combination of the arguments that have choices."""
    described = describe(launch.file)
    for chosen in launch.combinations():
        values = launch.values(chosen)
        found = described.started(values)
        expected = active_rows(launch.graph, values)
        assert len(found) == len(expected) > 0, chosen
        for process, row in zip(found, expected, strict=True):
            _check_process(process, row, values)


def _check_process(process: Any, row: Spec, values: Mapping[str, str]) -> None:
    arguments = [
        str(a.resolve(values)) if isinstance(a, Template) else a
        for a in row.arguments
        if not isinstance(a, RvizConfig)
    ]
    assert (process.on_exit is not None) is row.required
    if isinstance(row, ProcessSpec):
        program, *words = process.cmd
        assert (program.package, program.executable) == (row.package, row.executable)
        assert words == arguments
        return
    assert (process.package, process.executable) == (row.package, row.executable)
    assert (process.name, process.namespace) == (row.name, row.namespace)
    shown = [word for word in process.arguments if not word.endswith(".rviz")]
    assert shown == arguments
    for path in set(process.arguments) - set(shown):
        frame = f"{values['arm']}_base"
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        assert document["Visualization Manager"]["Global Options"]["Fixed Frame"] == frame
    assert process.remappings == list(row.remappings)
    # Ours ask for their parent's death themselves.
    assert ("--pdeathsig" in (process.prefix or "")) is row.apt
    files = [p for p in process.parameters if isinstance(p, str)]
    assert files == ([str(share_root() / row.parameter_file)] if row.parameter_file else [])
    overrides: dict[str, Any] = next((p for p in process.parameters if p not in files), {})
    assert set(overrides) == {name for name, _ in row.parameters}
    for name, value in row.parameters:
        _check_parameter(overrides[name], value, values, f"{row.full_name} {name}")


def _check_parameter(shown: Any, value: Any, values: Mapping[str, str], where: str) -> None:
    """Of the same type as the supervisor passes: a text that looks like a number stays a text."""
    if type(shown).__name__ == "ParameterValue":
        assert shown.value_type is str and isinstance(shown.value, str), where
        shown = shown.value
    if isinstance(value, CellUrdf):
        arm = dict(value.arguments)["arm"].resolve(values)
        assert f'name="{arm}_link6"' in shown, where
        return
    wanted = value.resolve(values) if isinstance(value, Template) else value
    assert shown == wanted and type(shown) is type(wanted), where


@pytest.mark.parametrize("launch", LAUNCHES, ids=_id)
def test_the_environment_of_every_process(launch: Launch, describe: type[Described]) -> None:
    begun = describe(launch.file).begun({})
    variables = {e.name: e.value for e in begun if type(e).__name__ == "SetEnvironmentVariable"}
    profile = Path(variables["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert profile == share_root() / DDS_PROFILE and profile.is_file()
    assert variables[LAUNCHER] == str(os.getpid()), "who must not be outlived"


def test_every_name_lies_in_the_namespace(describe: type[Described]) -> None:
    """The argument's, and that of a launch file that includes ours: two cells on one domain."""
    described = describe("real_robot.launch.py")
    started = described.started(
        {"namespace": "cell_a", "hardware": "emulated", "rviz": "true", "second_arm": "right"},
        ros_namespace="/lab",
    )
    for process in started:
        if hasattr(process, "namespace"):
            assert process.namespace.startswith("/lab/cell_a"), process.name
            assert ("/tf_static", "/lab/cell_a/tf_static") in process.remappings, process.name
    (planning,) = [p for p in started if p.name == "planning"]
    assert planning.namespace == "/lab/cell_a"
    (plain,) = [p for p in described.started({"hardware": "emulated"}) if p.name == "planning"]
    assert (plain.namespace, plain.remappings) == ("/", [])


def test_a_required_process_that_ends_ends_the_launch_with_its_last_words(
    describe: type[Described], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said_last: list[tuple[Any, ...]] = []
    monkeypatch.setattr("atexit.register", lambda *words, **rest: said_last.append(words))
    begun = describe("real_robot.launch.py").begun({})
    (heard,) = [e.event_handler for e in begun if type(e).__name__ == "RegisterEventHandler"]
    (driver,) = [e for e in begun if getattr(e, "name", "") == "driver"]
    words = b"a traceback\nIdentityError (34): firmware 1.2 is unknown\n"
    heard.on_stderr(SimpleNamespace(process_name="piper_node-1", text=words))
    event = SimpleNamespace(process_name="piper_node-1", returncode=2)
    driver.on_exit(event, SimpleNamespace(is_shutdown=True))  # it was told to
    assert not said_last
    reason = "/piper/driver ended .exit 2.: IdentityError .34.: firmware 1.2 is unknown"
    with pytest.raises(UnavailableError, match=reason):
        driver.on_exit(event, SimpleNamespace(is_shutdown=False))
    assert said_last[0][1].startswith("mvista: /piper/driver ended (exit 2): IdentityError")


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


@pytest.mark.parametrize("launch", LAUNCHES, ids=_id)
def test_every_file_a_template_names_exists(launch: Launch) -> None:
    values = launch.values({})
    templates: list[Template] = []
    for row in every_row(launch.graph, values):
        given = [value for _, value in row.parameters] if isinstance(row, NodeSpec) else []
        templates += [v for v in (*given, *row.arguments) if isinstance(v, Template)]
        templates += [t for v in given if isinstance(v, CellUrdf) for _, t in v.arguments]
        templates += [v.shipped for v in row.arguments if isinstance(v, RvizConfig)]
    paths = [Path(str(t.resolve(values))) for t in templates if "{share}/config" in t.text]
    assert paths and all(path.exists() for path in paths), paths


@pytest.mark.parametrize("launch", LAUNCHES, ids=_id)
def test_every_option_is_used_and_every_name_is_unique(launch: Launch) -> None:
    for chosen in launch.combinations():
        names = [row.full_name for row in active_rows(launch.graph, launch.values(chosen))]
        assert len(set(names)) == len(names), chosen
    used = {condition.option for row in launch.graph for condition in row.when}
    used |= {"namespace", *re.findall(r"\{(\w+)\}", repr(launch.graph))}
    assert {option.name for option in launch.options} <= used


def test_the_rehearsal_needs_no_hardware_and_the_robot_no_simulator() -> None:
    real, rehearsal = (
        started_rows(REAL_ROBOT, LAUNCHES[1].values({"hardware": hardware}))
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
    rows = [r for r in started_rows(REAL_ROBOT, LAUNCHES[1].values({})) if r.name == "camera"]
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
    values = LAUNCHES[1].values({"rig": "nowhere", "rviz": "true"})
    active = active_rows(REAL_ROBOT, values)
    assert "mvista_cameras" not in {row.package for row in active}
    assert "rviz2" in {row.package for row in active}


def test_unknown_options_and_wrong_values_are_refused_together() -> None:
    with pytest.raises(ConfigError, match=r"speed: no such argument.*seed.*; hardware: 'imagin"):
        option_values(REAL_ROBOT_OPTIONS, {"speed": "1", "hardware": "imaginary"}, "/share")
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
    rows = [r for r in active_rows(REAL_ROBOT, values) if r.package == "robot_state_publisher"]
    published = {
        (
            f"{row.namespace}/robot_description",
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
    rows = active_rows(MONITOR, LAUNCHES[2].values({}))
    (rviz,) = [row for row in rows if row.package == "rviz2"]
    assert isinstance(rviz, NodeSpec)
    led = dict(rviz.remappings)
    clouds = [d for d in _displays() if d["Class"].endswith("/DepthCloud")]
    assert len(clouds) == len(CAMERAS)
    for cloud in clouds:
        info = cloud["Depth Map Topic"].replace("image_raw", "camera_info")
        assert led[info] == cloud["CameraInfo Topic"]
