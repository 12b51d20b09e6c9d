"""A recorded arm behind the `Arm` port: it serves what was measured and obeys no one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from mvista_core.errors import ArmNotReadyError, ConfigError
from mvista_core.ports import Clock
from mvista_core.records import JointCommand, JointState
from mvista_piper.setpoints import positions_of


class ReplayArm:
    """Joint states of a recording, served at the pace they were measured at.

    The recording begins when the arm is made; its stamps are moved to the clock's time, the spaces
    between them are kept. After the last state it stands still there, no longer fresh.
    """

    def __init__(self, states: Sequence[JointState], clock: Clock) -> None:
        """Raises ConfigError: no states, changing joints, or stamps that do not increase."""
        if not states:
            raise ConfigError("a replay needs at least 1 joint state; the recording has 0")
        for index in range(1, len(states)):
            before, after = states[index - 1], states[index]
            if after.names != before.names or after.stamp_ns <= before.stamp_ns:
                raise ConfigError(
                    f"joint state {index} does not follow {index - 1}: stamps {before.stamp_ns}, "
                    f"{after.stamp_ns}; joints {list(before.names)}, {list(after.names)}"
                )
        self._states, self._clock = tuple(states), clock
        self._stamps_ns = [state.stamp_ns for state in states]
        self._began_ns = clock.monotonic_ns()
        self._shift_ns = clock.now_ns() - states[0].stamp_ns

    def state(self) -> JointState:
        """The newest state of the recording that is due now."""
        elapsed_ns = self._clock.monotonic_ns() - self._began_ns
        due = bisect_right(self._stamps_ns, self._stamps_ns[0] + elapsed_ns)
        found = self._states[max(due - 1, 0)]
        stamp_ns = found.stamp_ns + self._shift_ns
        return JointState(found.names, found.positions.copy(), found.velocities.copy(), stamp_ns)

    def send(self, command: JointCommand) -> None:
        """Refuse a set-point: first for what is wrong with it, then because this is a recording.

        Raises:
            TrajectoryError: a malformed command. ArmNotReadyError: any other.
        """
        positions_of(command, self._states[0].names, self._states[0].positions)
        raise ArmNotReadyError("this arm is a recording; it takes no set-points")

    def hold(self) -> None:
        """A recording is not stopped."""
