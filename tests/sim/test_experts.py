"""The scripted experts: they succeed, keep within the arm, and depend on scene and words alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from mvista_core import instructions
from mvista_core.arm import ArmModel
from mvista_core.episode_shape import TINY
from mvista_core.errors import InstructionError
from mvista_sim import tasks
from mvista_sim.cell import SimCell
from mvista_sim.experts import MotionStyle, hand_of

pytestmark = pytest.mark.slow

TASKS = sorted(tasks.TEMPLATES)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [10_000, 10_001, 10_002])
def test_the_expert_succeeds(cell: SimCell, task: str, seed: int) -> None:
    cell.reset(task, seed)
    cell.run_actions(cell.expert())
    result = cell.evaluate()
    assert result.success, result.detail


@pytest.mark.parametrize("task", TASKS)
def test_a_plan_is_96_targets_at_15_hz_that_the_arm_can_follow(
    cell: SimCell, arm: ArmModel, task: str
) -> None:
    for seed in range(2):
        cell.reset(task, seed)
        plan = cell.expert()
        assert plan.joint_names == arm.joint_names
        assert plan.positions.shape == (TINY.action_count, 7)
        np.testing.assert_array_equal(plan.times_s, TINY.action_times_s)
        assert ((plan.positions >= arm.lower) & (plan.positions <= arm.upper)).all()
        cell.run_actions(plan)
        if task == "open_drawer":  # the handle holds the hand back
            continue
        aimed = arm.base_from_tip(plan.positions[-1])[:3, 3]
        np.testing.assert_allclose(cell.tip(), aimed, atol=0.015)


def test_the_same_words_in_the_same_scene_are_the_same_motion(cell: SimCell) -> None:
    plans = []
    for _ in range(2):
        cell.reset("touch_cube", 7, "touch the green cube")
        plans.append(cell.expert().positions)
    np.testing.assert_array_equal(plans[0], plans[1])


def test_each_word_ends_on_its_own_cube(cell: SimCell, arm: ArmModel) -> None:
    cell.reset("touch_cube", 7)
    for words in instructions.expand(tasks.TEMPLATES["touch_cube"]):
        tip = arm.base_from_tip(cell.expert(words).positions[-1])[:3, 3]
        cube = cell.layout.named(f"{words.split()[2]}_cube")
        np.testing.assert_allclose(tip[:2], (cube.x_m, cube.y_m), atol=5e-3)


def test_the_expert_refuses_words_of_another_task(cell: SimCell) -> None:
    with pytest.raises(InstructionError, match="touch the"):
        cell.expert("open the drawer")


def test_frames_come_at_the_times_asked_for(cell: SimCell) -> None:
    start_ns = cell.now_ns()
    frames = cell.run_actions(cell.expert(), np.array([0.0, 3.2, 6.4]))
    assert [[f.camera for f in row] for row in frames] == [list(cell.cameras())] * 3
    stamps = [(row[0].stamp_ns - start_ns) / 1e9 for row in frames]
    np.testing.assert_allclose(stamps, [0.0, 3.2, 6.4], atol=2e-3)


@pytest.mark.parametrize("task", TASKS)
def test_plans_stay_within_60_percent_of_the_arms_limits(
    cell: SimCell, arm: ArmModel, task: str
) -> None:
    for seed in range(4):
        cell.reset(task, seed)
        start, plan = cell.state().positions, cell.expert()
        times = np.append(0.0, plan.times_s)
        curve = CubicSpline(times, np.vstack([start, plan.positions]), bc_type="clamped")
        fine = np.linspace(0.0, times[-1], 500)
        assert (np.abs(curve(fine, 1)) <= 0.6 * arm.max_velocity).all()
        assert (np.abs(curve(fine, 2)) <= 0.6 * arm.max_acceleration).all()


@pytest.mark.parametrize("task", TASKS)
def test_the_wrist_does_not_flip_with_the_side_of_the_target(cell: SimCell, task: str) -> None:
    """A target's y of either sign must not choose between two wrist postures."""
    for seed in range(4):
        cell.reset(task, seed)
        for words in instructions.expand(tasks.TEMPLATES[task]):
            wrist = cell.expert(words).positions[:, [3, 5]]
            assert np.abs(wrist).max() < 0.1


@pytest.mark.parametrize("task", TASKS)
def test_styles_differ_on_the_way_and_end_alike(cell: SimCell, task: str) -> None:
    cell.reset(task, 3)
    plain = cell.expert()
    styled = cell.expert(style=MotionStyle.drawn(np.random.default_rng(5)))
    assert np.abs(styled.positions - plain.positions).max() > 0.02
    if task != "put_orange":  # it ends in the air, as high as its style says
        np.testing.assert_allclose(styled.positions[-1], plain.positions[-1], atol=2e-3)


@pytest.mark.parametrize("task", TASKS)
def test_drawn_styles_stay_within_the_arms_limits(cell: SimCell, arm: ArmModel, task: str) -> None:
    for seed in range(6):
        cell.reset(task, seed)
        start = cell.state().positions
        plan = cell.expert(style=MotionStyle.drawn(np.random.default_rng(seed)))
        curve = CubicSpline(
            np.append(0.0, plan.times_s), np.vstack([start, plan.positions]), bc_type="clamped"
        )
        fine = np.linspace(0.0, plan.times_s[-1], 500)
        assert (np.abs(curve(fine, 1)) <= 0.6 * arm.max_velocity).all()
        assert (np.abs(curve(fine, 2)) <= 0.6 * arm.max_acceleration).all()


@pytest.mark.parametrize("task", TASKS)
def test_a_scene_does_not_tell_its_demonstrations_style(task: str) -> None:
    """Else a first frame tells the motion, and no model learns to look at the film."""
    seeds = range(200)
    styles = np.array([MotionStyle.drawn(hand_of(seed)).numbers for seed in seeds])
    scenes = [tasks.make_layout(task, seed) for seed in seeds]
    placed = np.array([[scene.objects[0].x_m, scene.objects[0].y_m] for scene in scenes])
    started = np.array([scene.start_offset_rad for scene in scenes])
    between = np.corrcoef(np.hstack([styles, started, placed]).T)[: styles.shape[1]]
    # Of 200 pairs of independent numbers, one in 15,000 is further off than this.
    assert np.abs(between[:, styles.shape[1] :]).max() < 4.0 / np.sqrt(len(seeds))
