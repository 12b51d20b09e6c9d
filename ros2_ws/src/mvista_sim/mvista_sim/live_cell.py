"""The cell in real time: physics on one thread, rendering on another, wall-clock stamps. No ROS.

Rendering works on a copy of the physics state and owns its GL context, so drawing four cameras
never delays the joint loop by more than the copy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import mujoco
import numpy as np

from mvista_core import realtime
from mvista_core.ports import Clock
from mvista_core.records import CameraFrame, Float64, JointCommand, JointState
from mvista_core.timing import seconds_to_ns
from mvista_sim.cameras import CellRenderer, TofNoise
from mvista_sim.cell import SimCell, TaskResult

CATCH_UP_S = 0.05
"""Later than this the loop drops the lost time instead of catching up in a burst."""


class LiveCell:
    """Runs a `SimCell` against the wall clock and hands out states and frames as they come.

    `on_state` is called from the physics thread, `on_frame` from the rendering thread, and only
    for a camera that `is_watched`: what nobody sees is not drawn.
    """

    def __init__(
        self,
        cell: SimCell,
        clock: Clock,
        on_state: Callable[[JointState], None],
        on_frame: Callable[[CameraFrame], None],
        is_watched: Callable[[str], bool] = lambda camera: True,
        joint_rate_hz: float = 200.0,
        frame_rate_hz: float = 15.0,
        noise: TofNoise | None = None,
    ) -> None:
        self._cell = cell
        self._clock = clock
        self._on_state = on_state
        self._on_frame = on_frame
        self._is_watched = is_watched
        self._joint_period_s = 1.0 / joint_rate_hz
        self._frame_period_s = 1.0 / frame_rate_hz
        self._noise = noise or TofNoise()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), name=name)
            for name, loop in (("physics", self._run_physics), ("rendering", self._run_rendering))
        ]

    def start(self) -> None:
        """Let time pass."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads; the arm stays where it holds."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def check(self) -> None:
        """Raise what ended a thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def send(self, command: JointCommand) -> None:
        """Track one set-point; see `SimCell.send`."""
        with self._lock:
            self._cell.send(command)

    def hold(self) -> None:
        """Stop smoothly; see `SimCell.hold`."""
        with self._lock:
            self._cell.hold()

    def follow(self, state: JointState) -> None:
        """Move as another arm is measured to; see `SimCell.follow`."""
        with self._lock:
            self._cell.follow(state)

    def reset(self, task: str, seed: int) -> str:
        """Lay another scene out; returns its instruction; see `SimCell.reset`."""
        with self._lock:
            return self._cell.reset(task, seed)

    def move_camera(self, camera: str, camera_from_moved: Float64) -> None:
        """Push a camera; see `SimCell.move_camera`."""
        with self._lock:
            self._cell.move_camera(camera, camera_from_moved)

    def evaluate(self, instruction: str | None) -> TaskResult:
        """Success on simulator state now; see `SimCell.evaluate`."""
        with self._lock:
            return self._cell.evaluate(instruction)

    def _guarded(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:
            self._failure = error

    def _run_physics(self) -> None:
        period_ns = seconds_to_ns(self._joint_period_s)
        due_ns = self._clock.monotonic_ns()
        while not self._stopping.is_set():
            with self._lock:
                self._cell.advance(self._joint_period_s)
                state, stamp_ns = self._cell.state(), self._clock.now_ns()
            self._on_state(JointState(state.names, state.positions, state.velocities, stamp_ns))
            due_ns = self._next(due_ns, period_ns)
            self._clock.sleep_until(due_ns)

    def _run_rendering(self) -> None:
        """One camera at a time, spread over the frame period; never before an arm's period."""
        realtime.release()
        names = self._cell.rig.names
        period_ns = seconds_to_ns(self._frame_period_s / len(names))
        renderer: CellRenderer | None = None
        model, data = None, None
        rng = np.random.default_rng(0)
        due_ns, turn = self._clock.monotonic_ns(), 0
        while not self._stopping.is_set():
            watched = self._is_watched(names[turn])
            with self._lock:
                new_scene = model is not self._cell.model
                if new_scene:
                    model, data = self._cell.model, mujoco.MjData(self._cell.model)
                if watched:
                    mujoco.mj_copyData(data, model, self._cell.data)
                stamp_ns = self._clock.now_ns()
            if renderer is None or new_scene:
                # Also while nobody watches: whoever does next shall not wait for it.
                if renderer is not None:
                    renderer.close()
                renderer = CellRenderer(model, self._cell.rig, self._noise)
            if watched:
                self._on_frame(renderer.frame(data, names[turn], stamp_ns, rng))
            turn = (turn + 1) % len(names)
            due_ns = self._next(due_ns, period_ns)
            self._clock.sleep_until(due_ns)
        if renderer is not None:
            renderer.close()

    def _next(self, due_ns: int, period_ns: int) -> int:
        late_ns = self._clock.monotonic_ns() - (due_ns + period_ns)
        return due_ns + period_ns + (late_ns if late_ns > seconds_to_ns(CATCH_UP_S) else 0)
