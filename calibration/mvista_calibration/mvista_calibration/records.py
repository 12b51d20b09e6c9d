"""Frozen records that the stages of calibration hand to each other.

A *session* is everything observed, read from a folder, live topics or a simulator. Frames: `board`
(origin at the top-left outer corner of the printed pattern, x along the columns, y down, z into
the board, as OpenCV 4.7 and later), `<camera>` (optical), `reference` (the optical frame of the
session's reference camera) and `base` (the robot's). Twists of covariances are
(translation_m, rotation_rad), applied on the left in the frame the pose maps to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mvista_core.errors import CalibrationError
from mvista_core.records import Float32, Float64, Intrinsics

LEAST_CORNERS = 12
"""A view with fewer corners is refused: a pose from it follows the noise."""


@dataclass(frozen=True)
class Board:
    """A ChArUco board: squares along x and y, their side and the markers' side in metres; at least
    `LEAST_CORNERS` inner corners, or no view of it could ever be used.

    `legacy` is the pattern of OpenCV before 4.6 (differs on an even number of rows); None lets
    detection find out. `measured_scale` is the printed scale bar's measured over nominal length.
    """

    squares_x: int
    squares_y: int
    square_m: float
    marker_m: float
    dictionary: str = "DICT_5X5_250"
    legacy: bool | None = None
    measured_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.squares_x < 3 or self.squares_y < 3:
            raise CalibrationError(
                f"a ChArUco board needs at least 3x3 squares, not {self.squares_x}x{self.squares_y}"
            )
        if self.corner_count < LEAST_CORNERS:
            raise CalibrationError(
                f"a board of {self.squares_x}x{self.squares_y} squares has {self.corner_count} "
                f"corners, and a view needs {LEAST_CORNERS}: 4x5 squares have as many"
            )
        if not 0.0 < self.marker_m < self.square_m:
            raise CalibrationError(
                f"markers of {self.marker_m} m do not fit squares of {self.square_m} m"
            )
        if not 0.95 <= self.measured_scale <= 1.05:
            raise CalibrationError(
                f"measured_scale is {self.measured_scale}; measured over nominal length must lie "
                "in 0.95 to 1.05: is it given in mm instead?"
            )

    @property
    def corner_count(self) -> int:
        """Inner chessboard corners."""
        return (self.squares_x - 1) * (self.squares_y - 1)

    @property
    def corners_m(self) -> Float64:
        """All inner corners [N, 3], id order (row by row), board frame, as really printed."""
        # The origin is the outer corner: the first inner one lies a square from it both ways.
        x, y = np.meshgrid(np.arange(1, self.squares_x), np.arange(1, self.squares_y))
        plane = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
        return np.asarray(plane * self.square_m * self.measured_scale, dtype=np.float64)

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of the printed pattern, m."""
        side = self.square_m * self.measured_scale
        return self.squares_x * side, self.squares_y * side


@dataclass(frozen=True)
class SessionCamera:
    """One camera: its colour intrinsics where the board is detected, and those of its depth.

    Depth is registered to colour, so `depth_intrinsics` is the same lens at depth's resolution.
    """

    name: str
    intrinsics: Intrinsics
    depth_intrinsics: Intrinsics
    serial: str = ""


@dataclass(frozen=True)
class BoardView:
    """Corners of the board that one camera saw in one shot: ids int [N], pixels [N, 2].

    Pixels are raw (distorted), at the camera's `intrinsics`; (0, 0) is the first pixel's centre.
    `blur_px` is the measured edge width (0: unknown), `stamp_ns` the capture time,
    `source` the file or topic for messages, `legacy` the pattern found where that was open.
    """

    camera: str
    shot: int
    corner_ids: np.ndarray[tuple[int], np.dtype[np.int64]]
    corners_px: Float64
    blur_px: float = 0.0
    stamp_ns: int = 0
    source: str = ""
    legacy: bool | None = None

    def __post_init__(self) -> None:
        if self.corners_px.shape != (len(self.corner_ids), 2):
            raise CalibrationError(
                f"{self.camera}, shot {self.shot}: {len(self.corner_ids)} ids but corners "
                f"{self.corners_px.shape}"
            )


@dataclass(frozen=True)
class DepthImage:
    """Mean depth [H, W] m (0: invalid) of `frames` static images at `depth_intrinsics`.

    `shot` is the board shot it belongs to, or -1 for the static scene that clouds are fused from.
    """

    camera: str
    shot: int
    depth_m: Float32
    frames: int = 1


@dataclass(frozen=True)
class GripperPose:
    """Forward kinematics of one shot: `base_from_gripper` [4, 4] (gripper: the flange)."""

    shot: int
    base_from_gripper: Float64


@dataclass(frozen=True)
class WorkspaceBox:
    """Axis-aligned box in the base frame (or, without a robot, around the boards), metres."""

    lower_m: tuple[float, float, float]
    upper_m: tuple[float, float, float]

    @property
    def corners_m(self) -> Float64:
        """The eight corners [8, 3]."""
        bounds = np.array([self.lower_m, self.upper_m])
        picks = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
        return np.stack([bounds[picks[:, axis], axis] for axis in range(3)], axis=1)


DEFAULT_WORKSPACE = WorkspaceBox((0.05, -0.3, 0.0), (0.65, 0.3, 0.3))
"""The demo cell's table in front of the arm, base frame."""


@dataclass(frozen=True)
class Session:
    """Everything observed. The first camera is the reference.

    With `gripper` poses the board was held by the arm (eye-to-hand); without, it lay on the table
    or was carried by hand, and `base_from_board` may say where shot 0's board lay. `scene` depth
    is taken after the board shots, with the board gone and the table as it will be used.
    """

    name: str
    board: Board
    cameras: tuple[SessionCamera, ...]
    views: tuple[BoardView, ...]
    board_depth: tuple[DepthImage, ...] = ()
    scene: tuple[DepthImage, ...] = ()
    gripper: tuple[GripperPose, ...] = ()
    base_from_board: Float64 | None = None
    workspace: WorkspaceBox = DEFAULT_WORKSPACE
    warm_up_minutes: float = 0.0
    notes: tuple[str, ...] = ()
    """What reading left out, and why: images without the board, duplicates."""

    @property
    def reference(self) -> str:
        return self.cameras[0].name

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)

    @property
    def shots(self) -> tuple[int, ...]:
        return tuple(sorted({view.shot for view in self.views}))

    def camera(self, name: str) -> SessionCamera:
        """One camera by name; `CalibrationError` lists the names there are."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise CalibrationError(f"no camera '{name}' in session '{self.name}'; it has {self.names}")


@dataclass(frozen=True)
class RigEstimate:
    """Cameras relative to the reference: `reference_from_camera` [C, 4, 4] (identity first).

    `covariance` [6 (C - 1), 6 (C - 1)] of the others' twists in session order, metres and radians,
    or None when the stage cannot know it.
    """

    cameras: tuple[str, ...]
    reference_from_camera: Float64
    covariance: Float64 | None
    stage: str

    def pose(self, camera: str) -> Float64:
        """`reference_from_camera` [4, 4] of one camera."""
        return np.asarray(self.reference_from_camera[self.cameras.index(camera)])


@dataclass(frozen=True)
class CoarseResult:
    """Board stage: the rig, where the board was, and what the corners say about it.

    `reference_from_board` [S, 4, 4] for `shots` [S]; `residuals_px` per used view [N, 2];
    `rejected` holds (camera, shot, why). `cameras` are the session's with the lenses that these
    poses go with (empty: as they were): what follows must use them.
    """

    rig: RigEstimate
    shots: tuple[int, ...]
    reference_from_board: Float64
    views: tuple[BoardView, ...]
    residuals_px: tuple[Float64, ...]
    rejected: tuple[tuple[str, int, str], ...] = ()
    cameras: tuple[SessionCamera, ...] = ()

    @property
    def rms_px(self) -> float:
        """Root mean square of the residual vectors' length over all corners used."""
        # Of whole vectors, as OpenCV's calibration reports it: root 2 times that of one coordinate.
        stacked = np.concatenate(self.residuals_px)
        return float(np.sqrt((stacked**2).sum(axis=1).mean()))


