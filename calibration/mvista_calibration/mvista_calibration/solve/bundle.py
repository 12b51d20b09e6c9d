"""Least squares over camera poses, board poses and lenses at once, and what it leaves uncertain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mvista_calibration.board.pose import distortion
from mvista_calibration.records import BoardView, Session, SessionCamera
from mvista_calibration.twists import moved, point_jacobian
from mvista_core.geometry import invert, transform_points
from mvista_core.records import Float64

HUBER_PX = 1.0
LEAST_SIGMA_PX = 0.02
FOCAL_SD, ASPECT_SD, CENTRE_SD = 1e-3, 2e-4, 2.0 / 3840.0
"""What reported intrinsics are trusted to: fraction of f, of fx against fy, centre per width."""
BOARD_SD = 3e-4
"""What the board's measured size is trusted to: 0.06 mm on a scale bar of 200 mm."""
STEPS = 30
STILL = 1e-9


@dataclass(frozen=True)
class BundleState:
    """`cameras` [C, 4, 4] and `boards` [S, 4, 4] in the reference frame; `lenses` [C, 4] px."""

    cameras: Float64
    boards: Float64
    lenses: Float64
    """fx, fy, cx, cy."""

    def only(self, rows: Sequence[int]) -> BundleState:
        """The same with some of the boards."""
        return replace(self, boards=self.boards[list(rows)])


