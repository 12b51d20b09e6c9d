"""Whatever a node hears, no exception leaves it, and it goes on serving what is valid."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mvista_ros.base_node import HouseNode
from tests.fakes.random_checkpoint import write_random_checkpoint
from tests.fuzz.nodes import ROOT, alive, files, shower

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

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
    "mvista_planning.planning_node:PlanningNode": (
        *files("config/planning.yaml"),
        "-p",
        "niceness:=0",
    ),
}
"""Every node that hears a topic, with the arguments its launch gives it. The driver is showered
at its wire (test_can.py) and by its port."""


def load(name: str) -> Callable[[], HouseNode]:
    module, _, attribute = name.partition(":")
    found: Callable[[], HouseNode] = getattr(importlib.import_module(module), attribute)
    return found


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("name", NODES)
def test_nothing_that_is_heard_ends_a_node(
    name: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    arguments = [*NODES[name]]
    if "planning" in name:
        arguments += ["-p", f"checkpoint:={checkpoint}"]
    with alive(load(name), *arguments) as target:
        sent = shower(target, np.random.default_rng(len(name)), ROUNDS)
        dropped = dict(target.node.listening.values())
        health = target.node.health()
    assert sent >= ROUNDS and health.message
    # Some topics wait in the middleware until they are looked at: what was dropped counts there.
    assert sum(target.heard.values()) > sent // 4 or dropped, (sent, target.heard)


def test_every_node_that_hears_something_is_showered() -> None:
    """A new node with subscriptions joins the table above."""
    hearing = set()
    for path in ROOT.glob("ros2_ws/src/*/*/*_node.py"):
        text = path.read_text(encoding="utf-8")
        if "self.listen" in text or "ObservationSource(" in text:
            hearing.add(f"{path.parent.name}.{path.stem}")
    covered = {name.partition(":")[0] for name in NODES}
    excused = {
        "mvista_ros.base_node": "hears nothing itself",
        "mvista_piper.piper_node": "at its wire and its port",
        "mvista_bringup.capture_receiver_node": "a bench's own counter",
        "mvista_bringup.setpoint_recorder_node": "a bench's own counter",
    }
    assert hearing - covered <= set(excused), os.linesep.join(hearing - covered - set(excused))
