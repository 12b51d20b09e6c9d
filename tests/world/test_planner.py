"""The planner end to end on random weights: every stage runs, every bad request is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvista_core.errors import (
    CancelledError,
    ConfigError,
    InstructionError,
    ObservationError,
    RigError,
    RolloutError,
)
from mvista_core.records import STEPS_AS_USUAL, Rollout
from mvista_core.timing import ManualClock
from mvista_world.choices import MethodChoices
from mvista_world.config import INITIALISATIONS
from mvista_world.planner import KEPT_ROLLOUTS, WorldModelPlanner, load_planner
from mvista_world.refine import RefineConfig, ResidualRefiner, save_refiner
from tests.world.tiny import ARM, CONFIG, RIG, TEMPLATES, make_observation, write_checkpoint

VIEWS = CONFIG.cameras


def go_on(stage: str, fraction: float) -> bool:
    return True


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    save_refiner(ResidualRefiner(RefineConfig(points=32, point_widths=(16,), hidden=16)), folder)
    return folder


@pytest.fixture(scope="module")
def planner(checkpoint: Path) -> WorldModelPlanner:
    return load_planner(checkpoint, RIG, ARM, ManualClock(7))


def imagine(planner: WorldModelPlanner, seed: int = 5) -> Rollout:
    observation = make_observation("Touch the red cube.")
    return planner.imagine(observation, VIEWS[0], VIEWS[1:], seed, go_on)


def test_a_rollout_has_every_view_and_time_at_the_models_resolution(
    planner: WorldModelPlanner,
) -> None:
    rollout = imagine(planner)
    size = (CONFIG.window.height_px, CONFIG.window.width_px)
    assert rollout.color.shape == (3, 5, *size, 3)
    assert rollout.color.dtype == np.uint8
    assert rollout.depth_m.shape == (3, 5, *size)
    assert rollout.depth_m.dtype == np.float32
    valid = rollout.depth_m[rollout.depth_m > 0]
    assert ((valid >= CONFIG.depth.near_m) & (valid <= CONFIG.depth.far_m)).all()
    np.testing.assert_allclose(rollout.times_s, np.arange(5) * 0.8)
    assert rollout.cameras == VIEWS
    assert [(i.height_px, i.width_px) for i in rollout.intrinsics] == [size] * 3
    np.testing.assert_array_equal(rollout.base_from_camera[1], RIG.camera("cam2").base_from_camera)
    assert (rollout.instruction, rollout.seed, rollout.stamp_ns) == ("touch the red cube", 5, 7)


def test_the_same_seed_imagines_the_same_and_another_something_else(
    planner: WorldModelPlanner,
) -> None:
    first, second, other = imagine(planner), imagine(planner), imagine(planner, 6)
    np.testing.assert_array_equal(first.color, second.color)
    np.testing.assert_array_equal(first.depth_m, second.depth_m)
    assert first.rollout_id != second.rollout_id
    assert not np.array_equal(first.color, other.color)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_a_plan_covers_the_horizon_within_the_arms_range(
    planner: WorldModelPlanner, initialisation: str
) -> None:
    rollout = imagine(planner)
    plan = planner.infer_actions(rollout.rollout_id, initialisation, 2, go_on)
    assert plan.losses.shape == (2,)
    for actions in (plan.prior, plan.refined):
        assert actions.joint_names == ARM.joint_names
        assert actions.positions.shape == (32, 7)
        assert (actions.positions >= ARM.lower).all()
        assert (actions.positions <= ARM.upper).all()
        np.testing.assert_allclose(actions.times_s, np.arange(1, 33) / 10.0)
    # An untrained refiner corrects nothing.
    np.testing.assert_array_equal(plan.refined.positions, plan.prior.positions)
    made = plan.prior.provenance
    assert (made.seed, made.initialisation, made.steps) == (5, initialisation, 2)
    assert made.weights_sha256 == planner.weights_sha256
    assert plan.head_disagreement_rad > 0
    again = planner.infer_actions(rollout.rollout_id, initialisation, 2, go_on)
    np.testing.assert_array_equal(again.prior.positions, plan.prior.positions)


def test_zero_steps_is_the_action_heads_own_reading(planner: WorldModelPlanner) -> None:
    plan = planner.infer_actions(imagine(planner).rollout_id, "head", 0, go_on)
    assert plan.losses.shape == (0,)
    assert plan.head_disagreement_rad == 0.0


@pytest.mark.parametrize("stage", ["encode", "imagine"])
def test_a_single_cancel_stops_imagination_at_any_stage(
    planner: WorldModelPlanner, stage: str
) -> None:
    """Asked once only: the request is not forgotten at the next stage."""
    asked: list[str] = []

    def cancel_once(name: str, fraction: float) -> bool:
        asked.append(name)
        return name != stage or asked.count(stage) > 1

    observation = make_observation("open the drawer")
    with pytest.raises(CancelledError, match=f"cancelled at stage '{stage}'"):
        planner.imagine(observation, "cam1", [], 0, cancel_once)
    assert asked[-1] == stage


@pytest.mark.parametrize("stage", ["decode", "action head", "optimise", "refine"])
def test_a_single_cancel_stops_inference_at_any_stage(
    planner: WorldModelPlanner, stage: str
) -> None:
    rollout = imagine(planner)
    with pytest.raises(CancelledError, match=f"cancelled at stage '{stage}'"):
        planner.infer_actions(rollout.rollout_id, "head", 3, lambda name, _: name != stage)


def test_progress_rises_within_every_stage(planner: WorldModelPlanner) -> None:
    heard: dict[str, list[float]] = {}

    def listen(stage: str, fraction: float) -> bool:
        heard.setdefault(stage, []).append(fraction)
        return True

    rollout = planner.imagine(make_observation("open the drawer"), "cam1", [], 0, listen)
    planner.infer_actions(rollout.rollout_id, "random", 2, listen)
    assert list(heard) == ["encode", "imagine", "decode", "action head", "optimise", "refine"]
    assert all(values == sorted(values) for values in heard.values())
    assert heard["imagine"][-1] == heard["optimise"][-1] == 1.0


def test_an_unknown_instruction_lists_the_templates(planner: WorldModelPlanner) -> None:
    assert planner.templates == TEMPLATES
    with pytest.raises(InstructionError, match=r"juggle.*touch the \{red\|green\} cube"):
        planner.imagine(make_observation("juggle"), "cam1", [], 0, go_on)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (["cam0", "cam0"], ConfigError, "named twice"),
        (["cam1"], ConfigError, "named twice"),
        (["cam9"], RigError, "no camera 'cam9'"),
    ],
)
def test_views_that_cannot_be_imagined_are_refused(
    planner: WorldModelPlanner, targets: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        planner.imagine(make_observation("open the drawer"), "cam1", targets, 0, go_on)


def test_a_source_without_a_frame_is_refused(planner: WorldModelPlanner) -> None:
    with pytest.raises(ObservationError, match="no frame of camera 'cam2'"):
        planner.imagine(make_observation("open the drawer"), "cam2", [], 0, go_on)


def test_the_null_start_is_the_null_token_itself(planner: WorldModelPlanner) -> None:
    """App. A: a placeholder that is optimised; without steps every rollout gets its motion."""
    first, second = imagine(planner), imagine(planner, 6)
    plans = [planner.infer_actions(r.rollout_id, "null", 0, go_on) for r in (first, second)]
    np.testing.assert_array_equal(plans[0].prior.positions, plans[1].prior.positions)
    moved = planner.infer_actions(first.rollout_id, "null", 2, go_on)
    assert not np.array_equal(moved.prior.positions, plans[0].prior.positions)


def test_as_many_steps_are_taken_as_the_weights_say(planner: WorldModelPlanner) -> None:
    first = imagine(planner)
    usual = planner.infer_actions(first.rollout_id, "head", STEPS_AS_USUAL, go_on)
    assert len(usual.losses) == usual.prior.provenance.steps == CONFIG.optimisation.head_steps


def test_eq_11_to_the_letter_is_told_the_requests_words_and_weighs_nothing(
    checkpoint: Path, planner: WorldModelPlanner
) -> None:
    """Of ours, words are drawn from all templates and the moving parts weigh more."""
    choices = MethodChoices(literal_eq11=True)
    literal = load_planner(checkpoint, RIG, ARM, ManualClock(7), choices=choices)
    ours, written = (
        p.infer_actions(imagine(p).rollout_id, "head", 3, go_on) for p in (planner, literal)
    )
    # Sums over tens of thousands of latents, where ours are means.
    assert written.losses.min() > 100.0 * ours.losses.max()
    assert not np.array_equal(written.prior.positions, ours.prior.positions)


def test_only_the_newest_rollouts_are_held(planner: WorldModelPlanner) -> None:
    observation = make_observation("open the drawer")
    ids = [
        planner.imagine(observation, "cam1", [], seed, go_on).rollout_id
        for seed in range(KEPT_ROLLOUTS + 1)
    ]
    with pytest.raises(RolloutError, match=rf"no rollout '{ids[0]}'.*{ids[-1]}"):
        planner.infer_actions(ids[0], "head", 0, go_on)
    with pytest.raises(ConfigError, match=r"initialisation 'zero' is none of"):
        planner.infer_actions(ids[-1], "zero", 0, go_on)


def test_an_observation_of_another_rig_is_refused(planner: WorldModelPlanner) -> None:
    foreign = replace(make_observation("touch the red cube"), rig_hash="0123456789abcdef")
    with pytest.raises(RigError, match=r"0123456789ab.*rig_file"):
        planner.imagine(foreign, VIEWS[0], VIEWS[1:], 0, go_on)


def test_the_distance_from_the_heads_reading_is_of_revolute_joints_alone(
    planner: WorldModelPlanner,
) -> None:
    """Radians and the gripper's metres have no mean in common."""
    rollout_id = imagine(planner).rollout_id
    head = planner.infer_actions(rollout_id, "head", 0, go_on).prior.positions
    plan = planner.infer_actions(rollout_id, "random", 2, go_on)
    apart = np.abs(plan.prior.positions - head)
    assert plan.head_disagreement_rad == pytest.approx(apart[:, :6].mean(), rel=1e-4)
    assert plan.head_disagreement_rad != pytest.approx(apart.mean(), rel=1e-3)
