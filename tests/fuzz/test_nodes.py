"""Whatever a node hears, no exception leaves it, and it goes on serving what is valid."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mvista_interfaces.action import Imagine
from mvista_interfaces.msg import Outcome
from rclpy.node import Node

from mvista_ros.actions import GoalClient, call_action
from mvista_ros.base_node import HouseNode
from mvista_ros.spinning import spinning
from tests.fakes.random_checkpoint import write_random_checkpoint
from tests.fuzz.nodes import CLOCK, ROOT, alive, files, seen_by_a_planner, shower

pytestmark = [pytest.mark.system, pytest.mark.beside, pytest.mark.timeout(240)]

ROUNDS = 250
NODES = {
    "mvista_executor.executor_node:ExecutorNode": (
        *files("config/executor.yaml"),
        "-r",
        "__ns:=/piper",
    ),
    "mvista_sim.sim_node:SimNode": (*files("config/sim.yaml"),),
    "mvista_calibration_ros.calibration_node:CalibrationNode": (
        *files("config/calibration.yaml"),
        "-p",
        "board_on_gripper:=true",
    ),
    "mvista_calibration_ros.drift_node:DriftNode": (*files("config/drift.yaml"),),
    "mvista_bringup.cell_display_node:CellDisplayNode": (),
    "mvista_teleop.teleop_node:TeleopNode": (*files("config/teleop.yaml"),),
    "mvista_recorder.recorder_node:RecorderNode": (
        *("-p", "root:=build/fuzz", "-p", "rig_file:=config/rigs/sim_cell.yaml"),
        *("-p", "arm_file:=config/arms/piper.yaml"),
    ),
}
"""Every node that hears a topic all the time, with the arguments its launch gives it. The driver is
showered at its wire (test_can.py) and by its port; planning, which looks when asked, below."""
PLANNING = "mvista_planning.planning_node"
LOOKS = 6


def load(name: str) -> Callable[[], HouseNode]:
    module, _, attribute = name.partition(":")
    found: Callable[[], HouseNode] = getattr(importlib.import_module(module), attribute)
    return found


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("name", NODES)
def test_nothing_that_is_heard_ends_a_node(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with alive(load(name), *NODES[name]) as target:
        sent = shower(target, np.random.default_rng(len(name)), ROUNDS)
        dropped = dict(target.node.listening.values())
        health = target.node.health()
    assert sent >= ROUNDS and health.message
    # Some topics wait in the middleware until they are looked at: what was dropped counts there.
    assert sum(target.heard.values()) > sent // 4 or dropped, (sent, target.heard)


def test_nothing_that_is_seen_ends_the_planner(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look among bad messages ends with a rollout or with a numbered reason."""
    monkeypatch.chdir(ROOT)
    arguments = [*files("config/planning.yaml"), "-p", "niceness:=0"]
    arguments += ["-p", f"checkpoint:={checkpoint}"]
    outcomes: list[Outcome] = []
    over = threading.Event()

    def ask(client: GoalClient) -> None:
        while not over.is_set() and len(outcomes) < LOOKS:
            goal = Imagine.Goal(instruction="touch the red cube", source_camera="cam1")
            goal.target_cameras = ["cam2"]
            outcomes.append(call_action(client, goal, CLOCK, server_timeout_s=20.0)[1].outcome)

    with alive(load(f"{PLANNING}:PlanningNode"), *arguments) as target:
        with spinning(partial(Node, "asker"), target.domain_id) as asker:
            asking = threading.Thread(target=ask, args=(GoalClient(asker, Imagine, "imagine"),))
            asking.start()
            sent = shower(target, np.random.default_rng(3), ROUNDS, seen_by_a_planner())
            over.set()
            asking.join(60.0)
        dropped = dict(target.node.listening.values())
    assert sent and outcomes and dropped
    assert all(outcome.message for outcome in outcomes if outcome.code), outcomes


def test_every_node_that_hears_something_is_showered() -> None:
    """A new node with subscriptions joins the table above."""
    hearing = set()
    for path in ROOT.glob("ros2_ws/src/*/*/*_node.py"):
        text = path.read_text(encoding="utf-8")
        if "self.listen" in text or "ObservationSource(" in text:
            hearing.add(f"{path.parent.name}.{path.stem}")
    covered = {kind.__module__ for name in NODES for kind in getattr(load(name), "__mro__", ())}
    excused = {
        PLANNING: "looks when it is asked; above",
        "mvista_piper.piper_node": "at its wire and its port",
        "mvista_eval.capture_receiver_node": "a bench's own counter",
        "mvista_eval.setpoint_recorder_node": "a bench's own counter",
    }
    assert hearing - covered <= set(excused), os.linesep.join(hearing - covered - set(excused))
