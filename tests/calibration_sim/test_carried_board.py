"""A board carried from place to place: it stands where the truth says, and moves in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvista_calibration.board.detect import detect_board
from mvista_calibration.records import Board
from mvista_calibration_sim.board_cell import TABLE, CellSession
from mvista_calibration_sim.carried_board import CarriedBoard
from mvista_core.arm import load_arm
from mvista_core.errors import NoBoardError, RigError
from mvista_core.geometry import invert, transform_points
from mvista_core.timing import ManualClock, seconds_to_ns

pytestmark = pytest.mark.slow

ARM = load_arm(Path(__file__).parents[2] / "config/arms/piper.yaml")
BOARD = Board(6, 5, 0.04, 0.030)
MOVE_S = 2.0


def _carried(clock: ManualClock, board_at: str = "gripper") -> CarriedBoard:
    wanted = CellSession(
        3, BOARD, shots=3, board_at=board_at, colour_width_px=1280, depth_width_px=640
    )
    return CarriedBoard(wanted, ARM, clock, MOVE_S)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def carried(clock: ManualClock) -> Iterator[CarriedBoard]:
    board = _carried(clock)
    yield board
    board.close()


def _pass(clock: ManualClock, seconds: float) -> None:
    clock.sleep_until(clock.monotonic_ns() + seconds_to_ns(seconds))


def test_it_is_seen_where_the_truth_says(carried: CarriedBoard, clock: ManualClock) -> None:
    for place in range(2):
        seen = 0
        for index, name in enumerate(carried.names):
            shot = carried.shot(name)
            assert shot.color.shape == (720, 1280, 3) and shot.depth_m.shape == (360, 640)
            try:
                view = detect_board(shot.color, BOARD, name, place)
            except NoBoardError:
                continue
            lens, truth = carried.truth.lenses[index], carried.truth
            pose = invert(truth.base_from_camera[index]) @ truth.base_from_board[place]
            points = transform_points(pose, BOARD.corners_m[view.corner_ids])
            pixels, _ = cv2.projectPoints(
                points, np.zeros(3), np.zeros(3), lens.matrix, np.array(lens.distortion)
            )
            apart = np.linalg.norm(view.corners_px - pixels.reshape(-1, 2), axis=1)
            assert np.median(apart) < 0.2, (name, place)
            assert shot.lens != lens
            seen += 1
        assert seen >= 2
        assert carried.to_next() == place + 1
        _pass(clock, MOVE_S)


def test_standing_only_noise_differs_and_moving_everything(
    carried: CarriedBoard, clock: ManualClock
) -> None:
    first, again = carried.shot("cam1"), carried.shot("cam1")
    apart = np.abs(first.color.astype(int) - again.color)
    assert 0.5 < apart.mean() < 3.0
    gaps = np.abs(first.depth_m - again.depth_m)[(first.depth_m > 0) & (again.depth_m > 0)]
    assert 0.0 < np.median(gaps) < 0.005
    carried.to_next()
    _pass(clock, MOVE_S / 2)
    half = carried.shot("cam1")
    assert np.abs(first.color.astype(int) - half.color).max() > 100
    assert np.abs(carried.joints().positions[:6] - carried.truth.joints[1]).max() > 0.01


def test_joints_begin_and_end_at_their_places_and_never_jump(
    carried: CarriedBoard, clock: ManualClock
) -> None:
    before = carried.joints().positions[:6]
    errors = before - carried.truth.joints[0]
    assert 1e-5 < np.abs(errors).max() < 0.005
    carried.to_next()
    steps, last = [], before
    for _ in range(200):
        _pass(clock, MOVE_S / 200)
        now = carried.joints().positions[:6]
        steps.append(np.abs(now - last).max())
        last = now
    whole = np.abs(carried.truth.joints[1] - carried.truth.joints[0]).max()
    assert max(steps) < 1.6 * whole / 200 + 1e-4
    assert np.abs(last - carried.truth.joints[1]).max() < 0.005
    np.testing.assert_array_equal(last, carried.joints().positions[:6])


def test_taken_away_no_camera_sees_it(carried: CarriedBoard, clock: ManualClock) -> None:
    carried.show(False)
    _pass(clock, MOVE_S)
    for name in carried.names:
        with pytest.raises(NoBoardError):
            detect_board(carried.shot(name).color, BOARD, name, 0)
    np.testing.assert_allclose(carried.joints().positions[:6], ARM.home[:6])
    carried.show(True)
    _pass(clock, MOVE_S)
    assert carried.index == 0
    assert np.abs(carried.joints().positions[:6] - carried.truth.joints[0]).max() < 0.005


def test_on_the_table_the_arm_rests(clock: ManualClock) -> None:
    carried = _carried(clock, TABLE)
    try:
        before = carried.shot("cam0").color
        carried.to_next()
        _pass(clock, MOVE_S / 2)
        carried.shot("cam0")
        _pass(clock, MOVE_S)
        assert np.abs(before.astype(int) - carried.shot("cam0").color).max() > 100
        np.testing.assert_allclose(carried.joints().positions[:6], ARM.home[:6], atol=0.005)
    finally:
        carried.close()


def test_after_the_last_place_comes_the_first(carried: CarriedBoard) -> None:
    assert [carried.to_next() for _ in range(4)] == [1, 2, 0, 1]


def test_another_camera_is_refused(carried: CarriedBoard) -> None:
    with pytest.raises(RigError, match="cam0"):
        carried.shot("cam9")
