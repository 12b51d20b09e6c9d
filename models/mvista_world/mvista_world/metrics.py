"""How good is an imagined rollout? Image, depth and geometry metrics, conventions written down.

The paper (Sec. 5.1, "Metrics") names PSNR, SSIM, FVD, AbsRel, RMSE, delta1, Chamfer and earth
mover's distance and gives no formula: those below are each measure's usual one. Its tables scale
SSIM, AbsRel, RMSE, CD and EMD by 100, and delta1 as well (captions of Tables 1, 7 and 10); values
here are in SI units and shares. FVD is in `fvd.py`: it needs weights that are not here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]


def psnr(predicted: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of uint8 arrays of one shape; peak 255; inf when equal.

    The squared error is averaged over the whole array. For a clip, average per-frame values or
    pass the clip whole: the two differ, so say which.
    """
    _same_shape(predicted, target)
    error = np.mean((predicted.astype(np.float64) - target.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10.0 * np.log10(255.0**2 / error))


def ssim(predicted: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """Structural similarity of uint8 images [..., H, W, 3], mean over pixels, channels and images.

    Wang et al. 2004: Gaussian window of sigma 1.5 cut to 11x11, K1 = 0.01, K2 = 0.03, range 255,
    biased (window-weighted) covariances, computed per RGB channel; a border of 5 pixels, where
    the window would leave the image, is not counted. Images must be larger than 10 pixels.

    Raises:
        ValueError: shapes differ, the last axis is not 3, or the image is too small.
    """
    _same_shape(predicted, target)
    if predicted.ndim < 3 or predicted.shape[-1] != 3 or min(predicted.shape[-3:-1]) < 11:
        raise ValueError(f"ssim wants [..., H >= 11, W >= 11, 3], got {predicted.shape}")
    x, y = predicted.astype(np.float64), target.astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def window(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sigma = (0.0,) * (values.ndim - 3) + (1.5, 1.5, 0.0)
        return np.asarray(gaussian_filter(values, sigma, radius=5))

    mean_x, mean_y = window(x), window(y)
    variance_x = window(x * x) - mean_x**2
    variance_y = window(y * y) - mean_y**2
    covariance = window(x * y) - mean_x * mean_y
    # Luminance times contrast and structure, the last two joined by C3 = C2 / 2 (Wang, Eq. 13).
    score = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(score[..., 5:-5, 5:-5, :].mean())


def abs_rel(predicted_m: NDArray[np.floating], target_m: NDArray[np.floating]) -> float:
    """Mean |d - d*| / d* over the valid pixels (target > 0 and predicted > 0).

    No scale or shift alignment: the depth is metric. NaN when no pixel is valid.
    """
    d, truth = _valid(predicted_m, target_m)
    return float(np.mean(np.abs(d - truth) / truth)) if d.size else float("nan")


def rmse_m(predicted_m: NDArray[np.floating], target_m: NDArray[np.floating]) -> float:
    """Root mean square depth error in metres over the valid pixels (both > 0); NaN when none."""
    d, truth = _valid(predicted_m, target_m)
    return float(np.sqrt(np.mean((d - truth) ** 2))) if d.size else float("nan")


def delta1(predicted_m: NDArray[np.floating], target_m: NDArray[np.floating]) -> float:
    """Share of valid pixels (both > 0) with max(d/d*, d*/d) < 1.25, in [0, 1]; NaN when none."""
    d, truth = _valid(predicted_m, target_m)
    return float(np.mean(np.maximum(d / truth, truth / d) < 1.25)) if d.size else float("nan")


def valid_agreement(predicted_m: NDArray[np.floating], target_m: NDArray[np.floating]) -> float:
    """Intersection over union of the two validity masks (depth > 0); 1 when both are empty.

    The depth metrics look only where both are valid, so report this beside them.
    """
    _same_shape(predicted_m, target_m)
    ours, theirs = np.asarray(predicted_m) > 0, np.asarray(target_m) > 0
    union = np.count_nonzero(ours | theirs)
    return float(np.count_nonzero(ours & theirs) / union) if union else 1.0


def chamfer_m(predicted_m: NDArray[np.floating], target_m: NDArray[np.floating]) -> float:
    """Chamfer distance of clouds [N, 3] and [M, 3], metres.

    Mean nearest-neighbour Euclidean distance (not squared), averaged over the two directions:
    (mean_p min_q |p-q| + mean_q min_p |p-q|) / 2.

    Raises:
        ValueError: a cloud is empty or not [N, 3].
    """
    ours, theirs = _cloud(predicted_m), _cloud(target_m)
    forward = cKDTree(theirs).query(ours)[0]
    backward = cKDTree(ours).query(theirs)[0]
    return float((np.mean(forward) + np.mean(backward)) / 2.0)


def emd_m(
    predicted_m: NDArray[np.floating],
    target_m: NDArray[np.floating],
    samples: int = 512,
    seed: int = 0,
) -> float:
    """Earth mover's distance of two clouds, metres: mean distance of the best one-to-one match.

    Exact assignment (Hungarian) between `samples` points drawn from each without replacement
    (fewer when a cloud is smaller), so the value depends on `samples` and has a floor of about
    the sampling distance (`emd_floor_m`): compare only values of equal `samples`. It is
    symmetric, and 0 for a cloud and itself.

    Raises:
        ValueError: a cloud is empty or not [N, 3].
    """
    ours, theirs = _cloud(predicted_m), _cloud(target_m)
    # Exact assignment is cubic in the points: a sample, drawn alike from either cloud.
    count = min(samples, len(ours), len(theirs))
    ours, theirs = (
        cloud[np.random.default_rng(seed).permutation(len(cloud))[:count]]
        for cloud in (ours, theirs)
    )
    return _matched_m(ours, theirs)


def emd_floor_m(points_m: NDArray[np.floating], samples: int = 512, seed: int = 0) -> float:
    """`emd_m` of two disjoint samples of one cloud: what sampling alone costs; NaN if too small.

    Raises:
        ValueError: the cloud is empty or not [N, 3].
    """
    cloud = _cloud(points_m)
    if len(cloud) < 2 * samples:
        return float("nan")
    drawn = cloud[np.random.default_rng(seed).permutation(len(cloud))[: 2 * samples]]
    return _matched_m(drawn[:samples], drawn[samples:])


def _matched_m(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Mean distance of the best one-to-one match of clouds [N, 3] of one size."""
    cost = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def _same_shape(a: NDArray[np.generic], b: NDArray[np.generic]) -> None:
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"metrics compare arrays of one non-empty shape, got {a.shape}, {b.shape}")


def _valid(
    predicted_m: NDArray[np.floating], target_m: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    _same_shape(predicted_m, target_m)
    mask: Mask = (predicted_m > 0) & (target_m > 0)
    return predicted_m[mask].astype(np.float64), target_m[mask].astype(np.float64)


def _cloud(points_m: NDArray[np.floating]) -> NDArray[np.float64]:
    points = np.asarray(points_m, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"a cloud is [N >= 1, 3] points in metres, got {points.shape}")
    return points
