"""`mvista calibrate collect`: a session from this ROS domain's topics, or from a recording."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rclpy.parameter import Parameter

from mvista_bringup.paths import config_file, output_dir
from mvista_calibration_ros.calibration_node import CalibrationNode
from mvista_calibration_ros.collector import Guidance
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_cli.operator.recorded_session import collect_recording
from mvista_core.errors import ConfigError
from mvista_ros.parameters import Value, load_parameter_file, read_file
from mvista_ros.spinning import spinning


def run(args: argparse.Namespace) -> int:
    if args.shots < 0:
        raise ConfigError(f"--shots is {args.shots}; 0 (until enough) or more")
    sessions = output_dir("calibration", "sessions")
    named = Path(args.session)
    folder = named if named.parent != Path() else sessions / args.session
    if args.recording is not None:
        if args.scene:
            raise ConfigError("--scene needs live topics: a recording gives shots only")
        settings = read_file(CalibrationParameters, _config(args), _overrides(args))
        found = collect_recording(args.recording, folder, settings, args.shots, _Teller())
    else:
        with _node(_parameters(args)) as node:
            found = node.collect(folder, args.shots, args.scene, _Teller())
    coverage = found.coverage
    views = ", ".join(f"{name} {count}" for name, count in coverage.views.items())
    sys.stdout.write(f"{found.folder}: {coverage.shots} shots; views: {views}\n")
    for line in coverage.missing:
        sys.stdout.write(f"still missing: {line}\n")
    if not args.scene and args.recording is None:
        sys.stdout.write(f"next, the board gone: mvista calibrate collect {folder} --scene\n")
    return 0


class _Teller:
    """Prints what changed: a person reads it while holding a board."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, guidance: Guidance) -> bool:
        coverage = guidance.coverage
        seen = ", ".join(name for name, sees in guidance.sees.items() if sees) or "no camera"
        said = f"{guidance.stage} ({seen}): {guidance.refused or coverage.advice}"
        if guidance.stage == "accepted":
            image = ", ".join(f"{name} {share:.0%}" for name, share in coverage.image.items())
            said = (
                f"shot {coverage.shots} recorded by {seen}. Image {image}; workspace "
                f"{coverage.workspace:.0%}. Next: {coverage.advice}"
            )
        if said != self._said:
            sys.stderr.write(said + "\n")
            self._said = said
        return True


def _config(args: argparse.Namespace) -> Path:
    return Path(args.config or config_file("calibration.yaml"))


def _overrides(args: argparse.Namespace) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if args.cameras:
        found["cameras"] = tuple(args.cameras)
    if args.no_arm:
        found["board_on_gripper"] = False
    return found


def _parameters(args: argparse.Namespace) -> list[Parameter]:
    values = {**load_parameter_file(_config(args)), **_overrides(args)}
    values.setdefault("arm_file", str(config_file("arms", "piper.yaml")))
    return [
        Parameter(name, value=list(value) if isinstance(value, tuple) else value)
        for name, value in values.items()
    ]


@contextmanager
def _node(parameters: list[Parameter]) -> Iterator[CalibrationNode]:
    """The node in this process, hearing its topics."""
    build = partial(CalibrationNode, parameter_overrides=parameters)
    with spinning(build, threads=4) as node:
        try:
            yield node
        finally:
            node.stop()
