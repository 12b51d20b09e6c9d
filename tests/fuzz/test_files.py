"""Whatever is in a file, reading it ends with what it says or with a numbered error, never else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.random import Generator

from mvista_calibration.session.reader import load_session
from mvista_calibration_ros.settings import CalibrationParameters
from mvista_core.arm import load_arm
from mvista_core.errors import MvistaError
from mvista_core.rig import load_rig
from mvista_executor.executor_node import ExecutorParameters
from mvista_ros.parameters import read_file
from mvista_world.config_file import load_config
from tests.fuzz.nodes import ROOT

pytestmark = pytest.mark.ros

READERS: dict[str, tuple[Path, Callable[[Path], object]]] = {
    "rig": (ROOT / "config/rigs/sim_cell.yaml", load_rig),
    "arm": (ROOT / "config/arms/piper.yaml", load_arm),
    "executor": (ROOT / "config/executor.yaml", partial(read_file, ExecutorParameters)),
    "calibration": (ROOT / "config/calibration.yaml", partial(read_file, CalibrationParameters)),
    "model": (ROOT / "models/checkpoints/tiny/config.json", load_config),
}
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**30, 1.5, float("nan"), float("inf"), "", "x", [], [1], {}, {"a": 1},
)  # fmt: skip
PIECES = 300
FOLDERS = 25


def bent_tree(document: Any, rng: Generator) -> Any:
    """A copy of a document of which one part was dropped, replaced or doubled."""
    found = json.loads(json.dumps(document, default=str)) if rng.random() < 0.02 else document
    if isinstance(found, dict) and found:
        key = list(found)[int(rng.integers(len(found)))]
        if rng.random() < 0.25:
            return _changed(found, key, rng)
        return {**found, key: bent_tree(found[key], rng)}
    if isinstance(found, list) and found and rng.random() < 0.8:
        index = int(rng.integers(len(found)))
        if rng.random() < 0.3:
            return found[:index] if rng.random() < 0.5 else [*found, *found]
        return [*found[:index], bent_tree(found[index], rng), *found[index + 1 :]]
    return VALUES[int(rng.integers(len(VALUES)))]


def _changed(found: dict[Any, Any], key: Any, rng: Generator) -> dict[Any, Any]:
    rest = {k: v for k, v in found.items() if k != key}
    way = rng.integers(3)
    if way == 0:
        return rest
    if way == 1:
        return {**rest, f"{key}s": found[key]}
    return {**rest, key: VALUES[int(rng.integers(len(VALUES)))]}


def bent_bytes(data: bytes, rng: Generator) -> bytes:
    """A file cut short, with a byte turned, or with some written over."""
    way, at = int(rng.integers(3)), int(rng.integers(max(len(data), 1)))
    if way == 0 or not data:
        return data[:at]
    if way == 1:
        return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
    return data[:at] + rng.bytes(32) + data[at + 32 :]


def judged(read: Callable[[], object], where: str) -> bool:
    """Whether it was read; a refusal must be one of ours, with a number and words."""
    try:
        read()
    except MvistaError as error:
        assert error.code and str(error), where
        return False
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    return True


@pytest.mark.parametrize("name", READERS)
def test_a_spoiled_file_is_read_or_refused_with_a_number(name: str, tmp_path: Path) -> None:
    source, read = READERS[name]
    text = source.read_text(encoding="utf-8")
    rng, file = np.random.default_rng(len(name)), tmp_path / source.name
    document = yaml.safe_load(text)
    refused = 0
    for index in range(PIECES):
        if index % 3 == 0:
            data = bent_bytes(text.encode(), rng)
        else:
            data = yaml.safe_dump(bent_tree(document, rng), allow_unicode=True).encode()
        if source.suffix == ".json" and index % 3:
            data = json.dumps(bent_tree(document, rng)).encode()
        file.write_bytes(data)
        refused += not judged(lambda: read(file), f"{name} {index}: {data[:300]!r}")
    assert refused > PIECES // 10, "hardly anything was refused: nothing was tried"


def spoil(folder: Path, rng: Generator) -> str:
    """Spoil one file of a folder; which, and how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = files[int(rng.integers(len(files)))]
    said = str(file.relative_to(folder))
    if rng.random() < 0.15:
        file.unlink()
        return f"{said} is missing"
    if file.suffix in (".yaml", ".json") and rng.random() < 0.7:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        file.write_text(yaml.safe_dump(bent_tree(document, rng)), encoding="utf-8")
        return f"{said} says {file.read_text(encoding='utf-8')[:200]}"
    file.write_bytes(bent_bytes(file.read_bytes(), rng))
    return f"{said} with other bytes"


def spoiled_folders(whole: Path, tmp_path: Path, read: Callable[[Path], object], seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert judged(lambda: read(whole), "the whole folder")
    refused = 0
    for index in range(FOLDERS):
        copy = Path(shutil.copytree(whole, tmp_path / str(index)))
        said = spoil(copy, rng)
        refused += not judged(lambda copy=copy: read(copy), f"{index}: {said}")  # type: ignore[misc]
        shutil.rmtree(copy)
    assert refused >= 3


def test_a_spoiled_session_is_read_or_refused_with_a_number(tmp_path: Path) -> None:
    from mvista_calibration.session.layout import BoardShot
    from mvista_calibration.session.writer import write_session
    from tests.calibration.test_session_files import SETTINGS, gripper, image

    shots = [BoardShot((image(k, 0), image(k, 1)), gripper(k)) for k in range(3)]
    whole = write_session(tmp_path / "whole", SETTINGS, shots, []).folder
    spoiled_folders(whole, tmp_path, load_session, 1)
