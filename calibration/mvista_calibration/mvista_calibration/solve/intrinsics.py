"""One camera's lens from board views: K and distortion, how sure, and how well they foretell.

Factory values are kept by default; this is for cameras without, or to check them. Lenses of the
Azure Kinect's kind want the rational model (8 coefficients): 0.51 px against 0.62 px with five.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mvista_calibration.board.pose import distortion
from mvista_calibration.records import LEAST_CORNERS, Board, BoardView
from mvista_core.errors import CalibrationError
from mvista_core.records import Float64, Intrinsics

LEAST_VIEWS = 6
"""Views without which nothing is fitted: fewer leave focal length and distance to each other."""

ADVISED_VIEWS = 20
"""Distinct views that settle a lens; with fewer the result warns."""

VIEW_RMS_PX = 1.0
"""A view worse than this after the fit is left out: motion, or a bent board (the vendor's gate)."""

OVERALL_RMS_PX = 0.6
"""Warn above: at 4K a good board and a fitting model stay below."""

SIGMA_SHARE = 0.003
"""Refuse when sigma(fx) / fx is above: 0.3 % of fx is 3 mm at 1 m. RMS is no proof: four
near-identical views gave 0.19 px and a focal length 6 % wrong."""

HELD_OUT_RATIO = 1.5
"""Warn when views not used for fitting are so much worse than those used."""

WORST_CONDITION = 1e14
"""Of the scaled normal matrix: above, double precision says nothing about its inverse."""

FOLDS = 5
"""Parts for the held-out error: each is foretold by a fit to the others."""


@dataclass(frozen=True)
class IntrinsicsResult:
    """A lens, its uncertainty (1 sigma, px, of fx fy cx cy) and its errors, RMS over corners, px.

    `held_out_rms_px` is of views that did not take part in the fit (their own pose is fitted),
    `rejected` holds (shot, why), `warnings` what a person should know.
    """

    intrinsics: Intrinsics
    sigma_px: tuple[float, float, float, float]
    rms_px: float
    held_out_rms_px: float
    shots: tuple[int, ...]
    per_view_rms_px: tuple[float, ...]
    rejected: tuple[tuple[int, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def held_out_ratio(self) -> float:
        """Held-out over training error."""
        return self.held_out_rms_px / self.rms_px


@dataclass(frozen=True)
class _Fit:
    matrix: Float64
    distortion: Float64
    sigma_px: Float64
    per_view_rms_px: Float64
    rms_px: float


def calibrate_intrinsics(
    views: Sequence[BoardView], board: Board, size: tuple[int, int], rational: bool = True
) -> IntrinsicsResult:
    """Fit one camera's lens to its views; `size` is (width, height) px.

    Distortion is OpenCV's order: 8 coefficients when `rational`, else 5. Views above 1 px are left
    out one at a time, the worst first.

    Raises:
        CalibrationError: views of several cameras, corners outside the image, too few views, or
            views so alike that the focal length stays unsure.
    """
    camera = _one_camera(views)
    kept, rejected = _usable(views, size, camera)
    while True:
        if len(kept) < LEAST_VIEWS:
            raise CalibrationError(
                f"{camera}: {len(kept)} usable views of {len(views)}, at least {LEAST_VIEWS} "
                f"({ADVISED_VIEWS} are better); left out: "
                f"{'; '.join(f'shot {shot}: {why}' for shot, why in rejected) or 'none'}. Take "
                "more, near and far, tilted by up to 45 degrees, in all corners of the image"
            )
        fit = _fit(kept, board, size, rational)
        worst = int(np.argmax(fit.per_view_rms_px))
        if fit.per_view_rms_px[worst] <= VIEW_RMS_PX:
            break
        why = f"{fit.per_view_rms_px[worst]:.2f} px RMS, at most {VIEW_RMS_PX}"
        # One at a time: a bad view bends the lens by which all the others are judged.
        rejected.append((kept[worst].shot, why))
        kept = [view for i, view in enumerate(kept) if i != worst]
    share = float(fit.sigma_px[0] / fit.matrix[0, 0])
    if not np.isfinite(share) or share > SIGMA_SHARE:
        raise CalibrationError(
            f"{camera}: fx is {fit.matrix[0, 0]:.1f} px with a sigma of {share:.2%}, at most "
            f"{SIGMA_SHARE:.1%}, from {len(kept)} views: they are too alike (RMS "
            f"{fit.rms_px:.2f} px proves nothing). Tilt the board by 30 to 45 degrees about both "
            "axes and fill the corners of the image"
        )
    held_out = held_out_rms_px(kept, board, size, rational)
    return IntrinsicsResult(
        _intrinsics(fit, size),
        (*fit.sigma_px[:2].tolist(), *fit.sigma_px[2:].tolist()),
        fit.rms_px,
        held_out,
        tuple(view.shot for view in kept),
        tuple(float(rms) for rms in fit.per_view_rms_px),
        tuple(rejected),
        _warnings(kept, fit, held_out),
    )


def held_out_rms_px(
    views: Sequence[BoardView], board: Board, size: tuple[int, int], rational: bool = True
) -> float:
    """RMS of corners in views that the lens was not fitted to, each part foretold by the others."""
    squares, corners = 0.0, 0
    for fold in range(min(FOLDS, len(views))):
        # Every fifth view, not a run of them: views in a row look alike and would leave together.
        rest = [view for i, view in enumerate(views) if i % FOLDS != fold]
        lens = _intrinsics(_fit(rest, board, size, rational), size)
        for view in views[fold::FOLDS]:
            squares += float((view_residuals_px(view, board, lens) ** 2).sum())
            corners += len(view.corner_ids)
    return float(np.sqrt(squares / corners))


def view_residuals_px(view: BoardView, board: Board, lens: Intrinsics) -> Float64:
    """Found minus projected corners [N, 2] with the best pose of the board for this lens."""
    points = board.corners_m[view.corner_ids]
    bent = distortion(lens)
    _, turn, shift = cv2.solvePnP(
        points, view.corners_px, lens.matrix, bent, flags=cv2.SOLVEPNP_IPPE
    )
    turn, shift = cv2.solvePnPRefineLM(points, view.corners_px, lens.matrix, bent, turn, shift)
    projected, _ = cv2.projectPoints(points, turn, shift, lens.matrix, bent)
    return np.asarray(view.corners_px - projected.reshape(-1, 2), dtype=np.float64)


def scale_intrinsics(lens: Intrinsics, size: tuple[int, int]) -> Intrinsics:
    """The same lens at another resolution of the same whole image: cx' = (cx + 0.5) s - 0.5.

    Raises:
        CalibrationError: another aspect ratio, which means a crop that only the vendor knows.
    """
    width, height = size
    if width < 1 or height < 1 or width * lens.height_px != height * lens.width_px:
        raise CalibrationError(
            f"{width}x{height} is no scaled {lens.width_px}x{lens.height_px} image: the sensor is "
            "cropped in that mode; use the intrinsics that the device reports for it"
        )
    return lens.scaled(width / lens.width_px)


def _one_camera(views: Sequence[BoardView]) -> str:
    names = sorted({view.camera for view in views})
    if len(names) != 1:
        raise CalibrationError(f"a lens is fitted to one camera's views, not to those of {names}")
    return names[0]


def _usable(
    views: Sequence[BoardView], size: tuple[int, int], camera: str
) -> tuple[list[BoardView], list[tuple[int, str]]]:
    kept: list[BoardView] = []
    rejected: list[tuple[int, str]] = []
    seen: set[bytes] = set()
    for view in views:
        # Pixel centres are at integers: the image reaches from -0.5 to its size less 0.5.
        low, high = view.corners_px.min(axis=0), view.corners_px.max(axis=0)
        if (low < -0.5).any() or (high > np.array(size) - 0.5).any():
            raise CalibrationError(
                f"{camera}, shot {view.shot} {view.source}: corners from {low.round(1)} to "
                f"{high.round(1)} px lie outside a {size[0]}x{size[1]} image; was it taken at "
                "another resolution?"
            )
        content = view.corner_ids.tobytes() + view.corners_px.tobytes()
        if len(view.corner_ids) < LEAST_CORNERS:
            why = f"{len(view.corner_ids)} corners, at least {LEAST_CORNERS}"
            rejected.append((view.shot, why))
        elif content in seen:
            rejected.append((view.shot, "the same corners as an earlier view: a copied image"))
        else:
            kept.append(view)
        seen.add(content)
    return kept, rejected


def _fit(views: Sequence[BoardView], board: Board, size: tuple[int, int], rational: bool) -> _Fit:
    corners_m = board.corners_m.astype(np.float32)
    rms, matrix, distortion, turns, shifts, _, _, per_view = cv2.calibrateCameraExtended(
        [corners_m[view.corner_ids].reshape(-1, 1, 3) for view in views],
        [view.corners_px.astype(np.float32).reshape(-1, 1, 2) for view in views],
        size,
        None,
        None,
        flags=cv2.CALIB_RATIONAL_MODEL if rational else 0,
    )
    k = np.asarray(matrix, dtype=np.float64)
    # OpenCV pads the rational model: what follows the eighth coefficient is zero.
    coefficients = np.asarray(distortion, dtype=np.float64).reshape(-1)[: 8 if rational else 5]
    poses = [(np.asarray(r), np.asarray(t)) for r, t in zip(turns, shifts, strict=True)]
    sigma_px = _sigma_px(views, board, k, coefficients, poses)
    per_view_rms_px = np.asarray(per_view, dtype=np.float64).reshape(-1)
    return _Fit(k, coefficients, sigma_px, per_view_rms_px, float(rms))


def _sigma_px(
    views: Sequence[BoardView],
    board: Board,
    matrix: Float64,
    distortion: Float64,
    poses: Sequence[tuple[Float64, Float64]],
) -> Float64:
    """1 sigma of fx fy cx cy: reduced chi^2 times the inverse normal matrix, poses eliminated.

    OpenCV's own deviations come from a pseudo-inverse that drops what the views do not determine:
    for alike views it gave 0.14 px where the focal length was wrong by 200. Here that is infinite.
    """
    lens = 4 + len(distortion)
    normal = np.zeros((lens, lens))
    squares, count = 0.0, -lens
    for view, (turn, shift) in zip(views, poses, strict=True):
        points = board.corners_m[view.corner_ids]
        projected, jacobian = cv2.projectPoints(points, turn, shift, matrix, distortion)
        pose, ours = jacobian[:, :6], jacobian[:, 6 : 6 + lens]
        basis, _ = np.linalg.qr(pose)
        # What of the lens's columns no motion of the board explains: summed, their squares are the
        # Schur complement of the normal matrix.
        free = ours - basis @ (basis.T @ ours)
        normal += free.T @ free
        squares += float(((view.corners_px - projected.reshape(-1, 2)) ** 2).sum())
        count += 2 * len(points) - 6
    scale = np.sqrt(np.diag(normal))
    if count < 1 or not (scale > 0).all():
        return np.full(4, np.inf)
    scaled = normal / np.outer(scale, scale)
    if np.linalg.cond(scaled) > WORST_CONDITION:
        return np.full(4, np.inf)
    variance = np.diag(np.linalg.inv(scaled))[:4] / scale[:4] ** 2 * squares / count
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)), dtype=np.float64)


def _intrinsics(fit: _Fit, size: tuple[int, int]) -> Intrinsics:
    k = fit.matrix
    distortion = tuple(float(d) for d in fit.distortion)
    return Intrinsics(
        size[0],
        size[1],
        float(k[0, 0]),
        float(k[1, 1]),
        float(k[0, 2]),
        float(k[1, 2]),
        distortion,
    )


def _warnings(views: Sequence[BoardView], fit: _Fit, held_out: float) -> tuple[str, ...]:
    found = []
    if len(views) < ADVISED_VIEWS:
        found.append(f"{len(views)} views; {ADVISED_VIEWS} distinct ones are advised")
    if fit.rms_px > OVERALL_RMS_PX:
        found.append(f"{fit.rms_px:.2f} px RMS; at most {OVERALL_RMS_PX} is usual at 4K")
    if held_out > HELD_OUT_RATIO * fit.rms_px:
        found.append(
            f"held-out views are {held_out / fit.rms_px:.2f} times worse than fitted ones, usual "
            f"is below {HELD_OUT_RATIO}: take more and more varied views"
        )
    return tuple(found)
