"""How well the streams of an episode belong together, by capture stamps; arrival says nothing.

Camera and camera: for each image of the first camera the nearest image of every other one; a set's
skew is the time between its first and its last capture. Camera and joints: for each image the gap
of joint samples around it, which is what joints are interpolated across.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_core.errors import EpisodeError
from mvista_core.records import Float64, JointState

Stamps = NDArray[np.int64]
MS = 1e6


@dataclass(frozen=True)
class SyncBounds:
    """Beyond these a set of images, or an image beside the joints, is marked."""

    cameras_ms: float = 35.0
    """Half a period at 15 Hz, which cameras that run freely reach, and their stamps' noise."""
    joints_ms: float = 25.0
    """Between the joint samples around an image: five periods at 200 Hz."""


@dataclass(frozen=True)
class Skew:
    """Of one pair of streams, in ms; `marked` are the stamps of images beyond the bound."""

    count: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    bound_ms: float
    marked_ns: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {**asdict(self), "marked_ns": list(self.marked_ns)}


def camera_sets(stamps: Mapping[str, Stamps]) -> Stamps:
    """Indices [N, V]: for each image of the first camera the nearest of every camera.

    Raises:
        EpisodeError: a camera has no image.
    """
    if empty := [name for name, found in stamps.items() if not len(found)]:
        raise EpisodeError(f"no image of {empty}")
    reference = next(iter(stamps.values()))
    return np.stack([nearest(found, reference) for found in stamps.values()], axis=1)


def nearest(stamps: Stamps, wanted: Stamps) -> Stamps:
    """Index of the stamp nearest to each one wanted; `stamps` rise."""
    after = np.clip(np.searchsorted(stamps, wanted), 1, max(len(stamps) - 1, 1))
    if len(stamps) == 1:
        return np.zeros(len(wanted), dtype=np.int64)
    before = after - 1
    closer = np.abs(stamps[before] - wanted) <= np.abs(stamps[after] - wanted)
    return np.where(closer, before, after).astype(np.int64)


def camera_skew(stamps: Mapping[str, Stamps], bounds: SyncBounds) -> Skew | None:
    """Skew of the sets of images; None with fewer than two cameras, or none that has images."""
    seen = {name: np.sort(found) for name, found in stamps.items() if len(found)}
    if len(seen) < 2:
        return None
    chosen = camera_sets(seen)
    there = np.stack([found[chosen[:, k]] for k, found in enumerate(seen.values())], axis=1)
    apart_ms = (there.max(axis=1) - there.min(axis=1)) / MS
    return _skew(apart_ms, next(iter(seen.values())), bounds.cameras_ms)


def joint_gap(images: Stamps, joints: Stamps, bounds: SyncBounds) -> Skew | None:
    """Gaps of joint samples around images; None where there are no images, or not two samples.

    An image before the first or after the last sample is as far off as the nearest one.
    """
    if not len(images) or len(joints) < 2:
        return None
    joints = np.sort(joints)
    after = np.clip(np.searchsorted(joints, images), 1, len(joints) - 1)
    gap = (joints[after] - joints[after - 1]).astype(np.float64)
    outside = np.maximum(joints[0] - images, images - joints[-1])
    return _skew(np.where(outside > 0, outside, gap) / MS, images, bounds.joints_ms)


def interpolated(states: Sequence[JointState], at_ns: Stamps, most_ms: float) -> Float64:
    """Positions [N, J] at the capture stamps, linear between the samples around each.

    Raises:
        EpisodeError: joints change, fewer than two samples, or a stamp that no two samples within
            `most_ms` of each other enclose: nothing is invented.
    """
    if len(states) < 2:
        raise EpisodeError(f"{len(states)} joint states; at least 2 are needed")
    if any(state.names != states[0].names for state in states):
        raise EpisodeError(f"joints change within the episode; they began as {states[0].names}")
    ordered = sorted(states, key=lambda state: state.stamp_ns)
    stamps = np.array([state.stamp_ns for state in ordered], dtype=np.int64)
    positions = np.stack([state.positions for state in ordered])
    after = np.clip(np.searchsorted(stamps, at_ns), 1, len(stamps) - 1)
    gap_ns = stamps[after] - stamps[after - 1]
    lost = ~enclosed(stamps, at_ns, most_ms)
    if lost.any():
        raise EpisodeError(
            f"{int(lost.sum())} of {len(at_ns)} stamps lie outside the joint samples or in a gap "
            f"of over {most_ms:g} ms, the first at {int(at_ns[lost][0])} ns"
        )
    # Whole ns are subtracted before they become floats, which have too few digits for a stamp.
    share = (at_ns - stamps[after - 1]) / np.maximum(gap_ns, 1)
    return np.asarray(
        positions[after - 1] + share[:, None] * (positions[after] - positions[after - 1])
    )


def enclosed(stamps: Stamps, at_ns: Stamps, most_ms: float) -> NDArray[np.bool_]:
    """Which moments [N] lie between two samples within `most_ms` of each other; `stamps` rise."""
    if len(stamps) < 2:
        return np.zeros(len(at_ns), dtype=np.bool_)
    after = np.clip(np.searchsorted(stamps, at_ns), 1, len(stamps) - 1)
    near = stamps[after] - stamps[after - 1] <= most_ms * MS
    return np.asarray((at_ns >= stamps[0]) & (at_ns <= stamps[-1]) & near)


def _skew(apart_ms: Float64, stamps: Stamps, bound_ms: float) -> Skew:
    p50, p95 = (float(value) for value in np.percentile(apart_ms, (50, 95)))
    marked = stamps[apart_ms > bound_ms]
    return Skew(
        len(apart_ms), round(p50, 3), round(p95, 3), round(float(apart_ms.max()), 3), bound_ms,
        tuple(int(stamp) for stamp in marked),
    )  # fmt: skip
