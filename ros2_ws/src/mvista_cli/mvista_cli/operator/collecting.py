"""Collecting a calibration session from this ROS domain's topics, or from a recording."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rclpy.parameter import Parameter

from mvista_bringup.paths import config_file, output_dir
from mvista_calibration_ros.calibration_node import CalibrationNode
from mvista_calibration_ros.collector import Collected, Guidance
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_cli.operator.recorded_session import collect_recording
from mvista_core.errors import ConfigError
from mvista_ros.parameters import Value, load_parameter_file, read_file
from mvista_ros.spinning import spinning


@dataclass(frozen=True)
class CollectRequest:
    """A session by name or folder; of so many shots (0: until coverage is enough), or the scene.

    `recording`: from the frames of this episode instead of live topics; `config`: a parameter file
    instead of config/calibration.yaml; `cameras`: instead of that file's.
    """

    session: str
    shots: int
    scene: bool
    recording: Path | None
    config: Path | None
    cameras: tuple[str, ...]
    arm_holds_board: bool

    @property
    def file(self) -> Path:
        """The parameter file."""
        return self.config or config_file("calibration.yaml")

    @property
    def overrides(self) -> dict[str, Value]:
        """Parameters that are not the file's."""
        found: dict[str, Value] = {"cameras": self.cameras} if self.cameras else {}
        return found if self.arm_holds_board else {**found, "board_on_gripper": False}


def collect(wanted: CollectRequest) -> Collected:
    """Record it, telling the person who holds the board.

    Raises:
        ConfigError: cannot be meant. CalibrationError: nothing that will do was seen.
    """
    if wanted.shots < 0:
        raise ConfigError(f"--shots is {wanted.shots}; 0 (until enough) or more")
    sessions = output_dir("calibration", "sessions")
    named = Path(wanted.session)
    folder = named if named.parent != Path() else sessions / wanted.session
    if wanted.recording is None:
        with _node(_parameters(wanted)) as node:
            return node.collect(folder, wanted.shots, wanted.scene, _Teller())
    if wanted.scene:
        raise ConfigError("--scene needs live topics: a recording gives shots only")
    settings = read_file(CalibrationParameters, wanted.file, wanted.overrides)
    return collect_recording(wanted.recording, folder, settings, wanted.shots, _Teller())


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


def _parameters(wanted: CollectRequest) -> list[Parameter]:
    values = {**load_parameter_file(wanted.file), **wanted.overrides}
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
