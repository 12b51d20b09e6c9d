"""The planning process among senders of rubbish and with a clock that steps: it answers as ever."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from mvista_interfaces.action import Imagine

from mvista_bringup.supervisor import free_domain_id
from mvista_core.errors import ObservationError
from mvista_core.timing import seconds_to_ns
from mvista_ros.actions import GoalClient, call_action
from mvista_ros.observation import CameraTopics
from mvista_ros.spinning import spinning
from tests.fakes.noisy_cell import CLOCK, PERIOD_S, RIG, ROOT, NoisyCell
from tests.fakes.random_checkpoint import write_random_checkpoint
from tests.fakes.step_clock import SteppedClock

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.slow, pytest.mark.timeout(400)]

RUN = "from mvista_planning.planning_node import main; main()"


class Asker(NoisyCell):
    """The cell, and somebody who asks for a future of it."""

    def __init__(self, wall: SteppedClock, **arguments: Any) -> None:
        super().__init__(wall, **arguments)
        self.imagine = GoalClient(self, Imagine, "imagine")


@dataclass
class Planning:
    """The process, and the cell that it looks at."""

    process: subprocess.Popen[bytes]
    cell: Asker

    def imagine(self) -> Imagine.Result:
        goal = Imagine.Goal(
            instruction="touch the red cube", source_camera="cam1", target_cameras=["cam0", "cam2"]
        )
        _, result = call_action(
            self.cell.imagine, goal, CLOCK, server_timeout_s=90.0, answer_timeout_s=30.0
        )
        assert self.process.poll() is None
        return result


@pytest.fixture(scope="module")
def planning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planning]:
    folder, domain_id = tmp_path_factory.mktemp("planning"), free_domain_id()
    checkpoint = write_random_checkpoint(folder / "checkpoint")
    command = [sys.executable, "-c", RUN, "--ros-args", "-p", f"checkpoint:={checkpoint}"]
    with SteppedClock(folder) as wall, spinning(partial(Asker, wall), domain_id, threads=3) as cell:
        environment = wall.environment({**os.environ, "ROS_DOMAIN_ID": str(domain_id)})
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        yield Planning(process, cell)
        process.terminate()
        assert process.wait(30.0) == 0


def test_malformed_messages_end_nothing_and_are_told_by_topic(planning: Planning) -> None:
    result = planning.imagine()
    assert (result.outcome.code, result.outcome.message) == (0, "")
    expected = {"/piper/joint_states"}
    for name in RIG.names:
        topics = CameraTopics.of(name)
        expected |= {f"/{topics.color}", f"/{topics.depth}", f"/{topics.info}"}
    deadline_ns = CLOCK.monotonic_ns() + seconds_to_ns(20.0)
    while planning.cell.dropped("/planning") != expected:
        assert CLOCK.monotonic_ns() < deadline_ns, planning.cell.told
        CLOCK.sleep_until(CLOCK.monotonic_ns() + seconds_to_ns(0.05))


@pytest.mark.parametrize("step_s", [-17.0, 3600.0])
def test_after_a_step_of_the_wall_clock_it_sees_what_is_now(
    planning: Planning, step_s: float
) -> None:
    assert planning.imagine().outcome.code == 0
    assert planning.cell.wall is not None
    planning.cell.wall.step(step_s)
    began_ns = CLOCK.monotonic_ns()
    result = planning.imagine()
    assert (result.outcome.code, result.outcome.message) == (0, "")
    took_s = (CLOCK.monotonic_ns() - began_ns) / 1e9
    assert 0.0 < result.observation_age_s < took_s + PERIOD_S


def test_a_lens_that_is_not_the_rigs_is_refused_with_a_number(planning: Planning) -> None:
    planning.cell.lens_factor = 1.2
    try:
        outcome = planning.imagine().outcome
    finally:
        planning.cell.lens_factor = 1.0
    assert outcome.code == ObservationError.code
    assert "is not the rig's" in outcome.message and "lens_shift_limit" in outcome.message
