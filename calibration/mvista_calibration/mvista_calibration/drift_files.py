"""Backgrounds of the drift watch on disk: saved while the rig is good, compared with later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from mvista_calibration.drift_background import Background
from mvista_core.errors import CalibrationError
from mvista_core.records import Intrinsics

_ARRAYS = [item.name for item in fields(Background) if item.name not in ("camera", "intrinsics")]


def save_backgrounds(backgrounds: Sequence[Background], rig_hash: str, path: Path | str) -> None:
    """Write all cameras' backgrounds into one .npz, whole or not at all."""
    arrays: dict[str, np.ndarray] = {"rig_hash": np.array(rig_hash)}
    for item in backgrounds:
        lens = item.intrinsics
        arrays[f"{item.camera}/intrinsics"] = np.array(
            [lens.width_px, lens.height_px, lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px]
        )
        for name in _ARRAYS:
            arrays[f"{item.camera}/{name}"] = getattr(item, name)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part.npz")
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
    part.replace(target)


def load_backgrounds(path: Path | str, rig_hash: str) -> tuple[Background, ...]:
    """The backgrounds saved for this very rig file.

    Raises:
        CalibrationError: no such file, not one of ours, or saved for another rig file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        saved_hash = str(arrays.pop("rig_hash"))
        cameras = sorted({name.split("/")[0] for name in arrays})
        found = tuple(
            Background(
                camera=camera,
                intrinsics=_lens(arrays[f"{camera}/intrinsics"]),
                **{name: arrays[f"{camera}/{name}"] for name in _ARRAYS},
            )
            for camera in cameras
        )
    except (OSError, ValueError, KeyError) as error:
        raise CalibrationError(
            f"{path} is no drift baseline ({error}); delete it and let the watch learn one"
        ) from None
    if saved_hash != rig_hash:
        raise CalibrationError(
            f"{path} was learned with another rig file ({saved_hash[:8]}, now {rig_hash[:8]}); "
            "delete it and let the watch learn one"
        )
    return found


def _lens(values: np.ndarray) -> Intrinsics:
    width, height, fx, fy, cx, cy = (float(value) for value in values)
    return Intrinsics(round(width), round(height), fx, fy, cx, cy)
