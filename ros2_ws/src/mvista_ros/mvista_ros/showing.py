"""What every display shows, RViz's and the browser's: the plan played over, how each node is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from trajectory_msgs.msg import JointTrajectory

from mvista_core.arm import ArmModel
from mvista_core.errors import TrajectoryError
from mvista_core.ports import Clock
from mvista_core.records import Float64
from mvista_core.timing import ns_to_seconds, seconds_to_ns

PAUSE_S = 1.0
"""Between two showings of a plan."""
SILENT_AFTER_S = 3.0


@dataclass(frozen=True)
class ShownPlan:
    """A plan in the arm file's joint order: positions [T, J], times [T] in seconds."""

    positions: Float64
    times_s: Float64

    @classmethod
    def of(cls, message: JointTrajectory, arm: ArmModel) -> ShownPlan:
        """Joints are mapped by name.

        Raises:
            TrajectoryError: empty, or not this arm's joints.
        """
        missing = [name for name in arm.joint_names if name not in message.joint_names]
        if missing or not message.points:
            raise TrajectoryError(
                TrajectoryError.EMPTY if not message.points else TrajectoryError.MISSING_JOINT,
                f"{len(message.points)} points, joints {list(message.joint_names)}; a plan of arm "
                f"'{arm.name}' has {list(arm.joint_names)}",
            )
        order = [list(message.joint_names).index(name) for name in arm.joint_names]
        positions = np.array([point.positions for point in message.points])[:, order]
        times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points]
        return cls(positions, np.array(times))

    def at(self, elapsed_s: float) -> Float64:
        """Joint positions [J] of the endless show, `PAUSE_S` at the end of each round."""
        moment_s = elapsed_s % (float(self.times_s[-1]) + PAUSE_S)
        return np.array([np.interp(moment_s, self.times_s, column) for column in self.positions.T])


@dataclass(frozen=True)
class NodeWord:
    """What one node last said of itself; `level` as `diagnostic_msgs/DiagnosticStatus` has it."""

    name: str
    level: bytes
    message: str


class NodeWords:
    """The newest word of every node, and which of them are not well."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[DiagnosticStatus, int]] = {}

    def hear(self, statuses: Sequence[DiagnosticStatus]) -> None:
        """Keep what came."""
        now_ns = self._clock.monotonic_ns()
        self._heard.update({status.name: (status, now_ns) for status in statuses})

    def all(self) -> tuple[NodeWord, ...]:
        """Every node's, the worst first, then by name; who is silent for long is in error."""
        now_ns = self._clock.monotonic_ns()
        found = []
        for name, (status, heard_ns) in self._heard.items():
            if now_ns - heard_ns > seconds_to_ns(SILENT_AFTER_S):
                age_s = ns_to_seconds(now_ns - heard_ns)
                found.append(NodeWord(name, DiagnosticStatus.ERROR, f"silent for {age_s:.0f} s"))
            else:
                found.append(NodeWord(name, status.level, status.message))
        return tuple(sorted(found, key=lambda word: (-word.level[0], word.name)))

    def troubles(self) -> tuple[NodeWord, ...]:
        """Of those that are not well."""
        return tuple(word for word in self.all() if word.level != DiagnosticStatus.OK)
