"""What a rollout begins with: the source's window, or that drawn at a vantage (`Vantage`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mvista_core.errors import ObservationError
from mvista_core.imaging import ModelWindow
from mvista_core.records import CameraCalibration, CameraFrame
from mvista_world.reprojection import PosedLens, Reprojection, reproject
from mvista_world.requested_views import RequestedViews
from mvista_world.shown import draw_source

SMALLEST_SHARE = 0.1
"""Of a vantage's window that the source has to show: below it the two look at other places."""


def whole_window(frame: CameraFrame) -> Reprojection:
    """A model window that a camera filmed itself."""
    return Reprojection(frame.color, frame.depth_m, np.ones(frame.depth_m.shape, np.bool_))


def given_to(
    views: RequestedViews, seen: CameraFrame, own: CameraFrame, window: ModelWindow
) -> Reprojection:
    """The model window that the generator's first view is given, of the source's image `seen` and
    the source's window `own` of that.

    Raises:
        ObservationError: of what lies before the vantage the source shows next to nothing.
    """
    if views.vantage is None:
        return whole_window(own)
    drawn = _drawn(views, seen, views.vantage)
    share = float(drawn.covered.mean())
    if share < SMALLEST_SHARE:
        raise ObservationError(
            f"camera '{views.names[0]}' shows {share:.0%} of what the model looks at (at least "
            f"{SMALLEST_SHARE:.0%} is asked): it is aimed elsewhere, its depth is missing or its "
            "pose is wrong"
        )
    return _windowed(drawn, views.vantage, window)


def drawn_in(
    views: RequestedViews, seen: CameraFrame, own: CameraFrame, window: ModelWindow, place: int
) -> Reprojection:
    """What the source's whole image `seen` shows of the window of one of the views asked for; of
    the source's own that is its window `own`."""
    if place == 0:
        return whole_window(own)
    camera = views.calibrations[place]
    return _windowed(_drawn(views, seen, camera), camera, window)


def _drawn(views: RequestedViews, seen: CameraFrame, camera: CameraCalibration) -> Reprojection:
    """The source's whole image as another camera would see it."""
    here = PosedLens(seen.intrinsics, views.calibrations[0].base_from_camera)
    there = PosedLens(camera.intrinsics, camera.base_from_camera)
    return reproject(seen.color, seen.depth_m, here, there)


def _windowed(drawn: Reprojection, camera: CameraCalibration, window: ModelWindow) -> Reprojection:
    """The model window of that, filled."""
    filled = drawn.filled()
    whole = CameraFrame(filled.color, filled.depth_m, camera.intrinsics, 0, camera.name)
    # As depth, 1 where the source shows something: of a block of pixels the window keeps that.
    shown = replace(whole, depth_m=drawn.covered.astype(np.float32))
    frame = window.frame(whole)
    return Reprojection(frame.color, frame.depth_m, window.frame(shown).depth_m > 0)


def seen_of(
    views: RequestedViews, own: CameraFrame, given: Reprojection, window: ModelWindow
) -> list[Reprojection]:
    """What the source's window `own` shows of every view of the generator's grid; the first is
    `given`."""
    _, *others = (_window_lens(camera, window) for camera in views.grid)
    source = _window_lens(views.calibrations[0], window)
    if views.vantage is None:
        return [given, *draw_source(own.color, own.depth_m, source, others)]
    # The source itself is the last of them.
    targets = draw_source(own.color, own.depth_m, source, others[:-1])
    return [given, *targets, whole_window(own)]


def _window_lens(camera: CameraCalibration, window: ModelWindow) -> PosedLens:
    return PosedLens(window.intrinsics(camera.intrinsics), camera.base_from_camera)
