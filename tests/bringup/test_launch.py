"""The launch file and the node table say the same, and everything they name exists."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mvista_bringup.nodes import (
    DDS_PROFILE,
    SIM_DEMO,
    SIM_DEMO_OPTIONS,
    NodeSpec,
    Template,
    option_values,
)
from mvista_bringup.paths import launch_file, share_root
from mvista_core.errors import ConfigError

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"


def _package_dir(package: str) -> Path:
    return ROOT / "ros2_ws" / "src" / package


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the launch file describes, built on stand-ins where `launch` is not installed."""
    ours = ("launch", "mvista_bringup.launching")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(ours)}
    # Not "launch": the repository's folder of that name is a namespace package to Python.
    if importlib.util.find_spec("launch_ros") is None:
        monkeypatch.syspath_prepend(str(FAKES))
    spec = importlib.util.spec_from_file_location("sim_demo", launch_file("sim_demo.launch.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.generate_launch_description().entities
    for name in [name for name in sys.modules if name.startswith(ours)]:
        del sys.modules[name]
    sys.modules.update(before)


def _of_kind(entities: list[Any], kind: str) -> list[Any]:
    return [entity for entity in entities if type(entity).__name__ == kind]


def test_the_arguments_are_the_options(described: list[Any]) -> None:
    found = [(a.name, a.default_value) for a in _of_kind(described, "DeclareLaunchArgument")]
    assert found == [(option.name, option.default) for option in SIM_DEMO_OPTIONS]


def test_the_nodes_are_the_table(described: list[Any]) -> None:
    found = [(n.package, n.executable, n.name, n.namespace) for n in _of_kind(described, "Node")]
    expected = [(s.package, s.executable, s.name, s.namespace) for s in SIM_DEMO]
    assert found == expected


def test_parameters_resolve_to_what_the_supervisor_passes(described: list[Any]) -> None:
    values = option_values(SIM_DEMO_OPTIONS, {"seed": "7"}, str(share_root()))
    for node, spec in zip(_of_kind(described, "Node"), SIM_DEMO, strict=True):
        *files, overrides = node.parameters
        assert files == ([str(share_root() / spec.parameter_file)] if spec.parameter_file else [])
        for name, value in spec.parameters:
            shown = overrides[name]
            if isinstance(value, Template):
                text = "".join(p if isinstance(p, str) else values[p.name] for p in shown.value)
                shown = shown.value_type(text)
                value = value.resolve(values)
            assert shown == value, (spec.name, name)


def test_the_dds_profile_is_set_and_exists(described: list[Any]) -> None:
    (profile,) = _of_kind(described, "SetEnvironmentVariable")
    assert profile.name == "FASTDDS_DEFAULT_PROFILES_FILE"
    assert Path(profile.value) == share_root() / DDS_PROFILE
    assert Path(profile.value).is_file()


@pytest.mark.parametrize("spec", SIM_DEMO, ids=lambda spec: spec.name)
def test_every_row_names_what_exists(spec: NodeSpec) -> None:
    source = _package_dir(spec.package)
    setup = (source / "setup.py").read_text(encoding="utf-8")
    assert f"{spec.executable} = {spec.package}.{spec.executable}:main" in setup
    assert (source / spec.package / f"{spec.executable}.py").is_file()
    assert f"<name>{spec.package}</name>" in (source / "package.xml").read_text(encoding="utf-8")
    bringup = (_package_dir("mvista_bringup") / "package.xml").read_text(encoding="utf-8")
    assert spec.package == "mvista_bringup" or f">{spec.package}</exec_depend>" in bringup


@pytest.mark.parametrize("spec", SIM_DEMO, ids=lambda spec: spec.name)
def test_every_parameter_is_declared_by_its_node(spec: NodeSpec) -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in (_package_dir(spec.package) / spec.package).glob("*.py")
    )
    declared = set(
        re.findall(r"^    (\w+): [^=\n]+ = (?:parameter|_setting)\(", code, re.MULTILINE)
    )
    named = {name for name, _ in spec.parameters}
    if spec.parameter_file:
        document = yaml.safe_load((share_root() / spec.parameter_file).read_text(encoding="utf-8"))
        named |= set(document["/**"]["ros__parameters"])
    assert named <= declared


def test_every_file_a_template_names_exists() -> None:
    values = option_values(SIM_DEMO_OPTIONS, {}, str(share_root()))
    paths = [
        Path(str(value.resolve(values)))
        for spec in SIM_DEMO
        for _, value in spec.parameters
        if isinstance(value, Template) and "{share}/config" in value.text
    ]
    assert paths and all(path.is_file() for path in paths), paths


def test_names_are_unique() -> None:
    names = [spec.full_name for spec in SIM_DEMO]
    assert len(set(names)) == len(names)


def test_unknown_options_and_wrong_values_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no run options \['speed'\]; there are .*'seed'"):
        option_values(SIM_DEMO_OPTIONS, {"speed": "1"}, "/share")
    with pytest.raises(ConfigError, match="whole number"):
        Template("{seed}", int).resolve({"seed": "many"})
    with pytest.raises(ConfigError, match="no option 'rig'"):
        Template("{rig}").resolve({})
