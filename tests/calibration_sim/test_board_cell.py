"""Rendered calibration sessions: the drawn board is where the truth says, whatever the lens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from mvista_calibration.records import Board
from mvista_calibration.session.reader import load_session
from mvista_calibration_sim.board_cell import TABLE, BoardCell, CellSession, render_session
from mvista_calibration_sim.poses import nominal_intrinsics
from mvista_core.arm import load_arm
from mvista_core.errors import CalibrationError
from mvista_core.geometry import invert, look_at, pose_from, transform_points
from mvista_sim.cameras import TofNoise
from mvista_sim.rig_file import sim_rig
from mvista_sim.scene import EXTENT_M, build_model
from mvista_sim.tasks import make_layout

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BOARD = Board(6, 5, 0.04, 0.030)
QUICK = CellSession(3, BOARD, shots=2, colour_width_px=1280, depth_width_px=640)


@pytest.mark.parametrize(("board_at", "seed"), [("gripper", 6), ("table", 3)])
def test_corners_and_depth_are_where_the_truth_says(
    tmp_path: Path, board_at: str, seed: int
) -> None:
    """With these seeds every camera sees the board in one of two shots."""
    arm = load_arm(ROOT / "config/arms/piper.yaml")
    truth = render_session(tmp_path, replace(QUICK, seed=seed, board_at=board_at), arm)
    session = load_session(tmp_path)
    assert len(session.views) >= 4
    assert bool(session.gripper) is (board_at != TABLE)
    for view in session.views:
        index = session.names.index(view.camera)
        lens = truth.lenses[index]
        camera_from_board = invert(truth.base_from_camera[index]) @ truth.base_from_board[view.shot]
        points = transform_points(camera_from_board, BOARD.corners_m[view.corner_ids])
        pixels, _ = cv2.projectPoints(
            points, np.zeros(3), np.zeros(3), lens.matrix, np.array(lens.distortion)
        )
        apart = view.corners_px - pixels.reshape(-1, 2)
        away = np.linalg.norm(apart, axis=1)
        # At 1280 px, seen almost edge-on or beside the gripper, a single corner may slip.
        assert np.median(away) < 0.15, (view.camera, view.shot)
        assert np.quantile(away, 0.8) < 1.0, (view.camera, view.shot)
        assert np.abs(np.median(apart, axis=0)).max() < 0.1
        depth = next(
            d.depth_m for d in session.board_depth if (d.camera, d.shot) == (view.camera, view.shot)
        )
        u, v = np.rint((view.corners_px + 0.5) / 2 - 0.5).astype(int).T
        measured = depth[v, u]
        known = measured > 0
        gaps = measured[known] - points[known, 2]
        assert np.median(np.abs(gaps)) < 0.025
    written = yaml.safe_load((tmp_path / "truth.yaml").read_text())
    np.testing.assert_allclose(written["base_from_board"], truth.base_from_board)
    reported, true = session.cameras[0].intrinsics, truth.lenses[0]
    assert reported.fx_px != true.fx_px
    assert reported.fx_px == pytest.approx(true.fx_px, rel=0.005)


def test_nothing_near_a_camera_is_cut_open() -> None:
    """MuJoCo's near plane is a multiple of the model's extent: of all of it, also what is away."""
    arm = load_arm(ROOT / "config/arms/piper.yaml")
    pose = look_at(np.array([0.9, 0.0, 0.6]), np.array([0.35, 0.0, 0.1]))
    cell = BoardCell(arm, BOARD, 3, np.stack([pose] * 4))
    lens = replace(nominal_intrinsics("sim_cell").scaled(1 / 6), distortion=())
    try:
        for distance_m in (0.06, 0.2, 0.4):
            width, height = BOARD.size_m
            middle = pose_from(np.eye(3), np.array([-width / 2, -height / 2, distance_m]))
            cell.put(pose @ middle, arm.home[:6])
            depth = cell.depth("cam0", lens)
            near = depth[170:190, 310:330]
            np.testing.assert_allclose(near, distance_m, atol=2e-4)
        extent = float(cell.model.stat.extent)
        empty = build_model(make_layout("put_orange", 3), arm, sim_rig(""))
        assert extent == float(empty.stat.extent) == EXTENT_M
        assert extent * float(cell.model.vis.map.znear) < 0.04
        cell.put(None, arm.home[:6])
        seen = cell.depth("cam0", lens)
        assert seen.min() > 0.3
    finally:
        cell.close()


def test_bad_settings() -> None:
    with pytest.raises(CalibrationError, match="gripper, table"):
        CellSession(board_at="wall")
    with pytest.raises(CalibrationError, match="do not divide"):
        CellSession(colour_width_px=1000)
    with pytest.raises(CalibrationError, match="at least 1"):
        CellSession(shots=0)


def test_depth_noise_without_new_errors_draws_as_before() -> None:
    depth = np.full((40, 60), 0.8, dtype=np.float32)
    depth[:, 30:] = 1.2
    old = TofNoise(0.001, 0.002, 0.05)
    rng = np.random.default_rng(5)
    sigma = 0.001 + 0.002 * depth**2
    expected = depth.astype(np.float64) + sigma * rng.standard_normal(depth.shape)
    seen = old.apply(depth, np.random.default_rng(5))
    kept = seen > 0
    np.testing.assert_array_equal(
        seen[kept], (np.round(expected * 1000) / 1000).astype(np.float32)[kept]
    )
    assert not kept[:, 30].any()
    np.testing.assert_array_equal(TofNoise().apply(depth, rng), depth)


def test_a_units_own_errors() -> None:
    depth = np.full((60, 80), 1.0, dtype=np.float32)
    shifted = TofNoise(offset_m=0.005, scale=0.002).apply(depth, np.random.default_rng(0))
    assert np.allclose(shifted, 1.007, atol=1e-6)
    near = np.linspace(0.5, 1.5, 80, dtype=np.float32)[None].repeat(4, axis=0)
    wiggle = TofNoise(wiggle_m=0.003).apply(near, np.random.default_rng(0)) - near
    assert 0.0025 < wiggle.max() < 0.0036
    assert -0.0036 < wiggle.min() < -0.0025
    holes = TofNoise(hole_share=0.1).apply(depth, np.random.default_rng(0))
    assert 0.07 < (holes == 0).mean() < 0.13
    depth[:, 40:] = 1.5
    flying = TofNoise(flying_share=0.5).apply(depth, np.random.default_rng(0))
    between = (flying > 1.001) & (flying < 1.499)
    assert between[:, 39:41].mean() > 0.3
    assert not between[:, :38].any()
