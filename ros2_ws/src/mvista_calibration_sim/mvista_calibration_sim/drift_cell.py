"""Ordinary operation of the cell for the drift watch: experts at work, scenes that change, noisy
cameras about once a second, and what a camera would see had it been moved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mvista_calibration.twists import moved
from mvista_core.arm import ArmModel
from mvista_core.geometry import invert
from mvista_core.records import CameraFrame, Float64, JointCommand, JointState, RigCalibration
from mvista_sim.cameras import TofNoise
from mvista_sim.cell import SimCell
from mvista_sim.tasks import TEMPLATES

NOISE = TofNoise(0.001, 0.002, 0.05)
"""1 mm + 2 mm/m^2 and lost edges: a Femto Bolt at a metre."""
COLOR_SD = 2.0
GAIN_SD = 0.04
"""Automatic exposure changes the brightness of whole frames."""
EPISODES_PER_SCENE = 3
TARGET_HZ = 20.0


class DriftCell:
    """Yields moments; between them, `seen_from` renders a camera from elsewhere."""

    def __init__(self, arm: ArmModel, rig: RigCalibration, seed: int) -> None:
        self._cell = SimCell(arm, rig, NOISE)
        self._seed = seed
        self._rng = np.random.default_rng((seed, 11))

    def moments(self, seconds: int) -> Iterator[tuple[tuple[CameraFrame, ...], JointState]]:
        """One frame of every camera, and the joints, per simulated second."""
        elapsed, episode = 0, 0
        while elapsed < seconds:
            if episode % EPISODES_PER_SCENE == 0:
                scene = episode // EPISODES_PER_SCENE
                task = list(TEMPLATES)[(self._seed + scene) % len(TEMPLATES)]
                self._cell.reset(task, 1000 * (self._seed + 1) + scene)
            for _ in self._episode():
                yield self._frames(), self._cell.state()
                elapsed += 1
                if elapsed >= seconds:
                    return
            episode += 1

    def seen_from(self, camera: str, twist: Float64) -> CameraFrame:
        """The present moment by a camera that `twist` [6] (its own frame, m and rad) has moved."""
        step = moved(np.eye(4), twist)
        self._cell.move_camera(camera, step)
        try:
            return self._frame(camera)
        finally:
            self._cell.move_camera(camera, invert(step))

    def close(self) -> None:
        """Free the GL context."""
        self._cell.close()

    def _episode(self) -> Iterator[None]:
        """Run one expert motion; yields once a second."""
        actions = self._cell.expert()
        start = self._cell.state().ordered(actions.joint_names)
        times = np.concatenate([[0.0], actions.times_s])
        rows = np.vstack([start, actions.positions])
        still = np.zeros(len(actions.joint_names))
        steps = round(actions.times_s[-1] * TARGET_HZ)
        for step in range(1, steps + 1):
            now = step / TARGET_HZ
            target = np.array([np.interp(now, times, column) for column in rows.T])
            self._cell.send(JointCommand(actions.joint_names, target, still, self._cell.now_ns()))
            self._cell.advance(1.0 / TARGET_HZ)
            if step % round(TARGET_HZ) == 0:
                yield

    def _frames(self) -> tuple[CameraFrame, ...]:
        return tuple(self._frame(name) for name in self._cell.cameras())

    def _frame(self, camera: str) -> CameraFrame:
        clean = self._cell.latest(camera)
        gain = 1.0 + self._rng.normal(0.0, GAIN_SD)
        noise = self._rng.normal(0.0, COLOR_SD, clean.color.shape)
        color = np.clip(clean.color * gain + noise, 0, 255).astype(np.uint8)
        return CameraFrame(color, clean.depth_m, clean.intrinsics, clean.stamp_ns, camera)
