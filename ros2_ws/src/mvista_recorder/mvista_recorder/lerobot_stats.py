"""Statistics of LeRobot's features, per episode and of all: min, max, mean, std, count, quantiles.

Images count by a sample of their frames and pixels, colour in 0 to 1 and depth in mm, each channel
[C, 1, 1]; numbers by all of them, [D].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvista_core.records import Float64

Stats = Mapping[str, NDArray[Any]]
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
SAMPLED_FRAMES = 100
SAMPLED_SIDE_PX = 150
BRIGHTEST = 255.0


def sampled(count: int) -> frozenset[int]:
    """Which frames of an episode its images' statistics are made of."""
    few = np.linspace(0, count - 1, min(count, SAMPLED_FRAMES))
    return frozenset(int(k) for k in np.round(few))


def thinned(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Some pixels of an image [H, W(, C)], evenly spread; a copy."""
    step = max(1, max(image.shape[:2]) // SAMPLED_SIDE_PX)
    return image[::step, ::step].copy()


def image_stats(images: Sequence[NDArray[np.generic]], scale: float) -> Stats:
    """Of images [H, W, C] or [H, W], divided by `scale`: each [C, 1, 1]; `count` is of images."""
    stacked = np.stack(images).astype(np.float64) / scale
    channels = 1 if stacked.ndim == 3 else stacked.shape[-1]
    found = _stats(stacked.reshape(-1, channels))
    shaped = {key: value.reshape(channels, 1, 1) for key, value in found.items()}
    return {**shaped, "count": np.array([len(images)])}


def number_stats(values: NDArray[np.generic]) -> Stats:
    """Of numbers [N, D]: each [D]; `count` is N."""
    return {**_stats(values.astype(np.float64)), "count": np.array([len(values)])}


def together(parts: Sequence[Stats]) -> Stats:
    """Of several episodes. Quantiles are means weighted by count, as LeRobot has them."""
    counts = np.array([part["count"][0] for part in parts], dtype=np.float64)

    def mean(of: str) -> Float64:
        values = np.stack([part[of] for part in parts]).astype(np.float64)
        return np.asarray(np.tensordot(counts / counts.sum(), values, axes=1))

    whole = mean("mean")
    # What varies within an episode, and between their means (the law of total variance).
    apart = [part["std"] ** 2 + (part["mean"] - whole) ** 2 for part in parts]
    variance = np.tensordot(counts / counts.sum(), np.stack(apart), axes=1)
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": whole,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
        **{key: mean(key) for key in QUANTILES},
    }


def _stats(rows: Float64) -> dict[str, Float64]:
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }
