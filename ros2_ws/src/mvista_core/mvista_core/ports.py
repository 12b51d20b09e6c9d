"""The seams a backend plugs into. A backend is one file behind one port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mvista_core.errors import MvistaError
from mvista_core.records import (
    AS_TRAINED,
    CameraFrame,
    Doubt,
    ImagineOptions,
    InferredPlan,
    JointCommand,
    JointState,
    Observation,
    Rollout,
)

Progress = Callable[[str, float], bool]
"""`progress(stage, fraction)`: called with fraction in [0, 1]; returns False to ask for a stop."""


class Clock(Protocol):
    """Wall time for stamps, monotonic time for intervals."""

    def now_ns(self) -> int: ...

    def monotonic_ns(self) -> int: ...

    def sleep_until(self, monotonic_ns: int) -> None: ...


class FrameSource(Protocol):
    """Cameras, real, simulated or replayed."""

    def cameras(self) -> Sequence[str]:
        """Names of the cameras, in rig order."""

    def latest(self, camera: str) -> CameraFrame | None:
        """The newest frame of one camera, or None before the first."""


class Arm(Protocol):
    """One arm. A stop is a hold: no backend disables the motors."""

    def state(self) -> JointState | None:
        """The newest measured state; None while there is none that can be trusted."""

    def send(self, command: JointCommand) -> None:
        """Track one set-point, or refuse it whole.

        Raises:
            TrajectoryError: malformed, outside the limits, or a jump.
            StaleFeedbackError: feedback is lost. ArmNotReadyError: the arm takes no set-points now.
        """

    def hold(self) -> None:
        """Stop smoothly and keep the position."""


class Leader(Protocol):
    """What a hand moves and a follower mirrors: an arm, or a simulated one. It is never moved."""

    def pose(self) -> JointState | None:
        """Where it stood when it last said so, stamped by capture; None while that is unknown."""

    def trouble(self) -> MvistaError | None:
        """Why its pose cannot be counted on now; None while it moves or rests.

        `LeaderError`: it was not moved yet. `LeaderLostError`: it, or its bus, is gone.
        """


class Planner(Protocol):
    """Imagines a future, then recovers the actions that explain it."""

    def imagine(
        self,
        observation: Observation,
        source_camera: str,
        target_cameras: Sequence[str],
        seed: int,
        progress: Progress,
        options: ImagineOptions = AS_TRAINED,
    ) -> Rollout: ...

    def infer_actions(
        self, rollout_id: str, initialisation: str, steps: int, progress: Progress
    ) -> InferredPlan: ...

    def judge(self, rollout_id: str, plan: InferredPlan, progress: Progress) -> tuple[Doubt, ...]:
        """What speaks against this future and this plan."""
