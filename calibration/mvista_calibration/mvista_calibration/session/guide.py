"""Guidance while a session is recorded: take this shot or not, and what to show next.

Nothing here knows cameras or ROS. A *look* is what all cameras saw of the board standing still;
`CollectGuide` judges looks, counts what was taken, and says in words what is missing still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from mvista_calibration.board.pose import view_pose
from mvista_calibration.records import (
    LEAST_CORNERS,
    Board,
    BoardView,
    SessionCamera,
    WorkspaceBox,
)
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert
from mvista_core.records import Float32, Float64

FULL_WIDTH_PX = 3840
"""Width at which the limits in pixels are meant; they shrink with the image, to a quarter."""

SHARP_PX = 3.0
"""A sharp edge is about two pixels wide at any resolution: no limit on blur lies below this."""

GRID = 3
"""Image coverage is counted in GRID x GRID cells."""

_AFFINE_CORNERS = 6
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@dataclass(frozen=True)
class CollectLimits:
    """What a shot must be, and when there are enough. Pixels are at 3840 wide.

    A shot is new when its corners moved by `new_view` of the image's width, or the board turned by
    `new_turn_rad`, in some camera against every earlier shot of that camera. `image_coverage` of
    0.4 is four cells of nine: a board that an arm holds hardly comes to the lower third of a
    camera that looks down on its table.
    """

    shots: int = 15
    views_per_camera: int = 8
    shared_views: int = 4
    least_corners: int = LEAST_CORNERS
    blur_px: float = 6.0
    motion_px: float = 1.0
    new_view: float = 0.04
    new_turn_rad: float = 0.14
    image_coverage: float = 0.4
    workspace_coverage: float = 0.6
    turn_rad: float = 0.35

    def __post_init__(self) -> None:
        few = self.shots < 3 or self.least_corners < LEAST_CORNERS
        if few or min(self.blur_px, self.motion_px) <= 0:
            raise CalibrationError(
                f"collecting needs at least 3 shots of {LEAST_CORNERS} corners and positive blur "
                f"and motion limits; asked: {self}"
            )


@dataclass(frozen=True)
class Decision:
    """Whether a look is to be recorded; `why` says what to change, or which cameras saw it."""

    accept: bool
    why: str


@dataclass(frozen=True)
class Coverage:
    """What a session has so far. Shares are 0 to 1; `advice` is what to show next.

    `image` is the share of the cells of each camera's image that held a corner; `workspace` how
    far the boards spread along three axes against the workspace's sides; `turn_rad` the widest
    angle between two boards' normals. `unlinked` cameras share too few views with the others.
    """

    shots: int
    views: dict[str, int]
    image: dict[str, float]
    workspace: float
    turn_rad: float
    unlinked: tuple[str, ...]
    missing: tuple[str, ...]
    advice: str

    @property
    def enough(self) -> bool:
        """Nothing is missing."""
        return not self.missing


@dataclass(frozen=True)
class _Taken:
    views: dict[str, BoardView]
    camera_from_board: dict[str, Float64]


@dataclass
class CollectGuide:
    """Judges looks and remembers those taken. One thread at a time."""

    board: Board
    cameras: tuple[SessionCamera, ...]
    workspace: WorkspaceBox
    limits: CollectLimits = CollectLimits()
    _taken: list[_Taken] = field(default_factory=list)

    def judge(
        self, views: Sequence[BoardView], before: Sequence[BoardView] | None = None
    ) -> Decision:
        """Whether to record these views; `before` are those of the same place a moment earlier."""
        if not views:
            return Decision(False, "no camera sees the board")
        for check in (self._too_small, self._blurred):
            if why := check(views):
                return Decision(False, why)
        if before is not None and (why := self._moving(views, before)):
            return Decision(False, why)
        if not self._is_new(self._look(views)):
            return Decision(
                False,
                f"the board stands as in an earlier shot; move it by {self.limits.new_view:.0%} "
                f"of the image or tilt it by {np.rad2deg(self.limits.new_turn_rad):.0f} degrees",
            )
        return Decision(True, f"seen by {', '.join(sorted(view.camera for view in views))}")

    def take(self, views: Sequence[BoardView]) -> None:
        """Count these views as one shot (also those of a session that is continued)."""
        self._taken.append(self._look(views))

    def coverage(self) -> Coverage:
        """What there is, and what is missing, the most urgent first."""
        names = [camera.name for camera in self.cameras]
        views = {name: sum(name in look.views for look in self._taken) for name in names}
        cells = {camera.name: self._cells(camera) for camera in self.cameras}
        image = {name: float(cells[name].mean()) for name in names}
        unlinked = self._unlinked()
        workspace, turn_rad = self._spread()
        missing = self._missing(views, cells, unlinked, workspace, turn_rad)
        advice = missing[0] if missing else "enough: coverage is complete"
        return Coverage(
            len(self._taken), views, image, workspace, turn_rad, unlinked, missing, advice
        )

    def _look(self, views: Sequence[BoardView]) -> _Taken:
        lens = {camera.name: camera for camera in self.cameras}
        kept: dict[str, BoardView] = {}
        poses: dict[str, Float64] = {}
        for view in views:
            # A view too small for a pose ties nothing together; solving leaves it out as well.
            with suppress(CalibrationError):
                poses[view.camera] = view_pose(view, lens[view.camera], self.board)[0]
                kept[view.camera] = view
        return _Taken(kept, poses)

    def _too_small(self, views: Sequence[BoardView]) -> str:
        least = min(self.limits.least_corners, self.board.corner_count)
        best = max(views, key=lambda view: len(view.corner_ids))
        if len(best.corner_ids) >= least:
            return ""
        return (
            f"{best.camera} sees most of the board, and only {len(best.corner_ids)} of "
            f"{self.board.corner_count} corners; at least {least} are needed"
        )

    def _blurred(self, views: Sequence[BoardView]) -> str:
        for view in views:
            limit = max(self.limits.blur_px * self._pixel_scale(view.camera), SHARP_PX)
            if view.blur_px > limit:
                return (
                    f"{view.camera}: blurred, edges {view.blur_px:.1f} px wide, at most "
                    f"{limit:.1f}; hold still, add light, or shorten the exposure"
                )
        return ""

    def _moving(self, views: Sequence[BoardView], before: Sequence[BoardView]) -> str:
        earlier = {view.camera: view for view in before}
        for view in views:
            if view.camera not in earlier:
                continue
            moved = corner_motion_px(earlier[view.camera], view)
            limit = self.limits.motion_px * self._pixel_scale(view.camera)
            if moved is not None and moved > limit:
                return (
                    f"{view.camera}: the board moved by {moved:.1f} px while it was looked at, at "
                    f"most {limit:.2f}; put it down or hold it against something"
                )
        return ""

    def _pixel_scale(self, camera: str) -> float:
        width = next(c.intrinsics.width_px for c in self.cameras if c.name == camera)
        return max(width / FULL_WIDTH_PX, 0.25)

    def _is_new(self, look: _Taken) -> bool:
        return any(self._is_new_to(camera, look) for camera in look.views)

    def _is_new_to(self, camera: str, look: _Taken) -> bool:
        width = next(c.intrinsics.width_px for c in self.cameras if c.name == camera)
        for taken in self._taken:
            if camera not in taken.views:
                continue
            moved = corner_motion_px(taken.views[camera], look.views[camera])
            turned = _turn_rad(taken.camera_from_board[camera], look.camera_from_board[camera])
            near = moved is not None and moved < self.limits.new_view * width
            if near and turned < self.limits.new_turn_rad:
                return False
        return True

    def _cells(self, camera: SessionCamera) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        seen = np.zeros((GRID, GRID), dtype=np.bool_)
        size = np.array([camera.intrinsics.width_px, camera.intrinsics.height_px])
        for look in self._taken:
            if camera.name in look.views:
                cell = (look.views[camera.name].corners_px * GRID / size).astype(int)
                cell = np.clip(cell, 0, GRID - 1)
                seen[cell[:, 1], cell[:, 0]] = True
        return seen

    def _shared(self, one: str, other: str) -> int:
        return sum(one in look.views and other in look.views for look in self._taken)

    def _unlinked(self) -> tuple[str, ...]:
        """Cameras that no chain of pairs with enough shared views ties to the first."""
        names = [camera.name for camera in self.cameras]
        reached, pending = {names[0]}, [names[0]]
        while pending:
            one = pending.pop()
            for other in names:
                if other not in reached and self._shared(one, other) >= self.limits.shared_views:
                    reached.add(other)
                    pending.append(other)
        return tuple(name for name in names if name not in reached)

    def _spread(self) -> tuple[float, float]:
        """How far the boards spread against the workspace (0 to 1), and their widest turn, rad.

        Measured along the spread's own axes, so no camera's place need be known beforehand.
        """
        boards = self._boards_in_reference()
        if len(boards) < 2:
            return 0.0, 0.0
        middle = np.array([*self.board.size_m, 0.0]) / 2
        centres = boards[:, :3, :3] @ middle + boards[:, :3, 3]
        centred = centres - centres.mean(axis=0)
        axes = np.linalg.svd(centred, full_matrices=True)[2]
        along = np.ptp(centred @ axes.T, axis=0)
        sides = np.subtract(self.workspace.upper_m, self.workspace.lower_m)
        # The board itself fills part of the box: its centres can reach half of each side.
        share = np.minimum(np.sort(along) / np.sort(sides * 0.5), 1.0)
        cosines = np.clip(boards[:, :3, 2] @ boards[:, :3, 2].T, -1.0, 1.0)
        return float(share.mean()), float(np.arccos(cosines.min()))

    def _boards_in_reference(self) -> Float64:
        """Boards [S, 4, 4] in the first camera's frame, by chains of shots that cameras share."""
        first = self.cameras[0].name
        places: dict[str, Float64] = {first: np.eye(4)}
        grown = True
        while grown:
            grown = False
            for look in self._taken:
                known = next((name for name in look.views if name in places), None)
                if known is None:
                    continue
                board = places[known] @ look.camera_from_board[known]
                for name, pose in look.camera_from_board.items():
                    if name not in places:
                        places[name] = board @ invert(pose)
                        grown = True
        boards = [
            places[name] @ look.camera_from_board[name]
            for look in self._taken
            if (name := next((n for n in look.views if n in places), "")) in places
        ]
        return np.array(boards).reshape(-1, 4, 4)

    def _missing(
        self,
        views: Mapping[str, int],
        cells: Mapping[str, np.ndarray[tuple[int, int], np.dtype[np.bool_]]],
        unlinked: Sequence[str],
        workspace: float,
        turn_rad: float,
    ) -> tuple[str, ...]:
        limits, found = self.limits, []
        for name in unlinked:
            other, count = self._best_partner(name, unlinked)
            found.append(
                f"show the board to {name} and {other} at once: {count} of "
                f"{limits.shared_views} shared views"
            )
        few = [name for name in views if views[name] < limits.views_per_camera]
        for name in sorted(few, key=lambda name: views[name]):
            found.append(f"show it to {name}: {views[name]} of {limits.views_per_camera} views")
        for name, seen in cells.items():
            if seen.mean() < limits.image_coverage:
                found.append(f"{name}: bring the board to the {_first_gap(seen)} of its image")
        if turn_rad < limits.turn_rad:
            found.append(
                f"tilt the board: normals span {np.rad2deg(turn_rad):.0f} degrees, wanted "
                f"{np.rad2deg(limits.turn_rad):.0f}"
            )
        if workspace < limits.workspace_coverage:
            found.append(
                f"use more of the workspace, its corners, near and far, low and high: "
                f"{workspace:.0%} of {limits.workspace_coverage:.0%}"
            )
        if len(self._taken) < limits.shots:
            found.append(f"go on to new places: {len(self._taken)} of {limits.shots} shots")
        return tuple(found)

    def _best_partner(self, name: str, unlinked: Sequence[str]) -> tuple[str, int]:
        """The linked camera that shares most views with this one."""
        linked = [camera.name for camera in self.cameras if camera.name not in unlinked]
        best = max(linked, key=lambda other: self._shared(name, other))
        return best, self._shared(name, best)


