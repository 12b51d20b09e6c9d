"""The frozen records that cross module boundaries. Shapes, units and frames are in the docs.

Joint arrays are ordered by the `names` beside them, never by assumption. Revolute joints are in
radians, the gripper is a prismatic joint whose position is its opening in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import ConfigError, ObservationError, RigError, TrajectoryError
from mvista_core.geometry import pose_fault

LARGEST_DECENTRING = 0.25
"""Of the image's side, between its middle and the principal point; a window's may be far off."""

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]

MM_PER_M = 1000.0


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera, pixels; (0, 0) is the centre of the top-left pixel."""

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...] = ()

    @property
    def matrix(self) -> Float64:
        """K, [3, 3]."""
        return np.array(
            [[self.fx_px, 0.0, self.cx_px], [0.0, self.fy_px, self.cy_px], [0.0, 0.0, 1.0]]
        )

    def cropped(self, left_px: int, top_px: int, width_px: int, height_px: int) -> Intrinsics:
        """The same camera seen through a window of the image."""
        return Intrinsics(
            width_px,
            height_px,
            self.fx_px,
            self.fy_px,
            self.cx_px - left_px,
            self.cy_px - top_px,
            self.distortion,
        )

    def scaled(self, factor: float) -> Intrinsics:
        """The same camera at `factor` times the resolution (pixel centres at integers)."""
        width, height = self.width_px * factor, self.height_px * factor
        if abs(width - round(width)) > 1e-9 or abs(height - round(height)) > 1e-9:
            raise ValueError(f"{self.width_px}x{self.height_px} times {factor} is not whole")
        return Intrinsics(
            round(width),
            round(height),
            self.fx_px * factor,
            self.fy_px * factor,
            (self.cx_px + 0.5) * factor - 0.5,
            (self.cy_px + 0.5) * factor - 0.5,
            self.distortion,
        )


def lens_fault(lens: Intrinsics) -> str:
    """Why these cannot be the intrinsics of a whole image, in words; "" where they can.

    Focal lengths are finite and positive, the principal point lies in the image, and distortion
    coefficients are finite.
    """
    size = f"{lens.width_px}x{lens.height_px}"
    if not (lens.width_px > 0 and lens.height_px > 0):
        return f"the image is {size}; both sides must be above 0"
    if not all(0 < focal_px < np.inf for focal_px in (lens.fx_px, lens.fy_px)):
        return (
            f"focal lengths are {lens.fx_px:g} and {lens.fy_px:g} px; allowed: finite and above 0"
        )
    inside = 0 <= lens.cx_px <= lens.width_px - 1 and 0 <= lens.cy_px <= lens.height_px - 1
    if not inside:
        return (
            f"the principal point ({lens.cx_px:g}, {lens.cy_px:g}) px lies outside the image of "
            f"{size}"
        )
    if not np.isfinite(lens.distortion).all():
        return f"distortion coefficients are {lens.distortion}; allowed: finite numbers"
    return ""


def lens_shift_px(one: Intrinsics, other: Intrinsics) -> float:
    """How far the corners of an image of `one` lie apart under the two pinholes, at most (px)."""
    corners = np.array([[0.0, 0.0], [one.width_px - 1.0, one.height_px - 1.0]])
    center, focal = (one.cx_px, one.cy_px), (one.fx_px, one.fy_px)
    rays = (corners - np.array(center)) / np.array(focal)
    there = rays * np.array([other.fx_px, other.fy_px]) + np.array([other.cx_px, other.cy_px])
    return float(np.abs(there - corners).max())


@dataclass(frozen=True)
class CameraFrame:
    """One RGB-D image: color uint8 [H, W, 3] RGB, depth_m float32 [H, W], 0 where invalid.

    Depth is registered to colour and measured along z. `stamp_ns` is the capture time.
    """

    color: UInt8
    depth_m: Float32
    intrinsics: Intrinsics
    stamp_ns: int
    camera: str

    def __post_init__(self) -> None:
        expected = (self.intrinsics.height_px, self.intrinsics.width_px)
        if self.color.shape != (*expected, 3) or self.color.dtype != np.uint8:
            raise ObservationError(
                f"{self.camera}: colour is {self.color.dtype} {self.color.shape}, "
                f"its intrinsics say uint8 {(*expected, 3)}"
            )
        if self.depth_m.shape != expected or self.depth_m.dtype != np.float32:
            raise ObservationError(
                f"{self.camera}: depth is {self.depth_m.dtype} {self.depth_m.shape}, "
                f"its intrinsics say float32 {expected} in metres"
            )


