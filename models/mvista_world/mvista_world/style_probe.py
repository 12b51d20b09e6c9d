"""Do latents hold the motion? A linear probe of each demonstration's style, beside its bounds.

The generator can follow only what the autoencoder keeps, and Eq. 11 can find only what the latents
of a rollout show. A ridge regression reads shift, lift and delay from them; the same regression
reads the first frame alone, where no motion is yet (the floor), and the mode of q(z | a), which was
told the actions (the ceiling).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from mvista_core import weights
from mvista_core.errors import ConfigError
from mvista_core.records import Float64, RigCalibration
from mvista_world.checkpoint import load_checkpoint
from mvista_world.training import data, recordings

STYLES = ("shift x", "shift y", "lift", "delay")
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Tried relative to the features' mean square."""
FEWEST = 40


def held_out_r2(features: NDArray[np.floating], targets: Float64, held_out: int) -> Float64:
    """Share of the variance [P] of the last rows' targets [N, P] that a ridge regression on the
    first rows' features [N, D] explains; below 0 it is worse than their mean. Each target's ridge
    is chosen on a fifth of the first rows."""
    cut = len(features) - held_out
    inner = cut - cut // 5
    tried = [_r2(features[:cut], targets[:cut], inner, ridge) for ridge in RIDGES]
    found = np.stack([_r2(features, targets, cut, ridge) for ridge in RIDGES])
    return found[np.argmax(tried, axis=0), np.arange(targets.shape[1])]


def _r2(features: NDArray[np.floating], targets: Float64, cut: int, ridge: float) -> Float64:
    x = features.astype(np.float64) - features[:cut].mean(axis=0, dtype=np.float64)
    y = targets - targets[:cut].mean(axis=0)
    # There are many more features than episodes: solve in the space of episodes.
    gram = x @ x[:cut].T
    damping = ridge * max(np.trace(gram[:cut]) / cut, 1e-12)
    weight = np.linalg.solve(gram[:cut] + damping * np.eye(cut), y[:cut])
    error = y[cut:] - gram[cut:] @ weight
    return np.asarray(1.0 - (error**2).sum(axis=0) / (y[cut:] ** 2).sum(axis=0))


def measure(
    checkpoint: Path, folder: Path, rig: RigCalibration, held_out: int, view: int = 0
) -> dict[str, dict[str, float]]:
    """R2 of each of `STYLES` on the last `held_out` episodes of a data set, read by one view.

    Raises:
        ConfigError: shards that state no styles, or too few episodes.
        WeightsError: no such checkpoint.
    """
    loaded = load_checkpoint(checkpoint)
    styles = _styles(folder)
    if held_out < 2 or len(styles) - held_out < FEWEST:
        raise ConfigError(
            f"{folder} has {len(styles)} episodes, {held_out} of them to hold out; a probe needs "
            f"at least {FEWEST} to learn from and 2 to be tried on, see --held-out"
        )
    codec_sha = weights.sha256_of(checkpoint / "codec.safetensors")
    # One view by itself: what it shows of others is not asked for.
    config = replace(loaded.config, source_render=None, source_points=None, vantage=None)
    with TemporaryDirectory() as cache:
        seen = data.load_latents(
            [folder], Path(cache), loaded.codec, config, codec_sha, loaded.compute, rig
        )
    one_view = seen.latents[:, view]
    with torch.no_grad():
        told = loaded.trajectory.encode(torch.from_numpy(seen.actions[:, 0])).numpy()
    rows = {"first frame": one_view[:, :, :, 0], "latents": one_view, "q(z | a)": told}
    return {
        name: dict(zip(STYLES, held_out_r2(_flat(row), styles, held_out).tolist(), strict=True))
        for name, row in rows.items()
    }


def _flat(row: NDArray[np.floating]) -> NDArray[np.floating]:
    return row.reshape(len(row), -1)


def _styles(folder: Path) -> Float64:
    found = []
    for path in recordings.shard_paths([folder]):
        with np.load(path) as shard:
            if "style" not in shard or shard["actions"].ndim != 3:
                raise ConfigError(
                    f"{path} states no styles of executed episodes; `mvista dataset collect` "
                    "without --grounding makes data that do"
                )
            found.append(shard["style"].astype(np.float64))
    return np.concatenate(found)