@dataclass(frozen=True)
class DepthBias:
    """One camera's depth error: true = (measured - offset_m) / scale, offsets with their sd.

    `plane_rms_m` is what remains on the board after correction, `samples` the views used.
    """

    camera: str
    offset_m: float
    offset_sd_m: float
    scale: float = 1.0
    plane_rms_m: float = 0.0
    samples: int = 0

    def correct(self, depth_m: Float32) -> Float32:
        """Corrected depth, same shape; invalid (0) stays 0."""
        # Invalid is told by what was measured: an offset makes a small depth of 0.
        fixed = (depth_m - self.offset_m) / self.scale
        return np.where(depth_m > 0, fixed, 0.0).astype(np.float32)


@dataclass(frozen=True)
class RefineResult:
    """Depth stage: a candidate rig and how well held-out points of overlapping pairs agree.

    Medians of absolute point-to-plane distance over points not used in fitting, m; `correction`
    [C - 1, 6] is the candidate against the coarse rig, `mahalanobis` its size in sigmas of the
    prior per camera, `condition` that of the normal equations. `accepted` is the method's own
    verdict (Sec. "gate" decides for the whole), `why` in words. `pull` is how many times better the
    held-out points of the pair `pull_pair` would agree if depth alone placed the cameras, `tension`
    how far depth alone would move all cameras at once, in sigmas of both (NaN: not known).
    """

    rig: RigEstimate
    held_out_before_m: float
    held_out_after_m: float
    correction: Float64
    mahalanobis: Float64
    condition: float
    accepted: bool
    why: str
    pairs: tuple[tuple[str, str, float, float], ...] = ()
    """(camera, camera, median before, median after), m, on held-out points."""
    pull: float = 1.0
    pull_pair: str = ""
    tension: float = float("nan")


@dataclass(frozen=True)
class HandEyeResult:
    """`base_from_reference` and `gripper_from_board` [4, 4], jointly refined over all cameras.

    `covariance` [6, 6] is of base_from_reference's twist; `axis_spread` the smallest singular
    value of the rotation axes' spread, `solver_spread_m` the disagreement of closed-form solvers,
    `board_scale` arm-measured over nominal board size with its sd; `residual_m`, `residual_rad`
    RMS over shots of the arm's own disagreement.
    """

    base_from_reference: Float64
    gripper_from_board: Float64
    covariance: Float64
    axis_spread: float
    solver_spread_m: float
    board_scale: float
    board_scale_sd: float
    residual_m: float
    residual_rad: float


@dataclass(frozen=True)
class GateCheck:
    """One line of the gate: a measured value against its limit, and why that limit.

    `level` is "refuse" (a failure fails the rig) or "warn".
    """

    name: str
    value: float
    limit: float
    unit: str
    passed: bool
    level: str
    reason: str
    subject: str = ""
    """Camera or pair or stage the value belongs to; the worst one when there are several."""


@dataclass(frozen=True)
class Verdict:
    """The gate's answer: all checks, and `passed` when no "refuse" check failed."""

    checks: tuple[GateCheck, ...]
    passed: bool
    words: str


@dataclass(frozen=True)
class Calibration:
    """The whole answer for one session.

    `rig` is the accepted estimate (refined, or coarse when refinement was refused).
    `base_from_reference` is None when nothing tied the cameras to a robot.
    `corner_sd_m` [C, 8] is the 1-sigma position error that each camera's covariance means at the
    workspace's corners, relative to the reference camera.
    """

    session: str
    board: Board
    cameras: tuple[SessionCamera, ...]
    coarse: CoarseResult
    depth_bias: tuple[DepthBias, ...]
    refine: RefineResult | None
    hand_eye: HandEyeResult | None
    rig: RigEstimate
    base_from_reference: Float64 | None
    corner_sd_m: Float64
    verdict: Verdict
    seconds: dict[str, float] = field(default_factory=dict)
