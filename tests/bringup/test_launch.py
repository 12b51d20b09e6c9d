"""The launch files start what the tables say, with every combination of arguments."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mvista_bringup import paths, preflight
from mvista_bringup.graph.spec import (
    DDS_PROFILE,
    CellUrdf,
    ProcessSpec,
    RvizConfig,
    Spec,
    Template,
    active_rows,
    every_row,
)
from mvista_bringup.paths import launch_file, share_root
from mvista_core.errors import UnavailableError
from mvista_core.process import LAUNCHER
from mvista_description import urdf
from tests.bringup.launches import GRAPHS, LAUNCHES, ROOT, SHIPPED_RIG, Launch, launch_id

pytestmark = pytest.mark.slow

FAKES = ROOT / "tests" / "fakes"


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


@pytest.mark.parametrize("launch", LAUNCHES, ids=launch_id)
def test_the_arguments_are_the_options(launch: Launch, describe: type[Described]) -> None:
    arguments = describe(launch.file).of("DeclareLaunchArgument")
    assert [(a.name, a.default_value) for a in arguments] == [
        (o.name, o.default) for o in launch.options
    ]
    for argument, option in zip(arguments, launch.options, strict=True):
        assert all(choice in argument.description for choice in option.choices)


@pytest.mark.parametrize("launch", LAUNCHES, ids=launch_id)
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


@pytest.mark.parametrize("launch", LAUNCHES, ids=launch_id)
def test_the_environment_of_every_process(launch: Launch, describe: type[Described]) -> None:
    begun = describe(launch.file).begun(launch.texts[0])
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