class Bundle:
    """Views of one session as least squares; cameras, boards and lenses in this order.

    Unknowns are twists of all cameras but the first (none with `fixed_cameras`), twists of all
    boards, and with `noise_px` four lens numbers per camera, held by what their reported values
    are trusted to against corners of that noise. Without, lenses stay as they are.
    """

    def __init__(
        self,
        session: Session,
        views: Sequence[BoardView],
        noise_px: float | None = None,
        fixed_cameras: bool = False,
    ) -> None:
        self.views = list(views)
        self.shots = sorted({view.shot for view in views})
        self.noise_px = noise_px
        self._session = session
        self._points = session.board.corners_m
        self._reported = reported_lenses(session.cameras)
        # Inverse covariances; times noise_px^2 they are in px^2, as the corners' sum is.
        self._certain = np.stack([np.linalg.inv(lens_prior(c)) for c in session.cameras])
        self._twists = 0 if fixed_cameras else 6 * (len(session.names) - 1)
        self._lens_at = self._twists + 6 * len(self.shots)
        self.size = self._lens_at + (0 if noise_px is None else 4 * len(session.names))
        self._at = [
            (session.names.index(view.camera), self.shots.index(view.shot)) for view in views
        ]

    def residuals(self, state: BundleState) -> list[Float64]:
        """Pixels [N, 2] per view, projected minus seen."""
        found = []
        for view, (c, s) in zip(self.views, self._at, strict=True):
            reference = transform_points(state.boards[s], self._points[view.corner_ids])
            seen = transform_points(invert(state.cameras[c]), reference)
            pixels = project(seen, state.lenses[c], self._session.cameras[c])[0]
            found.append(np.asarray(pixels - view.corners_px))
        return found

    def solve(self, state: BundleState) -> BundleState:
        """Levenberg-Marquardt with Huber weights."""
        # Not scipy.optimize.least_squares: of the same cost it gives the same poses (to 6 nm) in
        # twelve times the processor time, for it wants the Jacobian whole, and a view touches 16
        # of its 130 columns; its robust losses are of single numbers, Huber's of a corner's length.
        damping, cost = 1e-3, self.cost(state)
        for _ in range(STEPS):
            full, gradient = self.normal_equations(state)
            information = full[: self.size, : self.size]
            while True:
                # Marquardt's scaling by the diagonal: metres, radians and pixels then share one
                # damping.
                damped = information + damping * np.diag(np.diag(information))
                trial = self.stepped(state, np.linalg.solve(damped, gradient[: self.size]))
                lower = self.cost(trial)
                if lower <= cost or damping > 1e8:
                    break
                damping *= 10.0
            if lower > cost:
                break
            done = cost - lower <= STILL * max(cost, 1e-12)
            state, cost, damping = trial, lower, max(damping / 10.0, 1e-9)
            if done:
                break
        return state

    def sigma_px(self, state: BundleState) -> float:
        """Noise of one coordinate of a corner; outliers have no say in it."""
        squares = np.concatenate([(r**2).sum(axis=1) for r in self.residuals(state)])
        # Two residuals a corner; what poses take up is not noise. A capped outlier counts as
        # Huber's bound.
        freedom = max(2 * len(squares) - self._lens_at, 1)
        capped = np.minimum(squares, HUBER_PX**2)
        return max(float(np.sqrt(capped.sum() / freedom)), LEAST_SIGMA_PX)

    def covariance(self, state: BundleState) -> Float64:
        """Of the cameras' twists [6 (C - 1), 6 (C - 1)]: corner noise, trust in lenses and board.

        The board's size and lenses that stayed fixed are "consider parameters": no corner can
        tell them, so they count as uncertain although nothing was solved for.
        """
        full, _ = self.normal_equations(state)
        # Least squares: cov = sigma^2 (J^T W J)^-1; of its inverse the cameras' block, boards and
        # lenses marginalised by inverting whole.
        variance = self.sigma_px(state) ** 2
        # A board larger by a fraction makes all distances between cameras larger by as much.
        grown = np.pad(state.cameras[1:, :3, 3], ((0, 0), (0, 3))).ravel()
        of_board = BOARD_SD**2 * np.outer(grown, grown)
        if self.noise_px is not None:
            inverse = np.linalg.inv(full)[: self._twists, : self._twists]
            return np.asarray(variance * inverse + of_board)
        inverse = np.linalg.inv(full[: self.size, : self.size])[: self._twists]
        covariance = variance * inverse[:, : self._twists] + of_board
        for k, camera in enumerate(self._session.cameras):
            at = self._lens_at + 4 * k
            # d twist / d lens = (J^T J)^-1 J^T J_lens: how far a wrong lens pulls the cameras along
            # (Bierman 1977, consider covariance).
            sensitivity = inverse @ full[: self.size, at : at + 4]
            covariance = covariance + sensitivity @ lens_prior(camera) @ sensitivity.T
        return np.asarray(covariance)

    def cost(self, state: BundleState) -> float:
        """Huber's sum over corners, and the prior on lenses where they are free; px^2."""
        total = 0.0
        for residual in self.residuals(state):
            size = np.sqrt((residual**2).sum(axis=1))
            # Of the residual's length, not of x and y apart: the same for a board however it is
            # turned.
            wild = HUBER_PX * (2 * size - HUBER_PX)
            total += float(np.where(size < HUBER_PX, size**2, wild).sum())
        if self.noise_px is not None:
            away = state.lenses - self._reported
            total += self.noise_px**2 * float(np.einsum("ci,cij,cj", away, self._certain, away))
        return total

    def stepped(self, state: BundleState, step: NDArray[np.floating]) -> BundleState:
        """The state after a step [size] of all unknowns."""
        cameras, lenses = state.cameras, state.lenses
        if self._twists:
            twists = step[: self._twists].reshape(-1, 6)
            others = [moved(p, t) for p, t in zip(cameras[1:], twists, strict=True)]
            cameras = np.stack([cameras[0], *others])
        twists = step[self._twists : self._lens_at].reshape(-1, 6)
        boards = [moved(pose, twist) for pose, twist in zip(state.boards, twists, strict=True)]
        if self.noise_px is not None:
            lenses = lenses + step[self._lens_at :].reshape(-1, 4)
        return BundleState(cameras, np.stack(boards), lenses)

    def normal_equations(self, state: BundleState) -> tuple[Float64, Float64]:
        """J^T W J and -J^T W r over all unknowns, lenses always last; the prior only if free."""
        total = self._lens_at + 4 * len(self._session.names)
        information, gradient = np.zeros((total, total)), np.zeros(total)
        for view, (c, s) in zip(self.views, self._at, strict=True):
            columns, jacobian, residual = self._rows(view, c, s, state)
            size = np.sqrt((residual**2).sum(axis=1))
            # Iteratively reweighted: w = rho'(r) / r, 1 within the bound and HUBER_PX / r beyond.
            weight = np.minimum(1.0, HUBER_PX / np.maximum(size, 1e-12))[:, None, None]
            flat = (weight * jacobian).reshape(-1, len(columns))
            information[np.ix_(columns, columns)] += flat.T @ jacobian.reshape(-1, len(columns))
            gradient[columns] -= flat.T @ residual.ravel()
        if self.noise_px is not None:
            for k, certain in enumerate(self._certain):
                rows = slice(self._lens_at + 4 * k, self._lens_at + 4 * k + 4)
                information[rows, rows] += self.noise_px**2 * certain
                away = state.lenses[k] - self._reported[k]
                gradient[rows] -= self.noise_px**2 * certain @ away
        return information, gradient

    def _rows(
        self, view: BoardView, c: int, s: int, state: BundleState
    ) -> tuple[list[int], Float64, Float64]:
        """Columns of one view's unknowns, derivatives [N, 2, columns], residuals [N, 2]."""
        reference = transform_points(state.boards[s], self._points[view.corner_ids])
        seen = transform_points(invert(state.cameras[c]), reference)
        pixels, by_point, by_lens = project(seen, state.lenses[c], self._session.cameras[c])
        # x = R_c^T (p - t_c) with p in the reference frame, so dx = R_c^T dp; a camera's own twist
        # moves p the other way, hence `-by_board`.
        by_board = by_point @ (state.cameras[c][:3, :3].T @ point_jacobian(reference))
        columns = [self._twists + 6 * s + k for k in range(6)]
        columns += [self._lens_at + 4 * c + k for k in range(4)]
        parts = [by_board, by_lens]
        if self._twists and c > 0:
            columns = [*(6 * (c - 1) + k for k in range(6)), *columns]
            parts = [-by_board, *parts]
        return columns, np.concatenate(parts, axis=2), np.asarray(pixels - view.corners_px)


