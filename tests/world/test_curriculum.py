"""The generator's recipes: what is masked, hidden and mixed when, and what can be left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvista_core.errors import ConfigError
from mvista_world.layout import clean_mask
from mvista_world.presets import preset
from mvista_world.training.curriculum import (
    NO_EXTRAS,
    TRAINING,
    Extras,
    GeneratorTraining,
    kind_of,
    recipe_of,
    training_of,
)
from mvista_world.training.loop import Schedule
from mvista_world.training.masking import draw_known
from mvista_world.training.request import TrainingRequest
from tests.world.tiny import ARM, RIG

SWITCHES = [field.name for field in dataclasses.fields(Extras)]
PAPER = TRAINING["paper"]


def known_of(training: GeneratorTraining, size: int = 4000, frames: int = 5) -> torch.Tensor:
    return draw_known(np.random.default_rng(3), size, 2, frames, training)


def test_a_preset_is_trained_as_its_shipped_weights_were_unless_asked_otherwise() -> None:
    nowhere = Path("nowhere")
    for name, recipe in (("tiny", "tiny"), ("tiny_views", "views")):
        asked = TrainingRequest(preset(name), nowhere, nowhere, nowhere, RIG, ARM)
        assert recipe_of(asked) == recipe
        assert recipe_of(dataclasses.replace(asked, recipe="paper")) == "paper"


def test_the_papers_masks_are_half_first_frame_half_any_number_and_each_samples_own() -> None:
    known = known_of(PAPER)
    assert known.shape == (4000, 2, 5)
    assert not known[:, 1:].any(), "only the source view is given"
    counts = known[:, 0].sum(dim=1)
    assert (counts >= 1).all()
    first_only = (counts == 1) & known[:, 0, 0]
    # Half are the first alone; of the others one in five has one frame, one in five of these it.
    assert float(first_only.float().mean()) == pytest.approx(0.5 + 0.5 / 25, abs=0.03)
    for count in range(2, 6):
        assert float((counts == count).float().mean()) == pytest.approx(0.1, abs=0.02)
    # Any of the frames may be hidden, the first too.
    many = known[~first_only][:, 0].float().mean(dim=0)
    assert float(many.max() - many.min()) < 0.06


def test_a_shared_mask_is_one_for_the_batch_and_keeps_the_first_frame() -> None:
    shared = dataclasses.replace(PAPER, extras=Extras(), full_source=1.0)
    drawn = [draw_known(np.random.default_rng(seed), 8, 3, 4, shared) for seed in range(50)]
    assert all(known.shape == (3, 4) and known[0, 0] and not known[1:].any() for known in drawn)
    assert len({tuple(known[0].tolist()) for known in drawn}) > 3


@pytest.mark.parametrize("extras", [Extras(), NO_EXTRAS])
def test_a_share_is_given_every_view_but_the_last_as_mode_2_will(extras: Extras) -> None:
    training = dataclasses.replace(PAPER, extras=extras, completed=0.3)
    rng = np.random.default_rng(1)
    three = torch.stack([draw_known(rng, 1, 3, 4, training).reshape(3, 4) for _ in range(900)])
    assert float(three[:, 1].all(dim=-1).float().mean()) == pytest.approx(0.3, abs=0.05)
    assert torch.equal(three[:, 1].any(dim=-1), three[:, :2].all(dim=-1).all(dim=-1))
    assert not three[:, 2].any()
    two = [draw_known(rng, 1, 2, 4, training).reshape(2, 4) for _ in range(50)]
    assert not any(known[1].any() for known in two)


def test_a_batch_of_masks_is_each_samples_mask() -> None:
    known = known_of(PAPER, size=6)
    masks = clean_mask(known, (2, 3))
    for one, mask in zip(known, masks, strict=True):
        assert torch.equal(clean_mask(one, (2, 3)), mask)


@given(
    episodes=st.integers(1, 5000),
    length=st.floats(1.05, 9.0),
    share=st.floats(0.0, 1.0),
)
def test_trajectories_are_all_told_for_fifty_epochs_then_hidden_more_and_more_up_to_half(
    episodes: int, length: float, share: float
) -> None:
    epoch = -(-episodes // PAPER.many_batch)
    training = dataclasses.replace(PAPER, steps=int(np.ceil(50 * epoch * length)))
    assert training.epoch_steps(episodes) == epoch
    assert training.null_share(int(share * (50 * epoch - 1)), epoch) == 0.0
    step = 50 * epoch + int(share * (training.steps - 50 * epoch))
    hidden = training.null_share(step, epoch)
    assert hidden == pytest.approx(0.5 * (step - 50 * epoch) / (training.steps - 50 * epoch))
    assert 0.0 <= hidden <= training.null_share(step + 1, epoch)
    assert training.null_share(training.steps, epoch) == 0.5


def test_a_run_that_would_hide_no_trajectory_is_refused_with_the_numbers() -> None:
    short = dataclasses.replace(PAPER, steps=5000)
    with pytest.raises(ConfigError, match=r"5000 steps end before step 5000 \(50 epochs of 100"):
        short.epoch_steps(1200)
    assert TRAINING["tiny"].epoch_steps(1200) == 100


@given(samples=st.integers(1, 96))
def test_a_batch_that_was_asked_for_leaves_the_kinds_of_step_in_proportion(samples: int) -> None:
    usual, asked = TRAINING["views"], TRAINING["views"].of_batch(samples)
    assert asked.many_batch == samples and usual.of_batch(None) == usual
    share = samples / usual.many_batch
    for found, was in (
        (asked.one_batch, usual.one_batch),
        (asked.ground_batch, usual.ground_batch),
    ):
        assert found >= 1 and abs(found - share * was) <= 1
    assert asked.epoch_steps(960) == -(-960 // samples)


def test_the_papers_rate_warms_up_for_a_thousand_steps_and_stays() -> None:
    schedule = Schedule(PAPER.learning_rate, PAPER.steps, PAPER.warmup, PAPER.decay)
    assert schedule.at(0) == pytest.approx(1e-8)
    assert schedule.at(499) == pytest.approx(5e-6)
    assert {schedule.at(step) for step in (999, 1000, 20_000, PAPER.steps - 1)} == {1e-5}


def test_the_papers_steps_are_of_two_or_three_views_only() -> None:
    assert {kind_of(step, PAPER) for step in range(5000)} == {"many"}
    assert PAPER.view_counts == (2, 3) and PAPER.extras == NO_EXTRAS
    assert PAPER.consistency == 0.1


def test_leaving_out_a_kind_of_step_leaves_the_others() -> None:
    def kinds(*without: str) -> set[str]:
        return {kind_of(step, training_of("tiny", without)) for step in range(2000)}

    assert kinds() == {"ground", "one", "many"}
    assert kinds("grounding") == {"one", "many"}
    assert kinds("single_view") == {"ground", "many"}
    assert kinds("grounding", "single_view") == {"many"}


@pytest.mark.parametrize("name", SWITCHES)
def test_every_extra_has_its_reason_and_can_be_left_out(name: str) -> None:
    assert f"    {name}: " in (Extras.__doc__ or "")
    assert dataclasses.asdict(training_of("tiny", [name]).extras) == {
        other: other != name for other in SWITCHES
    }
    assert training_of("tiny") == GeneratorTraining()


def test_leaving_out_what_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"without 'luck': the recipe has \['grounding'.*--with"):
        training_of("tiny", ["luck"])
    with pytest.raises(ConfigError, match="the recipe has nothing beside the paper"):
        training_of("paper", ["misled"])
    with pytest.raises(ConfigError, match=r"no recipe 'big'.*\['paper', 'tiny', 'views'\]"):
        training_of("big")
