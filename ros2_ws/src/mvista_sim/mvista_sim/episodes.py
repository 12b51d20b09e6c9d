"""One training episode as arrays: a scene, its cameras, a demonstration, and what they filmed.

All of it is a function of (task, seed) and the `EpisodeKind`: no episode knows another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mvista_core import instructions
from mvista_core.arm import ArmModel
from mvista_core.episode_shape import EpisodeShape
from mvista_core.errors import MvistaError
from mvista_core.imaging import ModelWindow
from mvista_core.records import CameraFrame, RigCalibration
from mvista_core.vantage import Vantage
from mvista_sim.cell import SimCell
from mvista_sim.experts import PLAIN, MotionStyle, hand_of
from mvista_sim.rigs import RigDraw, as_told, with_vantage
from mvista_sim.sensors import Sensor
from mvista_sim.tasks import CLUTTER, TEMPLATES

Arrays = dict[str, NDArray[np.generic]]

DRAWN_CLUTTER = 4


@dataclass(frozen=True)
class EpisodeKind:
    """What all episodes of a data set share.

    With `grounding` nothing is executed: first frames, and a plan for every instruction. With
    `drawn_cameras` each episode has so many cameras of its own, each with its own sensor, told with
    calibration's error, and up to `DRAWN_CLUTTER` distractors; with 0 it has the rig's, ideal and
    known exactly. `held_out` draws places that training never sees. With `vantage` one camera more
    stands where the first one's picture is brought to, and has the same sensor.
    """

    shape: EpisodeShape
    grounding: bool = False
    drawn_cameras: int = 0
    held_out: bool = False
    vantage: Vantage | None = None


class EpisodeMaker:
    """Films episodes with one cell; `close` gives its GL context back."""

    def __init__(self, arm: ArmModel, rig: RigCalibration, kind: EpisodeKind) -> None:
        self._kind = kind
        self._window = kind.shape.window
        self._draw = RigDraw(arm, self._window, kind.held_out)
        self._rig = rig
        # Pixels outside the window need not be drawn.
        self._cell = SimCell(arm, cropped(rig, self._window), sleeping=True)

    def make(self, task: str, seed: int) -> Arrays | None:
        """One episode's arrays, or None when the expert fails."""
        count, cell = self._kind.drawn_cameras, self._cell
        rig = told = self._rig
        if count:
            rig = self._draw.rig(seed, count)
            told = as_told(rig, seed)
        if self._kind.vantage is not None:
            rig, told = with_vantage(rig, told, self._kind.vantage, self._window)
        clutter = DRAWN_CLUTTER if count else CLUTTER
        cell.reset(task, seed, rig=cropped(rig, self._window), clutter=clutter)
        film = _Film(self._window, self._sensors(rig, seed), seed)
        row: Arrays = {
            "seed": np.array(seed),
            "initial": cell.state().positions.astype(np.float32),
            **_cameras(rig, told, self._window),
            **film.still([cell.emptied(name) for name in cell.cameras()]),
        }
        try:
            acted = self._plans(task, seed, film) if self._kind.grounding else self._act(seed, film)
        except MvistaError:
            return None
        return None if acted is None else row | acted

    def close(self) -> None:
        self._cell.close()

    def _sensors(self, rig: RigCalibration, seed: int) -> list[Sensor]:
        if not self._kind.drawn_cameras:
            return [Sensor() for _ in rig.cameras]
        rng = np.random.default_rng((seed, 17))
        own = rig.cameras[: self._kind.drawn_cameras]
        sensors = [Sensor.drawn(rng, camera.intrinsics.fx_px) for camera in own]
        return [*sensors, *(sensors[0] for _ in rig.cameras[len(own) :])]

    def _act(self, seed: int, film: _Film) -> Arrays | None:
        """What happened when the expert acted; None where it failed."""
        cell, style = self._cell, MotionStyle.drawn(hand_of(seed))
        actions = cell.expert(style=style)
        frames = cell.run_actions(actions, self._kind.shape.frame_times_s)
        if not cell.evaluate().success:
            return None
        color, depth_mm = film.frames(frames)
        return {
            "color": color.swapaxes(0, 1),
            "depth_mm": depth_mm.swapaxes(0, 1),
            "actions": actions.positions.astype(np.float32),
            "instruction": np.array(cell.instruction),
            "style": style.numbers.astype(np.float32),
        }

    def _plans(self, task: str, seed: int, film: _Film) -> Arrays:
        """The first frames, and a plan in one style for every instruction of the scene."""
        cell, words = self._cell, instructions.expand(TEMPLATES[task])
        drawn = MotionStyle.drawn(hand_of(seed))
        style = drawn if self._kind.drawn_cameras else PLAIN
        plans = [cell.expert(word, style).positions for word in words]
        color, depth_mm = film.frames([[cell.latest(name) for name in cell.cameras()]])
        return {
            "color": color[0],
            "depth_mm": depth_mm[0],
            "actions": np.stack(plans).astype(np.float32),
            "instructions": np.array(words),
            "style": style.numbers.astype(np.float32),
        }


