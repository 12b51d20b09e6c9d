"""Scenes are a function of (task, seed); instructions and tasks that do not exist are refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvista_core import instructions
from mvista_core.arm import ArmModel
from mvista_core.errors import ConfigError, InstructionError
from mvista_core.records import RigCalibration
from mvista_sim import tasks
from mvista_sim.cell import SimCell
from mvista_sim.scene import scene_xml

TASKS = sorted(tasks.TEMPLATES)
SEEDS = st.integers(0, 2**32 - 1)


@given(task=st.sampled_from(TASKS), seed=SEEDS)
def test_the_same_seed_is_the_same_scene(
    arm: ArmModel, rig: RigCalibration, task: str, seed: int
) -> None:
    first, again = (scene_xml(tasks.make_layout(task, seed), arm, rig) for _ in range(2))
    assert first == again


def test_the_colour_asked_for_changes_nothing_in_the_scene(cell: SimCell) -> None:
    pictures, layouts = [], []
    for words in instructions.expand(tasks.TEMPLATES["touch_cube"]):
        assert cell.reset("touch_cube", 5, words) == words
        pictures.append(cell.latest("cam1").color)
        layouts.append(cell.layout.objects)
    assert all(layout == layouts[0] for layout in layouts)
    assert all((picture == pictures[0]).all() for picture in pictures)


def test_another_seed_is_another_scene() -> None:
    for task in TASKS:
        layouts = {tasks.make_layout(task, seed).objects for seed in range(30)}
        assert len(layouts) == 30


def test_every_colour_is_asked_for() -> None:
    asked = {tasks.make_layout("touch_cube", seed).default_instruction for seed in range(60)}
    assert asked == set(instructions.expand(tasks.TEMPLATES["touch_cube"]))


@given(task=st.sampled_from(TASKS), seed=SEEDS)
def test_objects_keep_their_distances(task: str, seed: int) -> None:
    layout = tasks.make_layout(task, seed)
    names = [item.name for item in layout.objects]
    assert len(set(names)) == len(names)
    apart_m = {"touch_cube": 0.095, "put_orange": 0.16, "open_drawer": 0.0}[task]
    for a, b in itertools.combinations(layout.objects, 2):
        gap = np.hypot(a.x_m - b.x_m, a.y_m - b.y_m)
        extra = any(item.name.startswith("distractor") for item in (a, b))
        assert gap >= (0.08 if extra else apart_m)
    assert np.abs(layout.start_offset_rad).max() <= 0.03


def test_an_unknown_task_lists_the_tasks(cell: SimCell) -> None:
    with pytest.raises(ConfigError, match="fold_towel.*open_drawer.*put_orange.*touch_cube"):
        cell.reset("fold_towel", 0)


def test_a_negative_seed_is_refused(cell: SimCell) -> None:
    with pytest.raises(ConfigError, match="-3"):
        cell.reset("touch_cube", -3)


@pytest.mark.parametrize("words", ["touch the pink cube", "open the drawer", "dance"])
def test_an_instruction_of_another_task_lists_the_template_and_changes_nothing(
    cell: SimCell, words: str
) -> None:
    layout, model = cell.layout, cell.model
    with pytest.raises(InstructionError, match="red.green.blue.yellow"):
        cell.reset("touch_cube", 1, words)
    assert cell.layout is layout and cell.model is model


def test_every_instruction_finds_its_task() -> None:
    for task, template in tasks.TEMPLATES.items():
        for words in instructions.expand(template):
            assert tasks.task_of(words.upper() + ".") == task
    with pytest.raises(InstructionError, match="put the orange in the bowl"):
        tasks.task_of("put the apple in the bowl")


def test_an_object_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="drawer"):
        tasks.make_layout("open_drawer", 0).named("orange")


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_done_before_anything_moved(cell: SimCell, task: str) -> None:
    for seed in range(3):
        cell.reset(task, seed)
        assert not cell.evaluate().success
        cell.advance(0.5)
        assert not cell.evaluate().success


def test_touching_another_cube_is_no_success(cell: SimCell) -> None:
    cell.reset("touch_cube", 3, "touch the red cube")
    cell.run_actions(cell.expert("touch the blue cube"))
    assert not cell.evaluate("touch the red cube").success
    assert cell.evaluate("touch the blue cube").success
    assert cell.approached_object() == "blue_cube"
