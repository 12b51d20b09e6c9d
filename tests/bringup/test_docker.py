"""Images, compose and udev rules name files, targets, launch files and arguments that exist."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from mvista_bringup.cli import find_command

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
    (found,) = re.findall(r"^from (mvista_bringup\.\w+) import .*?\b([A-Z_]+_OPTIONS)", text, re.M)
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
    assert set(SERVICES) == {"sim", "robot", "monitor"}
    text = (DOCKER / "README.md").read_text("utf-8")
    assert set(re.findall(r"--profile (\w+)", text)) == set(SERVICES)
    commands = re.findall(r"ros2 run mvista_bringup (mvista .*)", text)
    assert commands
    for command in commands:
        check_command(shlex.split(command))


def test_robot_and_monitor_share_network_and_memory_and_stop_gently() -> None:
    for name in ("robot", "monitor"):
        assert (SERVICES[name]["network_mode"], SERVICES[name]["ipc"]) == ("host", "host")
    assert SERVICES["robot"]["stop_signal"] == "SIGINT"
    assert "privileged" not in SERVICES["robot"]


def test_what_the_robot_image_installs_is_locked() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    locked = set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))
    pip = next(r for n, r in instructions(DOCKER / "robot.Dockerfile") if "constraints.txt" in r)
    named = pip.split("-c constraints.txt")[1].split("&&")[0].split()
    assert {word.replace("_", "-") for word in named} <= locked


@pytest.mark.parametrize("path", sorted((DOCKER / "udev").glob("*.rules")), ids=lambda p: p.stem)
def test_udev_rules_are_well_formed(path: Path) -> None:
    rules = [line for line in path.read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert rules
    key = r'[A-Z]+(\{[\w/]+\})?(==|!=|\+=|=)"[^"]*"'
    for rule in rules:
        assert re.fullmatch(rf"{key}(, {key})*", rule), rule