class _Film:
    """Ideal frames of one episode's cameras become what is stored."""

    def __init__(self, window: ModelWindow, sensors: Sequence[Sensor], seed: int) -> None:
        self._window = window
        self._sensors = sensors
        self._rng = np.random.default_rng((seed, 19))

    def frames(
        self, rows: Sequence[Sequence[CameraFrame]]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Of frames [T][V]: color [T, V, H, W, 3], depth in millimetres [T, V, H, W]."""
        seen = [self._window_of(row, self._sensors) for row in rows]
        color = np.stack([np.stack([f.color for f in row]) for row in seen])
        depth_m = np.stack([np.stack([f.depth_m for f in row]) for row in seen])
        return color, np.round(depth_m * 1000.0).astype(np.uint16)

    def still(self, row: Sequence[CameraFrame]) -> Arrays:
        """Of frames [V] without arm and objects, which training weighs the others by."""
        quiet = [sensor.noiseless() for sensor in self._sensors]
        seen = self._window_of(row, quiet)
        depth_m = np.stack([f.depth_m for f in seen])
        return {
            "still_color": np.stack([f.color for f in seen]),
            "still_depth_mm": np.round(depth_m * 1000.0).astype(np.uint16),
        }

    def _window_of(
        self, row: Sequence[CameraFrame], sensors: Sequence[Sensor]
    ) -> list[CameraFrame]:
        return [
            self._window.frame(sensor.frame(frame, self._rng))
            for frame, sensor in zip(row, sensors, strict=True)
        ]


def cropped(rig: RigCalibration, window: ModelWindow) -> RigCalibration:
    """The rig with lenses that show the part of their images that the window keeps.

    Padding is no part of an image: it stays black as on the robot, and is not rendered.
    """
    cameras = []
    for camera in rig.cameras:
        whole = camera.intrinsics
        left, top = (max(0, start) for start in window.origin(whole))
        width = min(whole.width_px, window.width_px * window.reduce)
        height = min(whole.height_px, window.height_px * window.reduce)
        lens = whole.cropped(left, top, width, height)
        cameras.append(replace(camera, intrinsics=lens, other_intrinsics=()))
    return replace(rig, cameras=tuple(cameras))


def _cameras(true: RigCalibration, told: RigCalibration, window: ModelWindow) -> Arrays:
    """Lenses of the window as (fx, fy, cx, cy) [V, 4], and poses [V, 4, 4] told and true."""
    lenses = [window.intrinsics(camera.intrinsics) for camera in true.cameras]
    return {
        "intrinsics": np.array([[k.fx_px, k.fy_px, k.cx_px, k.cy_px] for k in lenses]),
        "base_from_camera": np.stack([c.base_from_camera for c in told.cameras]),
        "true_base_from_camera": np.stack([c.base_from_camera for c in true.cameras]),
    }
