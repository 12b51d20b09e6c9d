"""Rig files: what is written is what is read, and what cannot be used is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import RigError
from mvista_core.geometry import exp_so3, look_at, pose_from
from mvista_core.records import CameraCalibration, Intrinsics, RigCalibration
from mvista_core.rig import load_rig, save_rig

INTRINSICS = Intrinsics(320, 180, 187.0, 187.0, 158.5, 93.0, (0.1, -0.05))


def make_rig(verdict: str = "pass") -> RigCalibration:
    eyes = [np.array([0.9, y, 0.5]) for y in (-0.4, 0.4)]
    cameras = tuple(
        CameraCalibration(
            f"cam{index}",
            look_at(eye, np.array([0.35, 0.0, 0.03])),
            INTRINSICS,
            serial=f"CL{index}",
            covariance=np.eye(6) * 1e-6 if index else None,
        )
        for index, eye in enumerate(eyes)
    )
    return RigCalibration("bench", "piper_base", cameras, "2026-01-01", verdict)


def write_changed(path: Path, **change: Any) -> Path:
    save_rig(make_rig(), path)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document.update(change)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    save_rig(make_rig(), path)
    read = load_rig(path)
    assert (read.name, read.base_frame, read.names) == ("bench", "piper_base", ("cam0", "cam1"))
    for before, after in zip(make_rig().cameras, read.cameras, strict=True):
        np.testing.assert_array_equal(before.base_from_camera, after.base_from_camera)
        assert (before.intrinsics, before.serial) == (after.intrinsics, after.serial)
        assert (before.covariance is None) == (after.covariance is None)


@given(st.lists(st.floats(-3.0, 3.0), min_size=6, max_size=6))
def test_any_rigid_pose_keeps_full_precision(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    pose = pose_from(exp_so3(np.array(numbers[:3])), np.array(numbers[3:]))
    camera = CameraCalibration("cam0", pose, INTRINSICS)
    path = tmp_path_factory.mktemp("rig") / "rig.yaml"
    save_rig(RigCalibration("r", "base", (camera,), "2026-01-01", "pass"), path)
    np.testing.assert_array_equal(load_rig(path).camera("cam0").base_from_camera, pose)


def test_the_hash_belongs_to_the_content(tmp_path: Path) -> None:
    first = load_rig(write_changed(tmp_path / "a.yaml"))
    same = load_rig(write_changed(tmp_path / "b.yaml"))
    other = load_rig(write_changed(tmp_path / "c.yaml", date="2026-01-02"))
    assert first.content_hash == same.content_hash != other.content_hash


def test_a_failed_calibration_is_refused_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    save_rig(make_rig(verdict="fail"), path)
    with pytest.raises(RigError, match="verdict is 'fail', only 'pass'"):
        load_rig(path)
    assert load_rig(path, allow_failed=True).verdict == "fail"


def test_refusals_say_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="no rig file at .*mvista calibrate"):
        load_rig(tmp_path / "absent.yaml")
    with pytest.raises(RigError, match="not a rig file"):
        load_rig(write_changed(tmp_path / "empty.yaml", cameras={}))
    with pytest.raises(RigError, match="has no camera 'cam9'.*cam0.*cam1"):
        make_rig().camera("cam9")


def test_a_pose_that_is_not_rigid_is_refused(tmp_path: Path) -> None:
    path = write_changed(tmp_path / "rig.yaml")
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["cameras"]["cam1"]["base_from_camera"][0][0] += 0.01
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(RigError, match="camera 'cam1'.*is not rigid: R R.T is 0.0"):
        load_rig(path)


def test_intrinsics_of_another_resolution_are_refused() -> None:
    lens = Intrinsics(320, 180, 748.0, 748.0, 634.0, 372.0)
    with pytest.raises(RigError, match="camera 'cam0': cx 634 px does not fit"):
        CameraCalibration("cam0", np.eye(4), lens)
