"""The plan's clock against the wall's: when was time zero, and what was seen when. No ROS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mvista_cli.demo.record import JointSeries, Reality
from mvista_core.imaging import ModelWindow
from mvista_core.records import ActionTrajectory, CameraFrame, Float64, Intrinsics, Rollout
from mvista_core.timing import ns_to_seconds

SEARCH_STEP_S = 0.01
NEAR_S = 0.15
"""An image farther from the wanted time than this (two periods at 15 Hz) does not show it."""


def start_offset(sent: JointSeries, plan: ActionTrajectory) -> float:
    """Seconds from the first set-point to the plan's time zero (>= 0), by least squares.

    The executor may first approach the plan's start, and starts and ends at rest.
    """
    order = [sent.joint_names.index(name) for name in plan.joint_names]
    scale = np.maximum(np.ptp(plan.positions, axis=0), 1e-3)
    latest = max(0.0, float(sent.times_s[-1] - plan.times_s[-1]))
    offsets = np.arange(0.0, latest + SEARCH_STEP_S, SEARCH_STEP_S)

    def misfit(offset_s: float) -> float:
        times = plan.times_s + offset_s
        columns = [np.interp(times, sent.times_s, sent.positions[:, j]) for j in order]
        return float((((np.stack(columns, axis=1) - plan.positions) / scale) ** 2).sum())

    return float(min(offsets, key=misfit))


def window_like(model: Intrinsics, camera: Intrinsics) -> ModelWindow:
    """The crop and reduction that turn a camera's image into the model's."""
    return ModelWindow(model.width_px, model.height_px, round(camera.fx_px / model.fx_px))


def reality_of(
    rollout: Rollout, frames: Sequence[Sequence[CameraFrame | None]], start_ns: int
) -> Reality:
    """Frames [V][T] of the rollout's views at its times, reduced as the model sees them."""
    color, depth_m = np.zeros_like(rollout.color), np.zeros_like(rollout.depth_m)
    late_s = np.full(depth_m.shape[:2], np.nan)
    for view, row in enumerate(frames):
        for index, frame in enumerate(row):
            if frame is None:
                continue
            window = window_like(rollout.intrinsics[view], frame.intrinsics).frame(frame)
            color[view, index], depth_m[view, index] = window.color, window.depth_m
            taken_s = ns_to_seconds(frame.stamp_ns - start_ns)
            late_s[view, index] = taken_s - rollout.times_s[index]
    return Reality(color, depth_m, late_s)


def nearest(stamps_ns: Sequence[int], wanted_ns: int) -> int | None:
    """The stamp closest to `wanted_ns`, or None when none lies within `NEAR_S`."""
    found = min(stamps_ns, key=lambda stamp: abs(stamp - wanted_ns), default=None)
    if found is None or abs(ns_to_seconds(found - wanted_ns)) > NEAR_S:
        return None
    return found


def decimated(series: JointSeries, rate_hz: float) -> JointSeries:
    """At most `rate_hz` samples per second, for drawing."""
    if len(series.times_s) < 2:
        return series
    period_s = float(np.median(np.diff(series.times_s)))
    step = max(1, round(1.0 / (rate_hz * period_s))) if period_s > 0 else 1
    return JointSeries(series.joint_names, series.times_s[::step], series.positions[::step])


def shifted(series: JointSeries, offset_s: float) -> JointSeries:
    """The same series on a clock whose zero lies `offset_s` later."""
    times_s: Float64 = series.times_s - offset_s
    return JointSeries(series.joint_names, times_s, series.positions)
