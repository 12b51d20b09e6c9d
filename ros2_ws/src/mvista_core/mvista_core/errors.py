"""The one exception tree. Each class carries the numbered code that the ROS actions return.

A message says what was wrong, what is allowed, and where to look. Codes are stable: they are
part of the action interface (`mvista_interfaces/msg/Outcome`).
"""

from __future__ import annotations

from collections.abc import Sequence


class MvistaError(Exception):
    """Base of everything the stack raises on purpose."""

    code: int = 1


class ConfigError(MvistaError):
    """A file, parameter or preset cannot be used as it stands."""

    code = 10


class RigError(ConfigError):
    """A rig file is missing, malformed, or was refused by calibration's gate."""

    code = 11


class CalibrationError(MvistaError):
    """Calibration cannot use what it was given, or cannot answer: nothing is written."""

    code = 13


class NoBoardError(CalibrationError):
    """This image shows too little of the board, or none: take another view, or leave it out."""

    code = 14


class WrongBoardError(CalibrationError):
    """This image shows markers, but not those of the board described."""

    code = 15


class WeightsError(ConfigError):
    """Weights are missing, truncated or altered."""

    code = 12


class InstructionError(MvistaError):
    """The instruction is none the model was trained on."""

    code = 20

    @classmethod
    def unknown(cls, instruction: str, templates: Sequence[str]) -> InstructionError:
        listed = "; ".join(f'"{template}"' for template in templates)
        return cls(f'unknown instruction "{instruction}"; this checkpoint knows: {listed}')


class ObservationError(MvistaError):
    """The observation cannot be used: a view is missing, stale or malformed."""

    code = 30


class CameraSilentError(ObservationError):
    """A camera topic delivered nothing within the time allowed."""

    code = 31


class StaleFeedbackError(MvistaError):
    """Joint feedback is missing or older than allowed: nothing may move."""

    code = 32


class ArmNotReadyError(MvistaError):
    """The arm cannot start from where it is: it moves, or stands outside its limits."""

    code = 33


class IdentityError(ArmNotReadyError):
    """The arm is not one this driver may move: firmware, role or limits are wrong or unknown."""

    code = 34


class EnableError(ArmNotReadyError):
    """A motor did not enable, or the arm did not take the control mode, in the time allowed."""

    code = 35


class BusLostError(StaleFeedbackError):
    """The arm's bus is gone: frames can no longer be sent or received."""

    code = 36


class ArmFaultError(ArmNotReadyError):
    """The arm or its bus reported a fault: it holds until the operator re-arms it."""

    code = 37


class CameraError(ObservationError):
    """A camera cannot be opened or used as configured (link, profile, sync), or it went away."""

    code = 38


class RivalWritersError(ArmNotReadyError):
    """More than one node writes an arm's set-points: none is taken, the arm holds."""

    code = 39


class TapError(ObservationError):
    """A camera's tap cannot be served or read: in use, no place for it, or foreign bytes."""

    code = 41


class LeaderError(MvistaError):
    """The leader arm gives no pose to follow: it was not moved yet, or it cannot be told."""

    code = 45


class LeaderLostError(LeaderError):
    """The leader arm is gone: its bus, its answers, or its set-points in the middle of a motion."""

    code = 46


class FarApartError(LeaderError):
    """Leader and follower stand too far apart to be coupled."""

    code = 47


class RolloutError(MvistaError):
    """The rollout asked for is not held by this planner (expired, or another process)."""

    code = 40


class TrajectoryError(MvistaError):
    """A trajectory was refused whole before anything moved. `reason` is a stable number."""

    code = 50

    NOT_FINITE = 1
    UNKNOWN_JOINT = 2
    REPEATED_JOINT = 3
    MISSING_JOINT = 4
    TIMES_NOT_INCREASING = 5
    POSITION_LIMIT = 6
    VELOCITY_LIMIT = 7
    ACCELERATION_LIMIT = 8
    START_TOO_FAR = 9
    EMPTY = 10
    SHAPE = 11
    JERK_LIMIT = 12
    WORKSPACE = 13
    TOO_OLD = 14
    UNSUPPORTED = 15
    TOO_LATE = 16
    TOO_LARGE = 17
    PLANNING_FAILED = 18

    def __init__(self, reason: int, message: str) -> None:
        super().__init__(f"[{self.code}.{reason}] {message}")
        self.reason, self._message = reason, message

    def __reduce__(self) -> tuple[type[TrajectoryError], tuple[int, str]]:
        """Plans are made in a process of their own: a refusal comes back as it was raised."""
        return type(self), (self.reason, self._message)


class BusyError(MvistaError):
    """One task at a time: a second one is refused, never queued."""

    code = 60


class CancelledError(MvistaError):
    """The caller cancelled; the arm holds."""

    code = 61


class OperatorRefusedError(MvistaError):
    """The operator looked at the imagined rollout and declined to execute it."""

    code = 62


class GateError(MvistaError):
    """The plan was refused between inference and execution; `reason` is a stable number."""

    code = 63

    TOO_OLD = 1
    GOAL = 2
    VIEWS = 3
    WORKSPACE = 4
    SOURCE = 5
    TARGETS = 6

    def __init__(self, message: str, reason: int = 0) -> None:
        super().__init__(message)
        self.reason = reason


class PreemptedError(MvistaError):
    """A newer trajectory took over; the arm goes on with that one."""

    code = 64


class ExecutionError(MvistaError):
    """Execution began and could not be finished; the arm holds."""

    code = 70


class PathToleranceError(ExecutionError):
    """The arm strayed farther from its set-points than allowed; it holds."""

    code = 71


class GoalToleranceError(ExecutionError):
    """The arm did not come to rest at the last point in the time allowed; it holds."""

    code = 72


class WorkspaceError(ExecutionError):
    """The tip left the box it may work in; the arm holds."""

    code = 73


class UnavailableError(MvistaError):
    """A node's service or action does not answer: it is not running, or on another domain."""

    code = 80


class EpisodeError(MvistaError):
    """A recorded episode cannot be read as it stands: torn, altered, or no episode at all."""

    code = 90


class RecordingError(MvistaError):
    """The recorder refuses what it was told, or cannot write; what it has written is kept."""

    code = 91


class StreamError(RecordingError):
    """A stream that is to be recorded is missing, slow, stale, or of another size than it was."""

    code = 92


class DiskSpaceError(RecordingError):
    """Less of the disk is free than the recorder leaves to others, or nothing is."""

    code = 93
