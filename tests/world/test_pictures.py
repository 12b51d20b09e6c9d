"""What nobody reads stays a latent: what each reader of a rollout has decoded."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvista_core.errors import CancelledError
from mvista_core.records import Rollout
from mvista_core.timing import ManualClock
from mvista_world.choices import MethodChoices
from mvista_world.pictures import Pictures, UnreadRollout
from mvista_world.planner import WorldModelPlanner, load_planner
from tests.world.tiny import ARM, CONFIG, RIG, make_observation, write_checkpoint

VIEWS = CONFIG.cameras


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a refiner, which looks at everything."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def planner(checkpoint: Path) -> WorldModelPlanner:
    return load_planner(checkpoint, RIG, ARM, ManualClock(7))


def go_on(stage: str, fraction: float) -> bool:
    return True


def imagine(planner: WorldModelPlanner) -> tuple[Rollout, Pictures]:
    rollout = planner.imagine(make_observation("open the drawer"), VIEWS[0], VIEWS[1:], 5, go_on)
    assert isinstance(rollout, UnreadRollout)
    return rollout, rollout.pictures


def test_each_reader_decodes_what_it_reads(planner: WorldModelPlanner) -> None:
    rollout, pictures = imagine(planner)
    assert (pictures.decoded, len(pictures)) == (0, 6)
    plan = planner.infer_actions(rollout.rollout_id, "head", 0, go_on)
    assert pictures.decoded == 0, "the action head reads latents"
    planner.judge(rollout.rollout_id, plan, go_on)
    assert pictures.decoded == 4, "the gate reads every depth, and the source's colour"
    planner.infer_actions(rollout.rollout_id, "head", 1, go_on)
    assert pictures.decoded == 6, "Eq. 11 weighs by what moves"


def test_eq_11_to_the_letter_reads_no_picture(checkpoint: Path) -> None:
    literal = load_planner(
        checkpoint, RIG, ARM, ManualClock(7), choices=MethodChoices(literal_eq11=True)
    )
    rollout, pictures = imagine(literal)
    literal.infer_actions(rollout.rollout_id, "null", 1, go_on)
    assert pictures.decoded == 0


def test_pictures_are_the_same_whoever_reads_them_first(planner: WorldModelPlanner) -> None:
    (one, _), (other, pictures) = imagine(planner), imagine(planner)
    last = other.view_color(2)
    assert pictures.decoded == 1
    np.testing.assert_array_equal(one.color[2], last)
    np.testing.assert_array_equal(one.color, other.color)
    np.testing.assert_array_equal(one.depth_m, other.depth_m)
    blind = replace(other, depth_m=np.zeros_like(other.depth_m))
    np.testing.assert_array_equal(blind.color, one.color)
    assert not blind.depth_m.any()
    elsewhere = pickle.loads(pickle.dumps(one))
    assert type(elsewhere) is Rollout
    np.testing.assert_array_equal(elsewhere.color, one.color)


def test_decoding_is_a_stage_that_can_be_cancelled(planner: WorldModelPlanner) -> None:
    rollout, pictures = imagine(planner)
    heard: list[str] = []

    def two_maps(stage: str, fraction: float) -> bool:
        heard.append(stage)
        return heard.count("decode") < 3

    with pytest.raises(CancelledError, match="cancelled at stage 'decode'"):
        planner.infer_actions(rollout.rollout_id, "head", 1, two_maps)
    assert pictures.decoded == 2
