"""Every refusal has its number, happens before anything moves, and sends nothing."""

from __future__ import annotations

import numpy as np
import pytest

from mvista_core.arm import ArmModel
from mvista_core.errors import (
    ArmNotReadyError,
    ConfigError,
    MvistaError,
    ObservationError,
    StaleFeedbackError,
    TrajectoryError,
)
from mvista_core.executor_settings import ExecutorSettings, load_settings, settings_from
from mvista_core.records import ActionTrajectory, JointState, Provenance
from mvista_core.timing import ManualClock
from mvista_executor.in_process import execute_in_process
from mvista_executor.stream import ExecutionStream
from tests.executor.rig import FollowerArm, smooth_points, trajectory_of

NAMES = ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6", "gripper")
E = TrajectoryError


def _bad(arm: ArmModel, case: str) -> ActionTrajectory:
    points = smooth_points(arm, 3)
    times_s = np.arange(1, 97) / 15.0
    names = list(arm.joint_names)
    if case == "nan":
        points[40, 2] = np.nan
    elif case == "inf":
        points[40, 2] = np.inf
    elif case == "nan time":
        times_s[50] = np.nan
    elif case == "unknown":
        names[0] = "elbow"
    elif case == "repeated":
        names[1] = names[0]
    elif case == "missing":
        names, points = names[1:], points[:, 1:]
    elif case == "wrist alone":
        names, points = names[3:6], points[:, 3:6]
    elif case == "none":
        names, points = [], points[:, :0]
    elif case == "empty":
        points, times_s = points[:0], times_s[:0]
    elif case == "equal times":
        times_s[50] = times_s[49]
    elif case == "decreasing times":
        times_s[50] = times_s[48]
    elif case == "time zero":
        times_s = times_s - times_s[0]
    elif case == "above":
        points[60:, 4] = arm.upper[4] + 0.001
    elif case == "below":
        points[60:, 6] = -0.001
    elif case == "fast":
        points[60:, 0] += 0.4
    elif case == "hard":
        points[::2, 0] += 0.06
    elif case == "far":
        points[:, 0] += 0.52
    return ActionTrajectory(tuple(names), points, times_s, Provenance("p", "s", 0))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("nan", E.NOT_FINITE),
        ("inf", E.NOT_FINITE),
        ("nan time", E.NOT_FINITE),
        ("unknown", E.UNKNOWN_JOINT),
        ("repeated", E.REPEATED_JOINT),
        ("missing", E.MISSING_JOINT),
        ("wrist alone", E.MISSING_JOINT),
        ("none", E.MISSING_JOINT),
        ("empty", E.EMPTY),
        ("equal times", E.TIMES_NOT_INCREASING),
        ("decreasing times", E.TIMES_NOT_INCREASING),
        ("time zero", E.TIMES_NOT_INCREASING),
        ("above", E.POSITION_LIMIT),
        ("below", E.POSITION_LIMIT),
        ("fast", E.VELOCITY_LIMIT),
        ("hard", E.ACCELERATION_LIMIT),
        ("far", E.START_TOO_FAR),
    ],
)
def test_refused_whole(arm: ArmModel, settings: ExecutorSettings, case: str, reason: int) -> None:
    clock = ManualClock(10**9)
    follower = FollowerArm(arm, clock, arm.home)
    with pytest.raises(TrajectoryError, match=rf"\[50\.{reason}\]") as caught:
        execute_in_process(follower, _bad(arm, case), arm, clock, settings)
    assert caught.value.reason == reason
    assert follower.commands == []


def test_refusal_leaves_the_stream_idle(arm: ArmModel, settings: ExecutorSettings) -> None:
    clock = ManualClock(10**9)
    follower = FollowerArm(arm, clock, arm.home)
    stream = ExecutionStream(arm, settings, clock)
    with pytest.raises(TrajectoryError):
        stream.start(_bad(arm, "nan"), follower.state())
    assert stream.tick(follower.state()).command is None


def _state(arm: ArmModel, clock: ManualClock, **change: object) -> JointState:
    values: dict[str, object] = {
        "names": arm.joint_names,
        "positions": arm.home.copy(),
        "velocities": np.zeros(7),
        "stamp_ns": clock.now_ns(),
    }
    values.update(change)
    return JointState(**values)  # type: ignore[arg-type]


def test_arm_that_cannot_start(arm: ArmModel, settings: ExecutorSettings) -> None:
    clock = ManualClock(10**10)
    outside, nan = arm.home.copy(), arm.home.copy()
    outside[6], nan[1] = -0.01, np.nan
    moving = np.eye(7)[2] * 0.4
    cases: list[tuple[JointState | None, type[MvistaError]]] = [
        (None, StaleFeedbackError),
        (_state(arm, clock, stamp_ns=clock.now_ns() - 150_000_000), StaleFeedbackError),
        (_state(arm, clock, stamp_ns=clock.now_ns() + 150_000_000), StaleFeedbackError),
        (_state(arm, clock, positions=nan), StaleFeedbackError),
        (_state(arm, clock, positions=outside), ArmNotReadyError),
        (_state(arm, clock, velocities=moving), ArmNotReadyError),
        (
            _state(arm, clock, names=NAMES[:6], positions=arm.home[:6], velocities=np.zeros(6)),
            ObservationError,
        ),
    ]
    for measured, kind in cases:
        stream = ExecutionStream(arm, settings, clock)
        with pytest.raises(kind):
            stream.start(trajectory_of(arm, smooth_points(arm, 3)), measured)
        assert stream.tick(measured).command is None


@pytest.mark.parametrize(
    "values",
    [
        {"rate_hz": 0.0},
        {"rate_hz": 10.0},
        {"give_up_after_s": 0.04},
        {"approach_above_rad": 0.6},
        {"limit_fraction": 1.0},
        {"max_time_stretch": 0.5},
        {"rate": 200.0},
        {"rate_hz": "200"},
    ],
)
def test_settings_that_contradict(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        settings_from(values)


def test_shipped_settings_are_the_defaults(shipped: ExecutorSettings) -> None:
    assert shipped == ExecutorSettings()
    with pytest.raises(ConfigError, match="no file nowhere.yaml"):
        load_settings("nowhere.yaml")
