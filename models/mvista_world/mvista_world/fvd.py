"""Frechet video distance (Unterthiner et al. 2018) with an I3D from a local file.

The network is an I3D trained on Kinetics-400 as TorchScript, as the published FVD tools take it:
called with clips float [N, 3, T, 224, 224] in [-1, 1] and the keywords `rescale`, `resize` and
`return_features`, it gives features [N, D]. Its weights are not in this repository, and any other
network's numbers would compare with nobody's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from mvista_core.errors import WeightsError
from mvista_core.records import Float64, UInt8
from mvista_world.compute import choose

SIDE_PX = 224


def video_features(network: Path, color: UInt8) -> Float64:
    """Features [N, D] of clips [N, T, H, W, 3].

    Raises:
        WeightsError: no TorchScript network in that file, or one that takes no such clips.
    """
    try:
        i3d = torch.jit.load(str(network), map_location=choose("fp32").device).eval()
        clips = torch.from_numpy(np.ascontiguousarray(color)).float() / 127.5 - 1.0
        frames = clips.permute(0, 1, 4, 2, 3).flatten(0, 1)
        frames = F.interpolate(frames, (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)
        clips = frames.unflatten(0, color.shape[:2]).transpose(1, 2)
        with torch.no_grad():
            found = i3d(clips, rescale=False, resize=False, return_features=True)
        return np.asarray(found.double().numpy(), np.float64)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{network} is no TorchScript I3D of the FVD tools: {str(error).splitlines()[0]}"
        ) from None


def frechet_distance(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of Gaussians fitted to features [N, D], [M, D].

    With fewer clips than D the covariances are of low rank and the value is biased upwards:
    compare only values of equal N and M. NaN with fewer than two clips.
    """
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if min(len(a), len(b)) < 2:
        return float("nan")
    apart = float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum())
    first, second = (x - x.mean(axis=0) for x in (a, b))
    first, second = first / np.sqrt(len(a) - 1), second / np.sqrt(len(b) - 1)
    # tr (C C')^(1/2) with C = A^T A and C' = B^T B is the nuclear norm of A B^T, which needs no
    # root of a matrix of low rank.
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return apart + float((first**2).sum() + (second**2).sum() - 2.0 * shared)
