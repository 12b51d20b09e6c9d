"""A folder in Wan2.2's layout behind the planning node: words in, a trajectory out, as actions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mvista_interfaces.action import Imagine, InferActions

from mvista_bringup.supervisor import free_domain_id
from mvista_ros.actions import GoalClient, call_action
from mvista_ros.spinning import spinning
from tests.fakes.noisy_cell import ARM, CLOCK, ROOT, NoisyCell
from tests.planning.test_planning_node import RUN
from tests.world.wan_folder import SMALL, write_wan_folder

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.slow, pytest.mark.timeout(300)]


class Planner(NoisyCell):
    """The cell, and somebody who asks for a future and for what explains it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.imagine = GoalClient(self, Imagine, "imagine")
        self.infer = GoalClient(self, InferActions, "infer_actions")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Its words are cached, and its text encoder is elsewhere, as on a robot."""
    folder = write_wan_folder(tmp_path / "wan")
    shutil.rmtree(folder / "text_encoder")
    yield folder


def test_words_go_in_and_a_trajectory_comes_out(folder: Path) -> None:
    domain_id = free_domain_id()
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain_id)}
    with spinning(Planner, domain_id, threads=3) as cell:
        command = [sys.executable, "-c", RUN, "--ros-args", "-p", f"checkpoint:={folder}"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            asked = Imagine.Goal(
                instruction="touch the red cube", source_camera="cam1", target_cameras=["cam2"]
            )
            call = partial(call_action, server_timeout_s=90.0, answer_timeout_s=60.0)
            _, seen = call(cell.imagine, asked, CLOCK)
            assert (seen.outcome.code, seen.outcome.message) == (0, "")
            wanted = InferActions.Goal(rollout_id=seen.rollout_id, initialisation="random", steps=2)
            _, plan = call(cell.infer, wanted, CLOCK)
            assert (plan.outcome.code, plan.outcome.message) == (0, "")
            told = {value.key: value.value for value in cell.told["/planning"].values}
        finally:
            process.terminate()
            assert process.wait(30.0) == 0
    assert re.fullmatch(r"0\.\d GiB \(generator .*, vae .*, refiner .*\)", told["weights held"])
    assert told["memory free"].endswith(" GiB")
    assert list(plan.refined.joint_names) == list(ARM.joint_names)
    assert len(plan.refined.points) == SMALL.trajectory.action_count
    assert len(plan.losses) == 2