@dataclass(frozen=True)
class JointState:
    """Measured joints: positions and velocities [J] (rad, rad/s; gripper m, m/s)."""

    names: tuple[str, ...]
    positions: Float64
    velocities: Float64
    stamp_ns: int

    def ordered(self, names: Sequence[str]) -> Float64:
        """Positions in the order of `names`.

        Raises:
            ObservationError: a name is not among the measured joints.
        """
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ObservationError(f"no feedback for {missing}; measured: {list(self.names)}")
        return self.positions[[self.names.index(name) for name in names]]


@dataclass(frozen=True)
class JointCommand:
    """One set-point of the joint stream: positions [J] and the velocities [J] it moves with."""

    names: tuple[str, ...]
    positions: Float64
    velocities: Float64
    stamp_ns: int


@dataclass(frozen=True)
class Observation:
    """What the robot knows when it is asked: frames, joints, the rig they hang on, the words."""

    frames: tuple[CameraFrame, ...]
    joints: JointState
    rig_hash: str
    instruction: str

    def frame(self, camera: str) -> CameraFrame:
        """The frame of one camera; `ObservationError` names the cameras there are."""
        for frame in self.frames:
            if frame.camera == camera:
                return frame
        raise ObservationError(
            f"no frame of camera '{camera}'; there are {[f.camera for f in self.frames]}"
        )


@dataclass(frozen=True)
class Rollout:
    """An imagined future: V views by T frames at the model's own resolution.

    color uint8 [V, T, H, W, 3]; depth_m float32 [V, T, H, W], 0 where invalid;
    times_s [T] from the observation (times_s[0] = 0); base_from_camera [V, 4, 4]. `seed` is this
    one's own; `imagined` rollouts were there to choose from.
    """

    rollout_id: str
    instruction: str
    cameras: tuple[str, ...]
    intrinsics: tuple[Intrinsics, ...]
    base_from_camera: Float64
    color: UInt8
    depth_m: Float32
    times_s: Float64
    seed: int
    stamp_ns: int
    imagined: int = 1

    def view_color(self, view: int) -> UInt8:
        """Colour of one view [T, H, W, 3]; a planner's rollout decodes no other for it."""
        return np.asarray(self.color[view])


@dataclass(frozen=True)
class Provenance:
    """Where a trajectory came from, enough to make it again."""

    plan_id: str
    weights_sha256: str
    seed: int
    initialisation: str = ""
    steps: int = 0


@dataclass(frozen=True)
class ActionTrajectory:
    """Joint positions [T, J] at times_s [T] after the start; times strictly increasing, > 0."""

    joint_names: tuple[str, ...]
    positions: Float64
    times_s: Float64
    provenance: Provenance

    def __post_init__(self) -> None:
        expected = (len(self.times_s), len(self.joint_names))
        if self.positions.shape != expected:
            raise TrajectoryError(
                TrajectoryError.SHAPE,
                f"positions are {self.positions.shape}, times and names say {expected}",
            )


@dataclass(frozen=True)
class Doubt:
    """One number that speaks against an imagined future or the plan read from it: 0 is right, more
    is worse, NaN says nothing. `limit` is the largest that is not refused, NaN where none is known.
    """

    name: str
    value: float
    limit: float

    @property
    def beyond(self) -> bool:
        """Whether it is refused."""
        return self.value > self.limit

    def document(self) -> dict[str, str | float | None]:
        """For a JSON file, which knows no NaN."""
        value, limit = (None if np.isnan(x) else x for x in (self.value, self.limit))
        return {"name": self.name, "value": value, "limit": limit}


