"""Recorded, replayed on an arm and recorded again, a motion is the same motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvista_core.errors import EpisodeError, TrajectoryError
from mvista_core.executor_settings import ExecutorSettings
from mvista_core.records import Float64, JointCommand, JointState
from mvista_executor.in_process import execute_in_process
from mvista_executor.report import Tick
from mvista_recorder.episode_reader import EpisodeReader
from mvista_recorder.motion import motion_of
from tests.contract.backends import ARMS, ArmBackend
from tests.recorder.filmed import filmed

pytestmark = [pytest.mark.contract, pytest.mark.slow]

STATES, COMMANDS = "/piper/joint_states", "/piper/joint_command"
PERIOD_S = 1 / 200
SWING_RAD = np.array([0.3, 0.25, -0.3, 0.2, 0.3, -0.4])


class Waiting:
    """The backend's own time, as the clock of whoever moves it."""

    def __init__(self, backend: ArmBackend) -> None:
        self._backend = backend
        self._now_ns = 0

    def now_ns(self) -> int:
        state = self._backend.arm.state()
        assert state is not None
        return state.stamp_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def sleep_until(self, monotonic_ns: int) -> None:
        while self._now_ns < monotonic_ns:
            self._backend.wait(PERIOD_S)
            self._now_ns += round(PERIOD_S * 1e9)


class Recording:
    """What an arm was told and what it measured, as a recorder hears it."""

    def __init__(self, backend: ArmBackend) -> None:
        self._backend = backend
        self.told: list[JointState] = []
        self.measured: list[JointState] = []

    def note(self, command: JointCommand | None) -> None:
        if command is not None:
            stamp_ns = command.stamp_ns + len(self.told) % 2  # no two alike
            self.told.append(
                JointState(command.names, command.positions, command.velocities, stamp_ns)
            )
        state = self._backend.arm.state()
        assert state is not None
        if not self.measured or state.stamp_ns > self.measured[-1].stamp_ns:
            self.measured.append(state)

    def episode(self, root: Path) -> EpisodeReader:
        return EpisodeReader(filmed(root, joints={STATES: self.measured, COMMANDS: self.told}))


def taught(backend: ArmBackend) -> Recording:
    """A hand's motion of four seconds, streamed at 200 Hz as teleoperation streams it."""
    found, names = Recording(backend), backend.model.joint_names
    start = backend.arm.state()
    assert start is not None
    count = round(4.0 / PERIOD_S)
    for k in range(count + 40):
        share = min(k / count, 1.0)
        swing = np.sin(np.pi * share) ** 2 * np.sin(2 * np.pi * share)
        positions = start.positions.copy()
        positions[:6] += SWING_RAD * swing
        positions[6] = backend.model.upper[6] * (0.5 - 0.5 * np.cos(2 * np.pi * share)) * 0.8
        positions[6] = max(positions[6], start.positions[6] * (1 - share))
        state = backend.arm.state()
        assert state is not None
        command = JointCommand(names, positions, np.zeros(len(names)), state.stamp_ns)
        backend.arm.send(command)
        backend.wait(PERIOD_S)
        found.note(command)
    return found


def replayed(backend: ArmBackend, episode: EpisodeReader) -> Recording:
    found = Recording(backend)

    def tick(ticked: Tick) -> None:
        found.note(ticked.command)

    report = execute_in_process(
        backend.arm,
        motion_of(episode),
        backend.model,
        Waiting(backend),
        ExecutorSettings(),
        on_tick=tick,
    )
    assert report.error is None, report.error
    return found


def farthest_rad(first: Recording, second: Recording) -> float:
    """Between the measured joints of both, the second brought to the time at which it fits best."""
    a, b = (np.array([state.positions[:6] for state in one.measured]) for one in (first, second))
    at_s = [np.array([s.stamp_ns for s in one.measured]) / 1e9 for one in (first, second)]
    at_s = [times - times[0] for times in at_s]

    def apart(shift_s: float) -> float:
        inside = (at_s[0] + shift_s >= 0) & (at_s[0] + shift_s <= at_s[1][-1])
        moved: list[Float64] = [
            np.interp(at_s[0][inside] + shift_s, at_s[1], b[:, joint]) for joint in range(6)
        ]
        return float(np.abs(np.stack(moved, axis=1) - a[inside]).max())

    return min(apart(shift_s) for shift_s in np.arange(-0.1, 0.4, 0.0005))


@pytest.mark.parametrize("name", sorted(ARMS))
def test_recorded_replayed_and_recorded_again_it_is_within_2_mrad(
    name: str, tmp_path: Path
) -> None:
    with ARMS[name]() as backend:
        first = taught(backend)
        backend.wait(0.5)
        second = replayed(backend, first.episode(tmp_path / "first"))
        assert np.ptp([s.positions[0] for s in first.measured]) > 0.2, "it moved"
        assert farthest_rad(first, second) < 0.002


def test_the_executor_refuses_a_motion_that_begins_elsewhere(tmp_path: Path) -> None:
    with ARMS["sim"]() as backend:
        episode = taught(backend).episode(tmp_path)
        far = motion_of(episode)
        far.positions[:, 0] += 1.0
        with pytest.raises(TrajectoryError, match="apart"):
            execute_in_process(backend.arm, far, backend.model, Waiting(backend))


def test_an_arm_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    with ARMS["sim"]() as backend:
        episode = taught(backend).episode(tmp_path)
    with pytest.raises(EpisodeError, match=r"has the arms \['piper'\]"):
        motion_of(episode, "left")
