"""The goal token of training: where the finger tip ends, on the source view's token grid."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import load_arm
from mvista_core.geometry import invert, project, transform_points
from mvista_core.rig import load_rig
from mvista_world.presets import tiny
from mvista_world.training.batches import goal_tokens

CELL_PX = 16
COLUMNS, ROWS = 6, 4


def test_the_goal_token_holds_the_last_tip_and_lies_in_the_colour_half() -> None:
    rig, arm, config = (
        load_rig("config/rigs/sim_cell.yaml"),
        load_arm("config/arms/piper.yaml"),
        tiny(),
    )
    rng = np.random.default_rng(0)
    last = arm.home + rng.uniform(-0.3, 0.3, (10, 7)) * [1, 1, 1, 1, 1, 1, 0]
    tips = arm.tip_positions(last)
    for camera in rig.cameras:
        lens = config.window.intrinsics(camera.intrinsics)
        told = np.tile([lens.fx_px, lens.fy_px, lens.cx_px, lens.cy_px], (10, 1))
        poses = np.tile(camera.base_from_camera, (10, 1, 1))
        found = goal_tokens(tips, told, poses, config)
        for tip, token in zip(tips, found, strict=True):
            u, v = project(transform_points(invert(camera.base_from_camera), tip), lens.matrix)
            column = int(np.clip(u // CELL_PX, 0, COLUMNS - 1))
            row = int(np.clip(v // CELL_PX, 0, ROWS - 1))
            assert token == row * 2 * COLUMNS + column