@dataclass(frozen=True)
class InferredPlan:
    """The act stage's answer: the decoded prior, the refined actions, and how they were found.

    `losses` [steps] is the value of Eq. 11 per optimisation step; `head_disagreement_rad` the mean
    distance between the revolute joints of the optimised and the action head's trajectories.
    `doubts` are what a gate looks at, where somebody asked for them.
    """

    prior: ActionTrajectory
    refined: ActionTrajectory
    losses: Float64
    head_disagreement_rad: float
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class CameraCalibration:
    """One calibrated camera: base_from_camera [4, 4], covariance [6, 6] (m, rad) or None.

    `other_intrinsics` are the same lens at other resolutions. Measured depth is `depth_scale`
    times the true one plus `depth_offset_m`; offset 0 and scale 1 where nobody measured it.
    """

    name: str
    base_from_camera: Float64
    intrinsics: Intrinsics
    serial: str = ""
    covariance: Float64 | None = None
    other_intrinsics: tuple[Intrinsics, ...] = ()
    depth_offset_m: float = 0.0
    depth_scale: float = 1.0

    def __post_init__(self) -> None:
        if fault := pose_fault(self.base_from_camera):
            raise RigError(f"camera '{self.name}': base_from_camera {fault}")
        for lens in (self.intrinsics, *self.other_intrinsics):
            _check_lens(self.name, lens)


def _check_lens(camera: str, lens: Intrinsics) -> None:
    """Refuse what no lens has, and a K of another resolution: its centre is far from the middle."""
    for value, size, name in (
        (lens.cx_px, lens.width_px, "cx"),
        (lens.cy_px, lens.height_px, "cy"),
    ):
        if not abs(value - size / 2) <= LARGEST_DECENTRING * size:
            raise RigError(
                f"camera '{camera}': {name} {value:g} px does not fit an image of "
                f"{lens.width_px}x{lens.height_px}; are these intrinsics of another resolution?"
            )
    if fault := lens_fault(lens):
        raise RigError(f"camera '{camera}': {fault}")


MOST_ROLLOUTS = 16
"""As many as one request may ask for."""
AS_NEEDED = 0
"""... or as many as it takes until one says where the words send the hand."""
STEPS_AS_USUAL = 2**32 - 1
"""Steps of Eq. 11 (a uint32 in messages): as many as the weights take from that start."""


@dataclass(frozen=True)
class ImagineOptions:
    """How a request differs from the rig and the checkpoint it is made of.

    `cameras` are imagined after those that are asked for by name; no camera need be there.
    `allow_out_of_range`: also from where the weights were not trained. `view_mode` 1 or 2 (Sec.
    5.1), None as the planner was told. `best_of`: so many rollouts, of the seed and the next ones;
    the likeliest is the answer. `AS_NEEDED`: one, and more only while none is sure of the goal.
    """

    cameras: tuple[CameraCalibration, ...] = ()
    allow_out_of_range: bool = False
    view_mode: int | None = None
    best_of: int = 1

    def __post_init__(self) -> None:
        if not AS_NEEDED <= self.best_of <= MOST_ROLLOUTS:
            raise ConfigError(
                f"best_of {self.best_of}: 1 to {MOST_ROLLOUTS} rollouts can be imagined for one "
                f"request, {AS_NEEDED} for as many as it takes"
            )


AS_TRAINED = ImagineOptions()
"""One rollout, of the rig's cameras, in the range and the mode of the checkpoint."""


@dataclass(frozen=True)
class RigCheck:
    """One check of the calibration gate: a measured value against its limit."""

    name: str
    value: float
    limit: float
    unit: str
    passed: bool
    level: str
    subject: str = ""


@dataclass(frozen=True)
class RigProvenance:
    """How a rig was calibrated: board, method, versions (name, version), verdict, checks."""

    board: str
    method: str
    versions: tuple[tuple[str, str], ...]
    words: str
    checks: tuple[RigCheck, ...] = ()


@dataclass(frozen=True)
class RigCalibration:
    """Calibrated cameras of one cell, all relative to `base_frame`."""

    name: str
    base_frame: str
    cameras: tuple[CameraCalibration, ...]
    date: str
    verdict: str
    content_hash: str = field(default="", compare=False)
    provenance: RigProvenance | None = None

    def camera(self, name: str) -> CameraCalibration:
        """One camera by name; `RigError` lists the names there are."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise RigError(f"rig '{self.name}' has no camera '{name}'; it has {self.names}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)
