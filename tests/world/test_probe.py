"""What evaluation asks of a planner: filmed futures, known motions, and the errors they leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mvista_core.errors import InstructionError, RolloutError
from mvista_core.records import Rollout
from mvista_core.timing import ManualClock
from mvista_world.probe import PlannerProbe, load_probe
from tests.world.tiny import ARM, CONFIG, RIG, make_observation, write_checkpoint

VIEWS = ("cam1", "cam2")
OBSERVATION = make_observation("touch the red cube", cameras=VIEWS)


def go_on(stage: str, fraction: float) -> bool:
    return True


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> PlannerProbe:
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return load_probe(folder, RIG, ARM, ManualClock(7))


def filmed(probe: PlannerProbe) -> Rollout:
    """A still scene, seen by two cameras."""
    views = [[OBSERVATION.frame(name)] * CONFIG.frame_count for name in VIEWS]
    return probe.adopt(views, OBSERVATION.joints, "touch the red cube")


def test_a_filmed_future_is_held_as_it_was_seen(probe: PlannerProbe) -> None:
    rollout = filmed(probe)
    for view, name in enumerate(VIEWS):
        window = CONFIG.window.frame(OBSERVATION.frame(name))
        for time in range(CONFIG.frame_count):
            np.testing.assert_array_equal(rollout.color[view, time], window.color)
            np.testing.assert_array_equal(rollout.depth_m[view, time], window.depth_m)
    assert rollout.cameras == VIEWS
    plan = probe.infer_actions(rollout.rollout_id, "head", 1, go_on)
    assert plan.losses.shape == (1,)


def test_a_told_motion_changes_what_is_imagined_and_nothing_else(probe: PlannerProbe) -> None:
    frame = CONFIG.window.frame(OBSERVATION.frame("cam1"))
    count, joints = CONFIG.trajectory.action_count, OBSERVATION.joints
    motions = [np.tile(ARM.home + bend, (count, 1)).astype(np.float32) for bend in (0.0, 0.3)]
    still, bent, again = (
        probe.imagine_told(frame, ["cam2"], joints, "touch the red cube", motion, 3)
        for motion in (*motions, motions[0])
    )
    np.testing.assert_array_equal(still.color, again.color)
    assert not np.array_equal(still.color, bent.color)
    assert still.cameras == bent.cameras and (still.times_s == bent.times_s).all()


def test_reconstruction_is_a_motion_of_the_arm_from_its_pose(probe: PlannerProbe) -> None:
    plan = probe.infer_actions(filmed(probe).rollout_id, "random", 0, go_on).prior
    back = probe.reconstruct(plan, OBSERVATION.joints)
    assert back.joint_names == plan.joint_names and back.provenance == plan.provenance
    np.testing.assert_array_equal(back.times_s, plan.times_s)
    assert (back.positions >= ARM.lower).all() and (back.positions <= ARM.upper).all()


def test_errors_are_finite_and_depend_on_what_is_told(probe: PlannerProbe) -> None:
    rollout_id = filmed(probe).rollout_id
    plan = probe.infer_actions(rollout_id, "random", 0, go_on).prior
    nothing = probe.explained(rollout_id, None, (0.2, 0.9))
    told = probe.explained(rollout_id, plan, (0.2, 0.9))
    assert told.shape == (2,)
    assert np.isfinite(told).all() and (told > 0).all()
    np.testing.assert_array_equal(told, probe.explained(rollout_id, plan, (0.2, 0.9)))
    assert not np.array_equal(told, nothing)
    with pytest.raises(RolloutError, match="nowhere"):
        probe.explained("nowhere", None, (0.5,))


def test_what_the_codec_makes_of_a_film_is_its_own_picture_of_the_same_scene(
    probe: PlannerProbe,
) -> None:
    film = filmed(probe)
    back = probe.recoded(film.rollout_id)
    assert back.color.shape == film.color.shape and back.cameras == film.cameras
    assert not np.array_equal(back.color, film.color)
    np.testing.assert_array_equal(back.color, probe.recoded(film.rollout_id).color)


def test_a_retold_rollout_is_the_same_future_under_other_words(probe: PlannerProbe) -> None:
    film = filmed(probe)
    again = probe.retold(film.rollout_id, "Touch the red cube.")
    other = probe.retold(film.rollout_id, "touch the green cube")
    plans = [probe.infer_actions(held, "head", 0, go_on).prior for held in (film.rollout_id, again)]
    np.testing.assert_array_equal(plans[0].positions, plans[1].positions)
    told = probe.infer_actions(other, "head", 0, go_on).prior
    assert not np.array_equal(told.positions, plans[0].positions)
    with pytest.raises(InstructionError):
        probe.retold(film.rollout_id, "touch the moon")


def test_a_hidden_rollout_is_not_read(probe: PlannerProbe) -> None:
    """Two films of one first frame give one plan at t = 1, and two where they are seen."""
    film = filmed(probe)
    views = [[OBSERVATION.frame(name)] * CONFIG.frame_count for name in VIEWS]
    dark = replace(views[0][0], color=255 - views[0][0].color)
    views[0] = [views[0][0], *[dark] * (CONFIG.frame_count - 1)]
    views[1] = [replace(views[1][0], color=255 - views[1][0].color)] * CONFIG.frame_count
    other = probe.adopt(views, OBSERVATION.joints, "touch the red cube")
    ids = (film.rollout_id, other.rollout_id)
    hidden = [probe.read_hidden(held).positions for held in ids]
    seen = [probe.infer_actions(held, "head", 0, go_on).prior.positions for held in ids]
    np.testing.assert_array_equal(hidden[0], hidden[1])
    assert not np.array_equal(seen[0], seen[1])
