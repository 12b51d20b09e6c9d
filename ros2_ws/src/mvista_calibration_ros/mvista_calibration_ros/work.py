"""What the goals ask for, without a node: collect, solve, verify, and how that stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mvista_calibration.judge.verify import Verification
from mvista_calibration.pipeline import METHODS
from mvista_calibration.recorded import Solved, SolveRequest, solve, verify
from mvista_calibration_ros.collector import Collected, Collector, Guidance, Tell
from mvista_calibration_ros.frames import FrameBuffer
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_core.arm import load_arm
from mvista_core.errors import CalibrationError, CancelledError
from mvista_core.ports import Clock, Progress
from mvista_ros.base_node import Health, Level

SILENT_S = 3.0


class CalibrationWork:
    """One goal of each kind at a time, on threads that may wait.

    `guidance` is what the last look brought, `last` how the last goal ended, in words.
    """

    def __init__(self, settings: CalibrationParameters, buffer: FrameBuffer, clock: Clock) -> None:
        """Raises:
        CalibrationError, ConfigError: the board cannot be, or the arm file cannot be used.
        """
        arm = load_arm(settings.arm_file) if settings.board_on_gripper else None
        self._settings, self._buffer, self._clock = settings, buffer, clock
        # Refused here, not at the first goal.
        self._board = settings.board
        self._collector = Collector(settings, buffer, clock, arm)
        self.guidance: Guidance | None = None
        self.last = "no goal yet"

    def record(self, folder: Path, shots: int, scene: bool, tell: Tell) -> Collected:
        """Shots into `folder`, or the scene's depth beside them; see `Collector`."""
        if scene:
            return self._collector.record_scene(folder)
        return self._collector.collect(folder, shots, tell)

    def collect(self, session: str, shots: int, scene: bool, progress: Progress) -> Collected:
        """A session by name or folder; `ConfigError` where none is named, else as `record`."""
        folder = self._settings.session_folder(session)
        self.last = f"collecting into {folder}"
        tell = self._teller(progress)
        if scene and not progress("scene", 0.0):
            raise CancelledError("cancelled before the scene was recorded")
        found = self.record(folder, shots, scene, tell)
        self.last = f"{found.coverage.shots} shots in {folder}"
        return found

    def solve(self, session: str, rig: str, method: str, progress: Progress) -> Solved:
        """See `mvista_calibration.recorded.solve`; an empty method is ours."""
        settings = self._settings
        asked = SolveRequest(
            settings.session_folder(session),
            rig,
            Path(settings.rigs_folder),
            method or METHODS[0],
            settings.base_frame,
            settings.keep_lenses,
        )
        return solve(asked, self._clock, progress)

    def verify(self, rig_file: str, session: str, shots: int, progress: Progress) -> Verification:
        """A rig against a session, or (without one) against shots taken now; see `verify`."""
        if not rig_file:
            raise CalibrationError("verify needs a rig_file, such as config/rigs/sim_cell.yaml")
        tell = self._teller(progress)
        if session:
            folder = self._settings.session_folder(session)
        else:
            stamp = f"verify_{self._clock.now_ns() // 1_000_000_000}"
            folder = Path(self._settings.sessions_folder) / stamp
            self._collector.collect(folder, 0, tell, self._settings.verify_limits(shots))
        found = verify(folder, Path(rig_file), progress)
        self.last = found.words
        return found

    def health(self, working: bool) -> Health:
        """Ages of the cameras' images, shots and advice, how the last goal ended."""
        ages = self._buffer.ages_s()
        silent = [name for name, age in ages.items() if age is None or age > SILENT_S]
        values = [
            (f"{name} age", "no image" if age is None else f"{age:.2f} s")
            for name, age in ages.items()
        ]
        if self.guidance is not None:
            coverage = self.guidance.coverage
            values += [("shots", str(coverage.shots)), ("next", coverage.advice)]
        values.append(("last goal", self.last))
        if silent and working:
            return Health(Level.WARN, f"silent: {', '.join(silent)}", tuple(values))
        return Health(Level.OK, "working" if working else "waiting for a goal", tuple(values))

    def _teller(self, progress: Progress) -> Callable[[Guidance], bool]:
        self.guidance = None

        def tell(guidance: Guidance) -> bool:
            self.guidance = guidance
            return progress(guidance.stage, guidance.progress)

        return tell
