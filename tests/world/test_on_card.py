"""What only a card can show: the same plan there, blocks that wait beside it, compiled kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mvista_core.records import Float64
from mvista_core.timing import ManualClock
from mvista_world.compute import choose
from mvista_world.planner import WorldModelPlanner, load_planner
from mvista_world.speed import BLOCKS, Running, Speed
from mvista_world.training import recipes
from mvista_world.training.distill import DISTILLED
from mvista_world.training.request import TrainingRequest
from tests.world.tiny import (
    ARM,
    CONFIG,
    RIG,
    make_observation,
    write_checkpoint,
    write_episodes,
)
from tests.world.wan_folder import write_wan_folder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ANGLE_RAD = 1e-2
"""Fifteen steps of Adam carry rounding on: milliradians, where the arm moves tenths."""


def plan(planner: WorldModelPlanner) -> tuple[NDArray[np.int_], Float64]:
    """Colour of a rollout and the positions of its plan."""
    seen = make_observation("open the drawer")
    source, *targets = CONFIG.cameras
    rollout = planner.imagine(seen, source, targets, 5, lambda *_: True)
    found = planner.infer_actions(rollout.rollout_id, "head", 2, lambda *_: True)
    planner.judge(rollout.rollout_id, found, lambda *_: True)
    return rollout.color.astype(int), found.refined.positions


def on(
    folder: Path, device: str, precision: str = "fp32", running: Running | None = None
) -> WorldModelPlanner:
    compute = choose(precision, device)
    return load_planner(folder, RIG, ARM, ManualClock(7), compute, None, running or Running())


@pytest.mark.parametrize("write", [write_checkpoint, write_wan_folder])
def test_a_plan_of_the_card_is_the_processors(write: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "folder")  # type: ignore[operator]
    (color, positions), (there, moved) = plan(on(folder, "cpu")), plan(on(folder, "cuda"))
    assert np.abs(color - there).mean() < 1.0
    np.testing.assert_allclose(moved, positions, atol=ANGLE_RAD)


def test_a_solver_is_distilled_on_the_card(tmp_path: Path) -> None:
    start = write_checkpoint(tmp_path / "start")
    data = write_episodes(tmp_path / "data")
    asked = TrainingRequest(
        CONFIG, data, tmp_path / "out", tmp_path / "unused", RIG, ARM, steps=2, start=start
    )
    recipes.run("distill", replace(asked, device="cuda"))
    assert plan(on(tmp_path / "out" / DISTILLED, "cuda"))[0].any()


def test_blocks_that_wait_give_the_same_and_leave_room(tmp_path: Path) -> None:
    folder = write_wan_folder(tmp_path / "folder")
    resident, waiting = on(folder, "cuda"), on(folder, "cuda", running=Running(offload=BLOCKS))
    assert waiting.held_bytes["generator"] < resident.held_bytes["generator"]
    (color, positions), (there, moved) = plan(resident), plan(waiting)
    assert np.abs(color - there).mean() < 1.0
    np.testing.assert_allclose(moved, positions, atol=ANGLE_RAD)


def test_compiled_blocks_give_the_same(tmp_path: Path) -> None:
    folder = write_wan_folder(tmp_path / "folder")
    quick = Running(replace(Speed(), compiled=True))
    (color, _), (there, _) = plan(on(folder, "cuda")), plan(on(folder, "cuda", running=quick))
    assert np.abs(color - there).mean() < 1.0


def test_in_bf16_a_plan_is_finite(tmp_path: Path) -> None:
    _, positions = plan(on(write_wan_folder(tmp_path / "folder"), "cuda", "bf16"))
    assert np.isfinite(positions).all()