def project(
    points: Float64, lens: Float64, camera: SessionCamera
) -> tuple[Float64, Float64, Float64]:
    """Pixels [N, 2] of points in the optical frame, and their derivatives by the point [N, 2, 3]
    and by the lens's fx, fy, cx, cy [N, 2, 4]."""
    fx, fy, cx, cy = lens
    matrix = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    pixels, jacobian = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), matrix, distortion(camera.intrinsics)
    )
    by_all = jacobian.reshape(len(points), 2, -1)
    return pixels.reshape(-1, 2), by_all[:, :, 3:6], by_all[:, :, 6:10]


def reported_lenses(cameras: Sequence[SessionCamera]) -> Float64:
    """fx, fy, cx, cy [C, 4] px of colour."""
    lenses = [camera.intrinsics for camera in cameras]
    return np.array([[k.fx_px, k.fy_px, k.cx_px, k.cy_px] for k in lenses])


def with_lens(camera: SessionCamera, lens: NDArray[np.floating]) -> SessionCamera:
    """The camera with fx, fy, cx, cy [4] of its colour; its depth is the same lens and follows."""
    fx, fy, cx, cy = (float(value) for value in lens)
    k, d = camera.intrinsics, camera.depth_intrinsics
    across, down = d.fx_px / k.fx_px, d.fy_px / k.fy_px
    return replace(
        camera,
        intrinsics=replace(k, fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy),
        depth_intrinsics=replace(
            d,
            fx_px=fx * across,
            fy_px=fy * down,
            cx_px=d.cx_px + (cx - k.cx_px) * across,
            cy_px=d.cy_px + (cy - k.cy_px) * down,
        ),
    )


def lens_prior(camera: SessionCamera) -> Float64:
    """Covariance [4, 4] of what a camera's reported fx, fy, cx, cy are trusted to, px^2."""
    k = camera.intrinsics
    common = np.array([k.fx_px, k.fy_px, 0.0, 0.0]) * FOCAL_SD
    apart = np.array([k.fx_px, -k.fy_px, 0.0, 0.0]) * ASPECT_SD
    centre = np.diag([0.0, 0.0, 1.0, 1.0]) * (CENTRE_SD * k.width_px) ** 2
    return np.asarray(np.outer(common, common) + np.outer(apart, apart) + centre)
