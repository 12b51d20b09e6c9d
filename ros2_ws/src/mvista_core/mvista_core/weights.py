"""Checkpoints: safetensors files listed with their sha256 in a manifest.

`manifest.json` holds {"files": {name: sha256}}. Anything missing, truncated or altered is refused
by name before a tensor is read. Without torch: what starts a planner looks here first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from mvista_core.errors import ConfigError, WeightsError

MANIFEST = "manifest.json"
CONFIG = "config.json"


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(folder: Path, names: Sequence[str]) -> str:
    """Record the sha256 of the named files; returns the digest of the manifest itself."""
    files = {name: sha256_of(folder / name) for name in sorted(names)}
    text = json.dumps({"files": files}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def verify(folder: Path) -> str:
    """Check every file of a checkpoint; returns the sha256 that identifies the whole.

    Raises:
        WeightsError: naming the file, and the expected and found sha256.
    """
    # An altered file may load all the same, and its plans would move an arm.
    text, files = _listed(folder)
    for name, expected in files.items():
        path = folder / name
        found = sha256_of(path)
        if found != expected:
            raise WeightsError(
                f"{path} was truncated or altered: expected sha256 {expected}, found {found}"
            )
    return hashlib.sha256(text.encode()).hexdigest()


def check_complete(folder: Path) -> None:
    """Whether every file of a checkpoint is there; their content is `verify`'s, which takes longer.

    Raises:
        WeightsError: no checkpoint, or naming the file that is missing.
    """
    _listed(folder)


def listed(folder: Path) -> tuple[str, ...]:
    """Names of a checkpoint's files, the manifest apart; their content is `verify`'s.

    Raises:
        WeightsError: no checkpoint, or naming the file that is missing.
    """
    return tuple(_listed(folder)[1])


def part_identity(folder: Path, part: str) -> str:
    """The sha256 that names what lies below `folder`/`part`, by the manifest's sums.

    Raises:
        WeightsError: no checkpoint, or it has nothing there.
    """
    sums = {name: sum_ for name, sum_ in _listed(folder)[1].items() if name.startswith(f"{part}/")}
    if not sums:
        raise WeightsError(f"{folder / MANIFEST} lists nothing below {part}/")
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def read_templates(folder: Path) -> tuple[str, ...]:
    """The instruction templates that a checkpoint knows; the rest of its config is the model's.

    Raises:
        ConfigError: no such file, or another one's.
    """
    path = folder / CONFIG
    try:
        templates = json.loads(path.read_text(encoding="utf-8"))["templates"]
        if not all(isinstance(template, str) for template in templates):
            raise TypeError("templates are texts")
        return tuple(templates)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ConfigError(f"{path}: not a model config ({error!r})") from None


def _listed(folder: Path) -> tuple[str, dict[str, str]]:
    """The manifest's text, and the sha256 of each file that it lists, all of which exist."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise WeightsError(
            f"no checkpoint at {folder}: {MANIFEST} is missing; see models/checkpoints/ or "
            "train one with `mvista train`"
        )
    text = manifest.read_text(encoding="utf-8")
    try:
        files: dict[str, str] = dict(json.loads(text)["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{manifest} is not a checkpoint manifest ({error!r})") from None
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise WeightsError(f"{folder / name} is missing; expected sha256 {expected}")
    return text, files
