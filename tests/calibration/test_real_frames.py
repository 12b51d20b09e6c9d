"""Ten real Azure Kinect frames (4096x3072) with the vendor's calibration, read where they lie.

They are Microsoft's (MIT), kept beside the repository in `../shared/data` and not in it; without
them these tests are skipped.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvista_calibration.board.detect import detect_board
from mvista_calibration.records import Board, BoardView
from mvista_calibration.solve.intrinsics import calibrate_intrinsics, view_residuals_px
from mvista_core.records import Intrinsics

FRAMES = Path(__file__).parents[3] / "shared" / "data" / "azure_kinect_charuco" / "calibration"
BOARD = Board(14, 9, 0.04, 0.03)
SIZE = (4096, 3072)
LISTED = {0: 104, 3: 99, 6: 104, 9: 78, 12: 62, 15: 72, 18: 95, 21: 99, 24: 84, 27: 62}
"""Corners that the notes beside the frames list. On 3 and 21 those notes miss five: all 63 markers
are found there, by OpenCV 4.10, 4.11, 4.14 and 5.0 alike, and with them all 104 corners, which the
fitted lens foretells within 1.3 px."""
WHOLE_BOARD = (3, 21)

pytestmark = pytest.mark.skipif(not FRAMES.is_dir(), reason=f"no frames at {FRAMES}")


@pytest.fixture(scope="module")
def views() -> list[BoardView]:
    found = []
    for number in LISTED:
        image = cv2.imread(str(FRAMES / f"color-{number}.jpg"), cv2.IMREAD_GRAYSCALE)
        began = time.perf_counter()
        view = detect_board(image, BOARD, "azure_kinect", number, f"color-{number}.jpg")
        seconds = time.perf_counter() - began
        print(
            f"frame {number}: {len(view.corner_ids)} corners, edges {view.blur_px:.1f} px, "
            f"{seconds:.2f} s"
        )
        found.append(view)
    return found


@pytest.fixture(scope="module")
def vendor() -> Intrinsics:
    file = cv2.FileStorage(str(FRAMES / "calib.yml"), cv2.FILE_STORAGE_READ)
    k, distortion = file.getNode("K").mat(), file.getNode("dist").mat()
    return Intrinsics(
        *SIZE, k[0, 0], k[1, 1], k[0, 2], k[1, 2], tuple(distortion.reshape(-1).tolist())
    )


def test_all_corners_are_found(views: list[BoardView], vendor: Intrinsics) -> None:
    for view in views:
        expected = BOARD.corner_count if view.shot in WHOLE_BOARD else LISTED[view.shot]
        assert len(view.corner_ids) == expected, f"frame {view.shot}"
        assert len(view.corner_ids) >= LISTED[view.shot]
        residuals = view_residuals_px(view, BOARD, vendor)
        assert np.sqrt((residuals**2).sum(axis=1).mean()) < 1.0  # the vendor's own gate


def test_the_rational_model_fits_and_foretells(views: list[BoardView], vendor: Intrinsics) -> None:
    result = calibrate_intrinsics(views, BOARD, SIZE)
    lens = result.intrinsics
    print(
        f"RMS {result.rms_px:.3f} px, held out {result.held_out_rms_px:.3f} px "
        f"({result.held_out_ratio:.2f} times), fx {lens.fx_px:.1f} +- {result.sigma_px[0]:.2f} "
        f"(vendor {vendor.fx_px:.1f}, {lens.fx_px / vendor.fx_px - 1:+.3%})"
    )
    assert result.rms_px < 0.6
    assert abs(lens.fx_px / vendor.fx_px - 1.0) < 0.003
    assert abs(lens.fy_px / vendor.fy_px - 1.0) < 0.003
    assert abs(lens.cx_px - vendor.cx_px) < 4.0 and abs(lens.cy_px - vendor.cy_px) < 4.0
    assert result.held_out_ratio < 1.2
    assert result.sigma_px[0] / lens.fx_px < 0.0005
    assert result.rejected == () and max(result.per_view_rms_px) < 1.0


def test_five_coefficients_fit_this_lens_worse(views: list[BoardView]) -> None:
    rational = calibrate_intrinsics(views, BOARD, SIZE)
    plain = calibrate_intrinsics(views, BOARD, SIZE, rational=False)
    assert plain.rms_px > 1.1 * rational.rms_px
