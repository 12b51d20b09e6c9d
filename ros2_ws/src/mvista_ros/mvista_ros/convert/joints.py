"""Joint states, joint commands and trajectories."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mvista_core.errors import ObservationError, TrajectoryError
from mvista_core.records import ActionTrajectory, Float64, JointCommand, JointState, Provenance
from mvista_core.timing import ns_to_seconds, seconds_to_ns
from mvista_ros.convert.stamps import header, ns_to_duration, stamp_to_ns


def joint_state_to_msg(state: JointState, frame_id: str = "") -> JointStateMsg:
    """Measured joints to `sensor_msgs/JointState`."""
    return _joints(state.names, state.positions, state.velocities, state.stamp_ns, frame_id)


def joint_state_from_msg(message: JointStateMsg) -> JointState:
    """`sensor_msgs/JointState` to measured joints; absent velocities read as 0.

    Raises:
        ObservationError: names, positions and velocities of different lengths, a name twice, or a
            value that is not finite.
    """
    positions, velocities = _joint_arrays(message)
    if len(set(message.name)) < len(message.name):
        raise ObservationError(f"a joint is named twice: {list(message.name)}")
    if not (np.isfinite(positions).all() and np.isfinite(velocities).all()):
        raise ObservationError(
            f"positions {positions.tolist()} or velocities {velocities.tolist()} are not finite"
        )
    return JointState(tuple(message.name), positions, velocities, stamp_to_ns(message.header.stamp))


def joint_command_to_msg(command: JointCommand) -> JointStateMsg:
    """One set-point to `sensor_msgs/JointState`, the type of `<arm>/joint_command`."""
    return _joints(command.names, command.positions, command.velocities, command.stamp_ns, "")


def joint_command_from_msg(message: JointStateMsg) -> JointCommand:
    """One set-point of `<arm>/joint_command`; absent velocities read as 0.

    Raises:
        ObservationError: names, positions and velocities of different lengths.
    """
    positions, velocities = _joint_arrays(message)
    stamp_ns = stamp_to_ns(message.header.stamp)
    return JointCommand(tuple(message.name), positions, velocities, stamp_ns)


def _joints(
    names: Sequence[str], positions: Float64, velocities: Float64, stamp_ns: int, frame_id: str
) -> JointStateMsg:
    return JointStateMsg(
        header=header(stamp_ns, frame_id),
        name=list(names),
        position=doubles(positions),
        velocity=doubles(velocities),
    )


def _joint_arrays(message: JointStateMsg) -> tuple[Float64, Float64]:
    count = len(message.name)
    positions = np.array(message.position, dtype=np.float64)
    velocities = (
        np.array(message.velocity, dtype=np.float64) if message.velocity else np.zeros(count)
    )
    if len(positions) != count or len(velocities) != count:
        raise ObservationError(
            f"{count} joint names with {len(positions)} positions and {len(velocities)} velocities"
        )
    return positions, velocities


def doubles(values: NDArray[np.floating]) -> array.array[float]:
    """Values [N] as rclpy copies them in one piece."""
    return array.array("d", np.asarray(values, dtype=np.float64).tobytes())


def trajectory_to_msg(trajectory: ActionTrajectory, stamp_ns: int = 0) -> JointTrajectory:
    """An action trajectory; `stamp_ns` 0 means "start at once" (control_msgs convention)."""
    points = [
        JointTrajectoryPoint(
            positions=doubles(positions), time_from_start=ns_to_duration(seconds_to_ns(float(t)))
        )
        for positions, t in zip(trajectory.positions, trajectory.times_s, strict=True)
    ]
    return JointTrajectory(
        header=header(stamp_ns, ""), joint_names=list(trajectory.joint_names), points=points
    )


def trajectory_from_msg(message: JointTrajectory, provenance: Provenance) -> ActionTrajectory:
    """An action trajectory; velocities and accelerations of the points are not read.

    Only the shape is checked here; limits and times are the executor's to check.

    Raises:
        TrajectoryError: no points (EMPTY), or a point without one position per joint (SHAPE).
    """
    joints = len(message.joint_names)
    if not message.points:
        raise TrajectoryError(TrajectoryError.EMPTY, "the trajectory has no points; at least 1")
    positions, times_s = np.empty((len(message.points), joints)), np.empty(len(message.points))
    # Point by point: one call for all of them would keep the interpreter from other threads.
    for index, point in enumerate(message.points):
        if len(point.positions) != joints:
            raise TrajectoryError(
                TrajectoryError.SHAPE,
                f"point {index} has {len(point.positions)} positions for {joints} joints",
            )
        positions[index] = point.positions
        times_s[index] = ns_to_seconds(stamp_to_ns(point.time_from_start))
    return ActionTrajectory(tuple(message.joint_names), positions, times_s, provenance)