def corner_motion_px(before: BoardView, after: BoardView) -> float | None:
    """Mean length over common corners by which a view moved; None when none are common.

    From 6 corners on, the motion is that of the best affine map: detection noise averages out.
    """
    common, one, other = np.intersect1d(
        before.corner_ids, after.corner_ids, assume_unique=True, return_indices=True
    )
    if len(common) == 0:
        return None
    delta = after.corners_px[other] - before.corners_px[one]
    if len(common) >= _AFFINE_CORNERS:
        places = np.column_stack([before.corners_px[one], np.ones(len(common))])
        delta = places @ np.linalg.lstsq(places, delta, rcond=None)[0]
    return float(np.linalg.norm(delta, axis=1).mean())


class DepthMean:
    """Averages depth images of a standing scene one by one, keeping sums only.

    A pixel's mean is over its valid frames; one valid in fewer than half of them is 0 (invalid):
    there the surface flickers, and its mean would be biased.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._sum = np.zeros((0, 0), dtype=np.float64)
        self._valid = np.zeros((0, 0), dtype=np.uint16)

    def add(self, depth_m: Float32) -> None:
        """One image [H, W] m, 0 invalid; `CalibrationError` when the size changes."""
        if self.frames == 0:
            self._sum = np.zeros(depth_m.shape, dtype=np.float64)
            self._valid = np.zeros(depth_m.shape, dtype=np.uint16)
        if depth_m.shape != self._sum.shape:
            raise CalibrationError(
                f"depth changed its size from {self._sum.shape} to {depth_m.shape} within a shot; "
                "keep one profile for a session"
            )
        self.frames += 1
        self._sum += depth_m
        self._valid += depth_m > 0

    def mean(self) -> Float32:
        """Mean depth [H, W] m, 0 invalid."""
        kept = (self._valid * 2 >= self.frames) & (self._valid > 0)
        return np.where(kept, self._sum / np.maximum(self._valid, 1), 0.0).astype(np.float32)


def _turn_rad(one: Float64, other: Float64) -> float:
    cosine = (np.trace(one[:3, :3].T @ other[:3, :3]) - 1.0) / 2.0
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _first_gap(seen: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> str:
    row, column = np.argwhere(~seen)[0]
    return f"{_ROWS[row]} {_COLUMNS[column]}"
