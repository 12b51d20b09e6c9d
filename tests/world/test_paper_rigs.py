"""Every rig of the paper fits its preset whole: padded, never cropped."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mvista_core.records import Intrinsics
from mvista_core.rig import load_rig
from mvista_world.cameras import window_cameras
from mvista_world.paper_rigs import PAPER_RIGS, PaperRig, filmed_for
from mvista_world.presets import PRESETS, preset

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("rig", PAPER_RIGS, ids=lambda rig: rig.name)
def test_its_images_lie_whole_in_the_window_of_its_preset(rig: PaperRig) -> None:
    window = preset(rig.preset).window
    lens = rig.intrinsics or Intrinsics(rig.width_px, rig.height_px, 187.0, 187.0, 159.5, 89.5)
    rows, columns = window.image_area(lens)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (rig.height_px, rig.width_px)
    assert window.height_px % 32 == window.width_px % 32 == 0
    seen = window.intrinsics(lens)
    assert (seen.cx_px, seen.cy_px) == (lens.cx_px + columns.start, lens.cy_px + rows.start)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("wan")])
def test_any_rig_can_stand_for_one_whose_images_the_preset_takes(name: str) -> None:
    """As `mvista bench planner --random-weights` has it."""
    config = preset(name)
    whole = load_rig(ROOT / "config/rigs/sim_cell.yaml")
    rig = filmed_for(config, whole)
    _, k = window_cameras(rig.cameras, config.window)
    assert len(k) == len(whole.cameras) and rig.names == whole.names
    for camera, was in zip(rig.cameras, whole.cameras, strict=True):
        lens, before = camera.intrinsics, was.intrinsics
        assert lens.width_px / lens.fx_px == pytest.approx(before.width_px / before.fx_px)
        rows, columns = config.window.image_area(lens)
        seen = ((rows.stop - rows.start), (columns.stop - columns.start))
        reduce = config.window.reduce
        assert seen == (lens.height_px // reduce, lens.width_px // reduce)


def test_the_simulated_lenses_see_the_stated_angles() -> None:
    rlbench, robotwin, real = (rig.intrinsics for rig in PAPER_RIGS)
    assert rlbench is not None and robotwin is not None and real is None
    assert 2 * math.atan(160 / rlbench.fx_px) == pytest.approx(math.radians(40))
    assert 2 * math.atan(120 / robotwin.fy_px) == pytest.approx(math.radians(37))
