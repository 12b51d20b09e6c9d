"""The goal token of training: where the finger tip ends, on the source view's token grid."""

from __future__ import annotations

import numpy as np

from mvista_core.arm import load_arm
from mvista_core.geometry import invert, project, transform_points
from mvista_core.rig import load_rig
from mvista_world.config import tiny
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
    actions = np.zeros((5, 2, 96, 7), dtype=np.float32)
    actions[:, :, -1] = arm.home + rng.uniform(-0.3, 0.3, (5, 2, 7)) * [1, 1, 1, 1, 1, 1, 0]
    found = goal_tokens(actions, rig, arm, config)
    assert found.shape == (5, 2, len(rig.cameras))
    for index, camera in enumerate(rig.cameras):
        k = config.window.intrinsics(camera.intrinsics).matrix
        for scene, word in np.ndindex(5, 2):
            tip = arm.base_from_tip(actions[scene, word, -1])[:3, 3]
            u, v = project(transform_points(invert(camera.base_from_camera), tip), k)
            column = int(np.clip(u // CELL_PX, 0, COLUMNS - 1))
            row = int(np.clip(v // CELL_PX, 0, ROWS - 1))
            assert found[scene, word, index] == row * 2 * COLUMNS + column
