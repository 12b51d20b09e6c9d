"""Backgrounds of the drift watch on disk: saved while the rig is good, compared with later."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from mvista_calibration.drift.background import Background
from mvista_core.errors import CalibrationError
from mvista_core.files import make_folder, replace_file
from mvista_core.records import Intrinsics

BROKEN = (zipfile.BadZipFile, zlib.error)
"""What a damaged archive raises beside errors of values."""

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
    make_folder(target.parent, CalibrationError)
    archive = io.BytesIO()
    np.savez_compressed(archive, **arrays)  # type: ignore[arg-type]
    replace_file(target, archive.getvalue(), CalibrationError)


def load_backgrounds(path: Path | str, rig_hash: str) -> tuple[Background, ...]:
    """The backgrounds saved for this very rig file.

    Raises:
        CalibrationError: no such file, not one of ours, or saved for another rig file.
    """
    try:
        # No pickles: a file from elsewhere must not run code here.
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
        if not found or not all(_sound(background) for background in found):
            raise ValueError
    except (OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, *BROKEN):
        raise CalibrationError(
            f"{path} is no drift baseline, or only a part of one; delete it and let the watch "
            "learn one"
        ) from None
    if saved_hash != rig_hash:
        raise CalibrationError(
            f"{path} was learned with another rig file ({saved_hash[:8]}, now {rig_hash[:8]}); "
            "delete it and let the watch learn one"
        )
    return found


def _sound(item: Background) -> bool:
    """Whether the arrays fit each other, as those of `learn_background` do."""
    points, gray_points = len(item.depth_points), len(item.gray_points)
    return (
        item.depth_m.ndim == 2
        and item.depth_m.shape == item.gray.shape == item.static.shape
        and item.depth_points.shape == (points, 3)
        and item.depth_rows.shape[:1] == (points,)
        and item.gray_points.shape == (gray_points, 3)
        and item.gray_rows.shape[:1] == item.gray_values.shape[:1] == (gray_points,)
    )


def _lens(values: np.ndarray) -> Intrinsics:
    width, height, fx, fy, cx, cy = (float(value) for value in values)
    return Intrinsics(round(width), round(height), fx, fy, cx, cy)
