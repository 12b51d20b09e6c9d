"""Cached latents: which file holds a shard's, and what may not be taken for them."""

from __future__ import annotations

import hashlib
import inspect
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mvista_core.errors import ConfigError
from mvista_world import encode, layout, reprojection, shown

STILL = "-still"
"""Ends the name of a file of stills."""
DRAWN = "drawn-"
"""Begins the name of a file of what sources show of other views (`drawn`)."""


def require_encoder(cache: Path, codec_sha: str, what: str) -> None:
    """Refuse a cache that another autoencoder filled.

    Raises:
        ConfigError: it has latents of one; `what` names the one that is wanted.
    """
    for path in sorted(cache.glob("shard-*.npy")):
        made_by = path.stem.removesuffix(STILL).rsplit("-", 1)[-1]
        if made_by != codec_sha[:12]:
            raise ConfigError(
                f"{path} was encoded by autoencoder {made_by}, {what} is {codec_sha[:12]}: a model "
                "learns the latents of one; start from the folder they were made with, or name "
                "another --out, where they are made again"
            )


def cached(cache: Path, path: Path, codec_sha: str) -> Path:
    """By what is in a shard and the autoencoder's sum: no other latents may be found."""
    return cache / f"{path.stem}-{content_sha(path)[:12]}-{codec_sha[:12]}.npy"


def drawn_file(
    stored: Path, intrinsics: NDArray[np.float64], base_from_camera: NDArray[np.float64]
) -> Path:
    """Beside `cached`'s: by its cameras, which a shard may not state, and by how it is drawn."""
    sums = hashlib.sha256(intrinsics.tobytes() + base_from_camera.tobytes())
    # What was drawn by another rule than a planner's would be learnt in vain.
    for rule in (layout, reprojection, shown, encode.encode_drawn):
        sums.update(inspect.getsource(rule).encode())
    return stored.with_name(f"{DRAWN}{stored.stem}-{sums.hexdigest()[:12]}.npy")


def write(path: Path, latents: torch.Tensor) -> None:
    """Whole or not at all: a torn file would be taken for latents."""
    partial = path.with_suffix(".part")
    with partial.open("wb") as stream:
        np.save(stream, latents.numpy().astype(np.float16))
    partial.replace(path)


def content_sha(path: Path) -> str:
    """Of the checksums that a shard keeps of its arrays: nothing large is read.

    Raises:
        ConfigError: it is no shard.
    """
    try:
        with zipfile.ZipFile(path) as shard:
            sums = sorted((member.filename, member.CRC) for member in shard.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} cannot be read ({error}); remove it and make it again") from None
    return hashlib.sha256(repr(sums).encode()).hexdigest()
