"""The calibration node's parameters, also read by `mvista calibrate collect`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mvista_calibration.records import Board, WorkspaceBox
from mvista_calibration.session.guide import CollectLimits
from mvista_core.errors import ConfigError
from mvista_ros.parameters import parameter

VERIFY_VIEWS = 2
"""Of each camera, shared with others, when a rig is verified: one bad view must not decide."""


@dataclass(frozen=True)
class CalibrationParameters:
    """Board, cameras and where things lie; see config/calibration.yaml."""

    cameras: tuple[str, ...] = parameter(
        ("cam0", "cam1", "cam2", "cam3"), "Namespaces of the cameras; the first is the reference"
    )
    color_topic: str = parameter("color/image_raw", "Below a camera's namespace: rgb8 or mono8")
    info_topic: str = parameter("color/camera_info", "Below it: colour's intrinsics")
    depth_topic: str = parameter(
        "depth/image_raw", "Below it: 16UC1 mm registered to colour; empty: no depth is recorded"
    )
    squares_x: int = parameter(7, "Squares of the ChArUco board along x", 3, 60)
    squares_y: int = parameter(5, "Squares along y", 3, 60)
    square_m: float = parameter(0.03, "Side of a square, m, as nominal", 0.005, 0.5)
    marker_m: float = parameter(0.022, "Side of a marker, m", 0.003, 0.49)
    dictionary: str = parameter("DICT_5X5_250", "The markers' dictionary, as OpenCV names it")
    measured_scale: float = parameter(1.0, "Scale bar: measured over nominal length", 0.95, 1.05)
    board_on_gripper: bool = parameter(True, "The arm holds the board: its joints are recorded too")
    arm: str = parameter("piper", "Namespace of that arm")
    arm_file: str = parameter("config/arms/piper.yaml", "Its kinematics")
    base_frame: str = parameter("piper_base", "Frame the rig file is written in")
    workspace_lower_m: tuple[float, ...] = parameter((0.05, -0.3, 0.0), "Workspace, base frame, m")
    workspace_upper_m: tuple[float, ...] = parameter((0.65, 0.3, 0.3), "Its upper corner, m")
    sessions_folder: str = parameter("build/calibration/sessions", "Where sessions are recorded")
    rigs_folder: str = parameter("config/rigs", "Where a rig that passes is written")
    rig_publisher: str = parameter(
        "rig_publisher", "The node that shows a rig that passes on /tf_static, by its rig_file"
    )
    session: str = parameter("", "Recorded session that a goal without one means; empty: none")
    serials_file: str = parameter("", "Rig file that knows the cameras' serials; empty: none")
    shots: int = parameter(15, "Shots until coverage may be called enough", 3, 200)
    verify_shots: int = parameter(
        4, "Shots that `verify` takes, and more until every camera has shared two", 3, 50
    )
    depth_frames: int = parameter(30, "Depth images averaged per shot", 1, 300)
    still_s: float = parameter(0.5, "Time over which nothing may move, s", 0.1, 5.0)
    look_timeout_s: float = parameter(10.0, "A camera silent for so long ends the goal", 1.0, 60.0)
    patience_s: float = parameter(180.0, "No shot accepted for so long ends the goal", 5.0, 3600.0)
    blur_px: float = parameter(6.0, "Widest edges accepted, px at 3840 wide", 1.0, 30.0)
    motion_px: float = parameter(1.0, "Largest motion within a shot, px at 3840 wide", 0.1, 10.0)
    joint_motion_rad: float = parameter(0.002, "Largest joint motion in a shot", 0.0001, 0.05)
    keep_lenses: bool = parameter(
        False, "Solve with the factory's lenses as they are; false: estimate them with the poses"
    )
    warm_up_minutes: float = parameter(0.0, "How long the cameras have run; noted", 0.0, 600.0)

    def __post_init__(self) -> None:
        if len(set(self.cameras)) != len(self.cameras) or not all(self.cameras):
            raise ConfigError(f"'cameras' must name different cameras, not {list(self.cameras)}")
        lower, upper = self.workspace_lower_m, self.workspace_upper_m
        if (
            len(lower) != 3
            or len(upper) != 3
            or any(a >= b for a, b in zip(lower, upper, strict=True))
        ):
            raise ConfigError(
                f"workspace_lower_m {lower} must lie below workspace_upper_m {upper}, three each"
            )

    @property
    def board(self) -> Board:
        """`CalibrationError` when it cannot exist."""
        return Board(
            self.squares_x,
            self.squares_y,
            self.square_m,
            self.marker_m,
            self.dictionary,
            None,
            self.measured_scale,
        )

    @property
    def workspace(self) -> WorkspaceBox:
        lower, upper = self.workspace_lower_m, self.workspace_upper_m
        return WorkspaceBox((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))

    @property
    def limits(self) -> CollectLimits:
        return CollectLimits(shots=self.shots, blur_px=self.blur_px, motion_px=self.motion_px)

    def verify_limits(self, shots: int) -> CollectLimits:
        """For a look at a rig that is there already: each camera tied, nothing to be covered.

        `shots` 0 stands for `verify_shots`.
        """
        return replace(
            self.limits,
            shots=shots or self.verify_shots,
            views_per_camera=VERIFY_VIEWS,
            shared_views=VERIFY_VIEWS,
            image_coverage=0.0,
            workspace_coverage=0.0,
            turn_rad=0.0,
        )

    def session_folder(self, asked: str) -> Path:
        """Folder of a goal's session: a path as it is, a plain name below `sessions_folder`.

        Raises:
            ConfigError: neither the goal nor the parameter `session` names one.
        """
        name = asked or self.session
        if not name:
            raise ConfigError("no session: name one in the goal, or set the parameter 'session'")
        path = Path(name).expanduser()
        return path if path.parent != Path() else Path(self.sessions_folder) / name
