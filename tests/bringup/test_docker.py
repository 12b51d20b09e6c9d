"""Images, compose and udev rules name files, targets, launch files and arguments that exist."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from mvista_cli.registry import find_command
from tests.tools.resolving import environment, pins, resolved

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, its text) with continued lines joined and comments gone."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in whole.splitlines())
        if word
    ]


def allowed(path: Path) -> set[str]:
    """What the image's .dockerignore lets through."""
    lines = path.with_name(f"{path.name}.dockerignore").read_text("utf-8").splitlines()
    assert "**" in lines, "everything else stays outside"
    return {line[1:] for line in lines if line.startswith("!")}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_what_an_image_copies_exists_and_reaches_the_builder(path: Path) -> None:
    copied = [
        word for name, rest in instructions(path) if name == "COPY" for word in rest.split()[:-1]
    ]
    assert copied
    for word in copied:
        assert (ROOT / word).exists(), word
        assert word in allowed(path), f"{path.name}.dockerignore keeps {word} out"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_the_ignore_file_lets_nothing_else_through(path: Path) -> None:
    assert all((ROOT / word).exists() for word in allowed(path))


def check_command(words: list[str]) -> None:
    """A command that an image or a service runs: a target, a launch file, or a verb."""
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert words[1] in targets
        for word in words[2:]:
            assert f"$({word.partition('=')[0]})" in (ROOT / "Makefile").read_text("utf-8")
    elif words[:2] == ["ros2", "launch"]:
        package, file, *arguments = words[2:]
        assert (ROOT / "ros2_ws" / "src" / package / "package.xml").is_file()
        text = (ROOT / "launch" / file).read_text("utf-8")
        options = launch_arguments(text)
        assert {word.partition(":=")[0] for word in arguments} <= options, options
    else:
        assert words[0] == "mvista" and find_command(words[1:]) is not None, words


def launch_arguments(text: str) -> set[str]:
    """The options of the table that a launch file names."""
    (found,) = re.findall(
        r"^from (mvista_bringup\.[\w.]+) import .*?\b([A-Z_]+_OPTIONS)", text, re.M
    )
    module, table = found
    return {option.name for option in getattr(importlib.import_module(module), table)}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_what_an_image_runs_exists(path: Path) -> None:
    commands = [yaml.safe_load(rest) for name, rest in instructions(path) if name == "CMD"]
    assert len(commands) == 1
    check_command(commands[0])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_builds_and_runs_what_exists(name: str) -> None:
    service = SERVICES[name]
    assert service["profiles"] == [name]
    context = (DOCKER / service["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / service["build"]["dockerfile"]) in DOCKERFILES
    # What `${ROBOT_ARGS:-}` holds is the operator's.
    command = re.sub(r"\$\{(\w+):-\}", "", service["command"])
    check_command(shlex.split(command))
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        if source.startswith("..") and not source.endswith("build"):
            assert (DOCKER / source).exists(), source


def test_the_profiles_are_those_of_the_readme() -> None:
    assert set(SERVICES) == {"sim", "robot", "planner", "monitor"}
    text = (DOCKER / "README.md").read_text("utf-8")
    assert set(re.findall(r"--profile (\w+)", text)) == set(SERVICES)
    commands = re.findall(r"ros2 run mvista_cli (mvista .*)", text)
    assert commands
    for command in commands:
        check_command(shlex.split(command))


def test_what_ros_runs_shares_network_and_memory_and_stops_gently() -> None:
    for name in ("robot", "planner", "monitor"):
        assert (SERVICES[name]["network_mode"], SERVICES[name]["ipc"]) == ("host", "host")
    for name in ("robot", "planner"):
        assert SERVICES[name]["stop_signal"] == "SIGINT"
    assert "privileged" not in SERVICES["robot"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: p.stem)
def test_an_image_runs_as_a_user_on_a_base_that_can_be_pinned(path: Path) -> None:
    found = instructions(path)
    names = [name for name, _ in found]
    assert ("FROM", "${BASE}") in found
    assert names.index("USER") < names.index("CMD") and ("USER", "robot") in found
    assert any(re.match(r"BASE=\S+$", rest) for name, rest in found if name == "ARG")


def test_a_base_and_a_user_can_be_chosen_for_every_service() -> None:
    for service in SERVICES.values():
        assert {"BASE", "UID"} <= set(service["build"]["args"])


def test_the_robot_tells_its_health_and_is_not_started_again_by_itself() -> None:
    (check,) = [r for n, r in instructions(DOCKER / "robot.Dockerfile") if n == "HEALTHCHECK"]
    assert "/diagnostics" in check
    assert SERVICES["robot"]["restart"] == "${RESTART:-no}"
    assert SERVICES["monitor"]["healthcheck"] == {"disable": True}, "it has no node that must live"
    assert "/dev/dri:/dev/dri" in SERVICES["monitor"]["devices"]


# ---- what the robot image takes from the Python index ----------------------------------------

APT_LOCK = ROOT / "requirements-apt.lock"
IMAGE_PYTHON = "3.12"
OWN_RELEASES = {"numpy", "opencv-contrib-python-headless", "fpsample"}
"""An apt ROS is compiled against NumPy 1, and these go with it."""
BROUGHT_BY_TORCH = ("nvidia-", "cuda-", "triton")


def releases(path: Path) -> dict[str, set[str]]:
    """Name -> versions of a lock file."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)==([^\s;]+)", path.read_text("utf-8"), re.MULTILINE
    ):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def test_the_image_and_the_guide_install_the_same_file() -> None:
    (pip,) = [r for n, r in instructions(DOCKER / "robot.Dockerfile") if "pip install" in r]
    assert f"-r {APT_LOCK.name}" in pip and "constraints" not in pip
    assert f"-r {APT_LOCK.name}" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_image_has_the_releases_that_are_tested_here() -> None:
    here, image = releases(ROOT / "requirements.lock"), releases(APT_LOCK)
    other = {name for name in image if not image[name] <= here.get(name, set())}
    assert other == OWN_RELEASES


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_the_images_set_resolves_for_its_python(tmp_path: Path) -> None:
    """Every release has a wheel, and each is content with the others' releases.

    All but torch, of gigabytes: its release is that of requirements.lock, and asks for no NumPy.
    """
    pinned = pins(APT_LOCK, IMAGE_PYTHON)
    found = resolved(pinned, IMAGE_PYTHON, tmp_path)
    where = environment(IMAGE_PYTHON)
    versions: dict[str, str] = {**pinned, "torch": next(iter(releases(APT_LOCK)["torch"]))}
    for one in found:
        assert SpecifierSet(one.get("requires_python", "")).contains(f"{IMAGE_PYTHON}.3"), one[
            "name"
        ]
        for text in one.get("requires_dist", ()):
            needed = Requirement(text)
            name = canonicalize_name(needed.name)
            if needed.marker is not None and not needed.marker.evaluate(where):
                continue
            if name.startswith(BROUGHT_BY_TORCH):
                continue
            assert name in versions, f"{one['name']} needs {text}"
            assert needed.specifier.contains(versions[name], prereleases=True), (one["name"], text)


@pytest.mark.parametrize("path", sorted((DOCKER / "udev").glob("*.rules")), ids=lambda p: p.stem)
def test_udev_rules_are_well_formed(path: Path) -> None:
    rules = [line for line in path.read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert rules
    key = r'[A-Z]+(\{[\w/]+\})?(==|!=|\+=|=)"[^"]*"'
    for rule in rules:
        assert re.fullmatch(rf"{key}(, {key})*", rule), rule
