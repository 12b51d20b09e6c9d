"""A small arm that follows set-points with lag, under a clock that only moves when told."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import ArmModel
from mvista_core.records import ActionTrajectory, Float64, JointCommand, JointState, Provenance
from mvista_core.timing import ManualClock, ns_to_seconds


class FollowerArm:
    """First-order lag towards the newest set-point; behind the `Arm` port."""

    def __init__(self, arm: ArmModel, clock: ManualClock, positions: Float64) -> None:
        self.names = arm.joint_names
        self.clock = clock
        self.positions = np.array(positions, dtype=float)
        self.velocities = np.zeros_like(self.positions)
        self.commands: list[tuple[float, JointCommand]] = []
        self.holds = 0
        self.lag_s = 0.02
        self.silent_after_s = np.inf
        self._last_state: JointState | None = None
        self._at_ns = clock.monotonic_ns()

    def state(self) -> JointState | None:
        now_ns = self.clock.monotonic_ns()
        step_s = ns_to_seconds(now_ns - self._at_ns)
        self._at_ns = now_ns
        if self.commands and step_s > 0:
            target = self.commands[-1][1].positions
            moved = (target - self.positions) * (1 - np.exp(-step_s / self.lag_s))
            self.positions = self.positions + moved
            self.velocities = moved / step_s
        if ns_to_seconds(now_ns) <= self.silent_after_s:
            self._last_state = JointState(
                self.names, self.positions.copy(), self.velocities.copy(), self.clock.now_ns()
            )
        return self._last_state

    def send(self, command: JointCommand) -> None:
        self.commands.append((ns_to_seconds(self.clock.monotonic_ns()), command))

    def hold(self) -> None:
        self.holds += 1

    @property
    def sent(self) -> tuple[Float64, Float64]:
        return (
            np.array([time_s for time_s, _ in self.commands]),
            np.array([command.positions for _, command in self.commands]),
        )


def smooth_points(arm: ArmModel, seed: int, count: int = 96, reach: float = 0.6) -> Float64:
    """Points [count, J] from home along slow waves into the room each joint has; never a kink.

    Joints with room on both sides also get a sine, so that they begin and end while moving.
    """
    random = np.random.default_rng(seed)
    times_s = np.arange(1, count + 1)[:, None] / 15.0
    up, down = arm.upper - arm.home, arm.home - arm.lower
    room = np.where(up > down, up, -down)
    points = np.tile(arm.home, (count, 1))
    for _ in range(2):
        rate = 2 * np.pi * random.uniform(0.05, 0.4, len(room))
        points += (
            random.uniform(0, 0.4 * reach, len(room)) * room * 0.5 * (1 - np.cos(rate * times_s))
        )
    free = np.minimum(up, down)
    rate = 2 * np.pi * random.uniform(0.05, 0.4, len(room))
    return points + random.uniform(-0.15, 0.15, len(room)) * reach * free * np.sin(rate * times_s)


def trajectory_of(
    arm: ArmModel, points: Float64, times_s: Float64 | None = None
) -> ActionTrajectory:
    times_s = np.arange(1, len(points) + 1) / 15.0 if times_s is None else times_s
    return ActionTrajectory(arm.joint_names, points, times_s, Provenance("plan", "sha", 0))


def assert_within_limits(arm: ArmModel, times_s: Float64, sent: Float64) -> None:
    """Position, velocity, acceleration and jerk of what was sent, by divided differences.

    Before the first and after the last set-point the arm rests.
    """
    assert (sent >= arm.lower - 1e-12).all() and (sent <= arm.upper + 1e-12).all()
    before = times_s[0] + 0.005 * np.array([-3.0, -2.0, -1.0])
    times_s = np.concatenate([before, times_s])
    sent = np.vstack([np.tile(sent[0], (3, 1)), sent])
    differences = sent
    for order, limit in enumerate((arm.max_velocity, arm.max_acceleration, arm.max_jerk), 1):
        spans = (times_s[order:] - times_s[:-order])[:, None]
        differences = order * np.diff(differences, axis=0) / spans
        shortest = np.diff(times_s).min()
        bound = limit * (1 + 1e-5) + 4e-10 / shortest**order
        worst = np.unravel_index(np.argmax(np.abs(differences) - bound), differences.shape)
        assert (np.abs(differences) <= bound).all(), (
            f"derivative {order} of {arm.joint_names[worst[1]]} is {differences[worst]:.5f} at "
            f"{times_s[worst[0]]:.3f} s, at most {limit[worst[1]]}"
        )


def assert_within_limits_between_stalls(
    arm: ArmModel, times_s: Float64, sent: Float64, stall_s: float
) -> None:
    """The same between gaps longer than `stall_s`; across such a gap nothing moves."""
    stalls = np.flatnonzero(np.diff(times_s) > stall_s)
    for begin, end in zip([0, *(stalls + 1)], [*(stalls + 1), len(sent)], strict=True):
        assert_within_limits(arm, times_s[begin:end], sent[begin:end])
    assert np.allclose(sent[stalls], sent[stalls + 1], rtol=0, atol=1e-12)
