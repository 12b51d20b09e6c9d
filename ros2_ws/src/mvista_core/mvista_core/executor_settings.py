"""Executor settings: one frozen record, checked across fields, read from `config/executor.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.documents import read_document
from mvista_core.errors import ConfigError
from mvista_core.records import Float64

GRIPPER = "gripper"
"""The one prismatic joint (metres of opening); every other joint is revolute."""


NODE_ONLY = ("arm_file",)
"""Parameters of `config/executor.yaml` that are the node's, not the stream's."""

_LOW, _HIGH = "minimum", "maximum"


def _setting(default: float | int | tuple[float, ...], text: str, low: float, high: float) -> Any:
    # The metadata is what `mvista_ros.parameters.declare` shows for a ROS parameter.
    return field(default=default, metadata={"text": text, _LOW: low, _HIGH: high})


@dataclass(frozen=True)
class ExecutorSettings:
    """How trajectories are checked, prepared and streamed. See `config/executor.yaml`.

    `_rad` values hold for revolute joints, `_m` values for the gripper.
    """

    rate_hz: float = _setting(200.0, "Set-points per second", 50.0, 500.0)
    rest_rate_hz: float = _setting(
        50.0,
        "The same while it holds; the driver's command_timeout_s must be longer than two of these",
        20.0,
        500.0,
    )
    stale_after_s: float = _setting(
        0.1, "Joint feedback older than this: smooth stop, hold", 0.02, 1.0
    )
    stall_after_s: float = _setting(
        0.05, "No tick for so long: go on from rest at the last set-point", 0.01, 1.0
    )
    give_up_after_s: float = _setting(
        1.0, "No tick for so long: hold at the last set-point, aborted", 0.1, 10.0
    )
    approach_above_rad: float = _setting(
        0.05, "A first point farther from the arm than this is approached slowly", 0.001, 0.5
    )
    approach_above_m: float = _setting(0.005, "The same for the gripper", 0.0005, 0.05)
    refuse_above_rad: float = _setting(
        0.5, "A first point farther from the arm than this is refused", 0.01, 3.2
    )
    refuse_above_m: float = _setting(0.08, "The same for the gripper", 0.001, 0.2)
    approach_speed_rad_s: float = _setting(
        0.4, "Largest joint speed of the slow approach", 0.01, 3.0
    )
    approach_speed_m_s: float = _setting(0.04, "The same for the gripper", 0.001, 0.2)
    rest_speed_rad_s: float = _setting(
        0.1, "A joint faster than this is moving: no start, not arrived", 0.005, 1.0
    )
    rest_speed_m_s: float = _setting(0.02, "The same for the gripper", 0.001, 0.2)
    limit_slack_rad: float = _setting(
        0.03, "A joint measured this little outside its limit starts at the limit", 0.0001, 0.1
    )
    limit_slack_m: float = _setting(0.003, "The same for the gripper", 0.0001, 0.01)
    limit_fraction: float = _setting(
        0.95, "Part of the arm's velocity, acceleration and jerk that plans use", 0.05, 0.99
    )
    smooth_within_rad: float = _setting(
        0.01, "Jitter beyond the limits is smoothed by at most this", 1e-6, 0.05
    )
    smooth_within_m: float = _setting(0.001, "The same for the gripper", 1e-7, 0.005)
    max_time_stretch: float = _setting(
        2.0, "A curve beyond the limits is slowed at most so many times", 1.0, 10.0
    )
    path_tolerance_rad: float = _setting(
        0.4, "Farther from its set-point than this: smooth stop, hold", 0.01, 3.0
    )
    goal_tolerance_rad: float = _setting(
        0.05, "At rest this near to the last point: done", 0.001, 1.0
    )
    plan_goal_tolerance_rad: float = _setting(
        0.15, "At rest this near to a plan's last point after goal_time_s: done", 0.001, 1.0
    )
    goal_time_s: float = _setting(
        1.0, "Not done so long after the last set-point: goal tolerance violated", 0.05, 30.0
    )

    max_duration_s: float = _setting(
        300.0, "A trajectory whose last point is due later than this is refused", 1.0, 3600.0
    )
    max_points: int = _setting(5000, "A trajectory of more points than this is refused", 1, 20000)
    max_plan_age_s: float = _setting(
        300.0, "A plan made longer ago than this is refused", 1.0, 3600.0
    )
    max_start_delay_s: float = _setting(
        10.0, "A start time farther ahead than this is refused", 0.0, 600.0
    )
    splice_ahead_s: float = _setting(
        0.25, "A running trajectory is left so long after its successor arrives", 0.02, 2.0
    )
    workspace_lower_m: tuple[float, ...] = _setting(
        (-0.3, -0.65, -0.01), "Lower corner of the tip's box, base frame", -2.0, 2.0
    )
    workspace_upper_m: tuple[float, ...] = _setting(
        (0.8, 0.65, 0.9), "Upper corner of the tip's box, base frame", -2.0, 2.0
    )
    workspace_margin_m: float = _setting(
        0.03, "The measured tip this far outside the box: smooth stop, hold", 0.0, 0.5
    )

    def __post_init__(self) -> None:
        for item in fields(ExecutorSettings):
            value, low, high = getattr(self, item.name), item.metadata[_LOW], item.metadata[_HIGH]
            if not all(low <= number <= high for number in np.atleast_1d(value)):
                raise ConfigError(
                    f"executor: {item.name} is {value}, allowed {low} to {high}: "
                    f"{item.metadata['text']}"
                )
        if not self.period_s < self.stall_after_s < self.give_up_after_s:
            raise ConfigError(
                f"executor: needs 1/rate_hz < stall_after_s < give_up_after_s, got "
                f"{self.period_s:.4f}, {self.stall_after_s}, {self.give_up_after_s}"
            )
        corners = self.workspace_lower_m, self.workspace_upper_m
        if [len(corner) for corner in corners] != [3, 3] or not (
            np.array(corners[0]) < np.array(corners[1])
        ).all():
            raise ConfigError(
                "executor: workspace_lower_m and workspace_upper_m need three numbers each (x, y, "
                f"z in the base frame), lower below upper; got {corners[0]} and {corners[1]}"
            )
        for unit in ("rad", "m"):
            slack, above, refuse = (
                getattr(self, f"{name}_{unit}")
                for name in ("limit_slack", "approach_above", "refuse_above")
            )
            if not slack < above < refuse:
                raise ConfigError(
                    f"executor: needs limit_slack_{unit} < approach_above_{unit} < "
                    f"refuse_above_{unit}, got {slack}, {above}, {refuse}"
                )

    @property
    def period_s(self) -> float:
        """Seconds between two set-points."""
        return 1.0 / self.rate_hz

    @property
    def rest_turns(self) -> int:
        """Periods between two set-points of a hold, 1 or more."""
        return max(1, round(self.rate_hz / self.rest_rate_hz))


def per_joint(arm: ArmModel, revolute: float, gripper: float) -> Float64:
    """One value per joint of the arm, [J]: `gripper` for the gripper, `revolute` for the rest."""
    return np.array([gripper if name == GRIPPER else revolute for name in arm.joint_names])


def settings_from(values: Mapping[str, object]) -> ExecutorSettings:
    """Build settings from named values; absent ones keep their default.

    Raises:
        ConfigError: an unknown name, a value that is no number, or values that contradict.
    """
    known = {item.name for item in fields(ExecutorSettings)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"executor: unknown parameters {unknown}; there are {sorted(known)}")
    defaults = {item.name: item.default for item in fields(ExecutorSettings)}
    return ExecutorSettings(
        **{name: _number(name, value, defaults[name]) for name, value in values.items()}
    )


def _number(name: str, value: object, default: object) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_number(name, item, 0.0) for item in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"executor: {name} is {value!r}, must be a number")
    if not isinstance(default, int):
        return float(value)
    if value != int(value):
        raise ConfigError(f"executor: {name} is {value!r}, must be a whole number")
    return int(value)


def load_settings(path: Path | str) -> ExecutorSettings:
    """Read the `executor` parameters of a ROS parameter file (`/**: ros__parameters: ...`).

    Parameters of the node that are none of the stream's (`NODE_ONLY`) are passed over.

    Raises:
        ConfigError: no such file, malformed, or values that contradict.
    """
    listed = read_document(path, ConfigError, "config/executor.yaml shows one")["/**"]
    values = {name: found.value for name, found in listed["ros__parameters"].entries().items()}
    for name in NODE_ONLY:
        values.pop(name, None)
    return settings_from(values)
